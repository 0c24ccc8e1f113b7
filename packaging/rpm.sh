#!/usr/bin/env bash
# rpm.sh: builds the RPM from packaging/pm.spec with Debian's rpm against Debian's PostgreSQL, to check
# that the spec is complete; nothing is installed. The packages are left in dist/. The last line names
# them.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../test/harness/setup.sh"
cd "$PM_ROOT"

pm_ensure_packages
missing=()
command -v rpmbuild >/dev/null || missing+=(rpm)
command -v unzip >/dev/null || missing+=(unzip)
[ ${#missing[@]} -eq 0 ] || pm_install_packages "${missing[@]}"
zip=$(bash packaging/dist.sh | tail -n 1)
pm_workdir rpm

mkdir -p "$PM_WORK/rpm/SOURCES"
cp "$zip" "$PM_WORK/rpm/SOURCES/"
cp packaging/pm.spec "$PM_WORK/"
chown -R "$(pm_unprivileged_user)" "$PM_WORK/rpm" 2>/dev/null || true
pm_as_user rpmbuild --quiet -bb --nodeps \
	--define "_topdir $PM_WORK/rpm" --define "pgmajorversion $PM_MAJOR" --define "pg_config $PG_CONFIG" \
	"$PM_WORK/pm.spec"
mkdir -p dist
cp "$PM_WORK"/rpm/RPMS/*/*.rpm dist/
for file in dist/*.rpm; do rpm -qpl "$file" >/dev/null; done
pm_say dist/*.rpm
