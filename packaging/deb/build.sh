#!/bin/bash
# build.sh MAJOR TARGET: builds the source in /pm, in a root that has nothing but the base system and then what debian/control
# asks for, as a user without rights, and runs lintian. See ../deb.sh. Lines that begin with "pm: " are the results.
set -euo pipefail
major=$1 target=$2
cd /pm/postgresql-pm-*/

# Packages in experimental have to be named. Otherwise the build dependencies would install only another
# major version.
if [ -n "$target" ]; then
	apt-get -q -y --no-install-recommends install "postgresql-$major$target" "postgresql-server-dev-$major$target" \
		"libpq5$target" "libpq-dev$target"
fi
apt-get -q -y --no-install-recommends build-dep ./
id builder >/dev/null 2>&1 || useradd --create-home builder
chown -R builder: /pm
as_builder() { runuser -u builder -- env HOME=/home/builder "$@"; }
as_builder pg_buildext checkcontrol
as_builder dpkg-buildpackage -us -uc
cd ..
for package in *.deb; do
	echo "pm: $package: $(dpkg-deb --field "$package" Installed-Size) kB installed"
done

apt-get -q -y --no-install-recommends install lintian
failed=0
# The tag is about the first upload to Debian, which this is not.
as_builder lintian --display-info --pedantic --tag-display-limit 0 --fail-on error,warning \
	--suppress-tags initial-upload-closes-no-bugs ./*.changes >lintian.txt 2>&1 || failed=1
[ -s lintian.txt ] || echo "no tags" >lintian.txt
sed -i "1i $(lintian --version) --display-info --pedantic --suppress-tags initial-upload-closes-no-bugs" lintian.txt
exit $failed
