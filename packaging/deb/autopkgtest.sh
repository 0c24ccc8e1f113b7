#!/bin/bash
# autopkgtest.sh MAJOR TARGET: runs debian/tests with autopkgtest, on the packages in /pm and the source in /pm/source. See
# ../deb.sh. Lines that begin with "pm: " are the results.
set -euo pipefail
major=$1 target=$2
cd /pm
apt-get -q -y --no-install-recommends install autopkgtest
if [ -n "$target" ]; then
	apt-get -q -y --no-install-recommends install "postgresql-$major$target" "postgresql-server-dev-$major$target" \
		"libpq5$target" "libpq-dev$target"
fi
id tester >/dev/null 2>&1 || useradd --create-home tester
rc=0
# There is nothing to go back to here: the test that breaks its testbed by purging the package comes first, and for the
# next one the package is installed again.
autopkgtest --ignore-restrictions=breaks-testbed --user=tester --output-dir=/pm/autopkgtest \
	./postgresql-"$major"-pm_*.deb ./source/ -- null || rc=$?
sed 's/^/pm: autopkgtest: /' /pm/autopkgtest/summary
exit $rc
