#!/bin/bash
# test.sh MAJOR TARGET: installs the package in /pm in a root that has nothing but the base system: no compiler, no headers
# and no sources. Runs the first process of the README that the package contains, and purges the package: the files of the
# root are then what they were before. See ../deb.sh. Lines that begin with "pm: " are the results.
set -euo pipefail
major=$1 target=$2
cd /pm
rm -f ./*-dbgsym_*.deb

# The files of the root, without what apt and dpkg record and what servers log.
files() {
	find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /pm -o -path /tmp -o -path /run -o -path /var/lib/dpkg \
		-o -path /var/lib/apt -o -path /var/cache -o -path /var/log \) -prune -o -print | sort
}

apt-get -q -y --no-install-recommends install "postgresql-$major$target" ${target:+"postgresql-client-$major$target" "libpq5$target"}
files >/tmp/before
apt-get -q -y --no-install-recommends install ./postgresql-"$major"-pm_*.deb
files >/tmp/installed
for tool in gcc cc clang make; do
	! command -v $tool >/dev/null || { echo "pm: this root is not clean, it has $tool"; exit 1; }
done
[ ! -d "/usr/include/postgresql" ] || { echo "pm: this root is not clean, it has headers"; exit 1; }
echo "pm: $(comm -13 /tmp/before /tmp/installed | wc -l) files and folders come with the package; no compiler, no headers"

bash debian/tests/first-process | tee /tmp/first-process
sed 's/^/pm: /' /tmp/first-process

# The packages that it needed, and that nothing else needs, are removed too.
apt-get -q -y --purge autoremove
files >/tmp/after
comm -13 /tmp/before /tmp/after >/tmp/left
comm -23 /tmp/before /tmp/after >/tmp/gone
if [ -s /tmp/left ] || [ -s /tmp/gone ]; then
	echo "pm: after purge there are other files than before, or fewer:"
	sed 's/^/pm: + /' /tmp/left
	sed 's/^/pm: - /' /tmp/gone
	exit 1
fi
echo "pm: after purge the files are what they were before"
