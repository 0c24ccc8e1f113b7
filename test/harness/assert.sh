#!/usr/bin/env bash
# assert.sh [valgrind] SUITE...: the test suites on a server of the same major version that is built with assertions from
# Debian's source package. With "valgrind" as the first argument, the server processes run under valgrind with PostgreSQL's
# suppressions, and each finding is a failure. Valgrind is slow, so that a test with a time limit can fail for that reason
# alone: such a failure is shown, but only findings count.
#
#   TESTS, KEEP           as for check.sh
#   PM_ASSERT_DIR=DIR     keeps the server in DIR and uses it again (default: a temporary directory, which is removed)
#
# PG_CONFIG=DIR/pg/bin/pg_config makes any other target use the server in DIR. The unprivileged user must be able to reach
# that directory.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
source "$PM_ROOT/test/harness/debian.sh"

valgrind=
if [ "${1:-}" = valgrind ]; then
	valgrind=1
	shift
fi
suites=("$@")
[ ${#suites[@]} -gt 0 ] || suites=(regress isolation tap pgtap)

wanted=(bison flex perl libipc-run-perl valgrind dpkg-dev bzip2 postgresql-@MAJOR@-pgtap libtap-parser-sourcehandler-pgtap-perl)
unset PG_CONFIG
pm_ensure_packages "${wanted[@]}"
major=$PM_MAJOR
pm_workdir assert
dir=${PM_ASSERT_DIR:-$PM_WORK/server}

if [ ! -x "$dir/pg/bin/postgres" ]; then
	release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
	mirror=$(pm_mirror)
	[ -n "$mirror" ] || pm_die "the sources of apt have no Debian mirror"
	mkdir -p "$dir"
	[ "$(id -u)" -ne 0 ] || chown "$PM_USER:" "$dir"
	chmod 755 "$dir" "$PM_WORK"
	# This uses package lists of its own, because the machine's sources may not include source packages. Only the original
	# tarball is used: Debian's patches hard-code the folders of the system.
	pm_as_user mkdir -p "$PM_WORK/apt/lists/partial" "$PM_WORK/source"
	pm_say "deb-src $mirror $release main" | pm_as_user tee "$PM_WORK/apt/sources.list" >/dev/null
	cat >"$PM_WORK/build.sh" <<'BUILD'
set -eu
apt="apt-get -q -o Dir::Etc::SourceList=$1/apt/sources.list -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists=$1/apt/lists
	-o Dir::Cache=$1/apt"
$apt update
cd "$1/source"
$apt source --download-only --only-source "postgresql-$2"
tar -x --strip-components=1 -f postgresql-*.orig.tar.*
./configure -q --prefix="$3/pg" --enable-cassert --enable-debug --enable-tap-tests --without-readline --without-zlib \
	CFLAGS='-O1 -fno-omit-frame-pointer' CPPFLAGS=-DUSE_VALGRIND
make -s -j"$(nproc)"
make -s install
make -s -C src/test/isolation install
make -s -C src/test/regress install
make -s -C src/test/perl install
cp src/tools/valgrind.supp "$3/"
BUILD
	pm_say "building a server with assertions"
	if ! pm_as_user bash "$PM_WORK/build.sh" "$PM_WORK" "$major" "$dir" >"$PM_WORK/build-server.log" 2>&1; then
		tail -n 30 "$PM_WORK/build-server.log"
		pm_die "the server could not be built"
	fi
	# pgtap has no compiled code, so the installed files fit.
	pm_as_user cp "/usr/share/postgresql/$major/extension/"pgtap* "$("$dir/pg/bin/pg_config" --sharedir)/extension/"
	rm -rf "$PM_WORK/source"
fi

if [ -z "$valgrind" ]; then
	PG_CONFIG=$dir/pg/bin/pg_config bash "$PM_ROOT/test/harness/check.sh" "${suites[@]}"
	exit
fi

# A copy of the server that runs itself under valgrind, except during initdb.
chmod 755 "$PM_WORK"
pm_as_user cp -a "$dir/pg" "$PM_WORK/pg"
pm_as_user mv "$PM_WORK/pg/bin/postgres" "$PM_WORK/pg/bin/postgres.real"
pm_as_user mkdir "$PM_WORK/valgrind"
{
	cat <<'WRAPPER'
#!/bin/sh
real=$(dirname "$0")/postgres.real
case " $* " in
*" --boot "* | *" --single "* | *" -V "* | *" --version "* | *" --check "* | *" -C "*) exec "$real" "$@" ;;
esac
WRAPPER
	pm_say "exec valgrind --quiet --leak-check=no --num-callers=30 --trace-children=yes --suppressions=$dir/valgrind.supp \\"
	pm_say "	--error-markers=VALGRIND-BEGIN,VALGRIND-END --log-file=$PM_WORK/valgrind/%p.log \"\$real\" \"\$@\""
} | pm_as_user tee "$PM_WORK/pg/bin/postgres" >/dev/null
pm_as_user chmod 755 "$PM_WORK/pg/bin/postgres"

PM_SUITE_TIMEOUT=${PM_SUITE_TIMEOUT:-3600} PM_FILE_TIMEOUT=${PM_FILE_TIMEOUT:-1800} \
	PG_CONFIG=$PM_WORK/pg/bin/pg_config bash "$PM_ROOT/test/harness/check.sh" "${suites[@]}" || true
findings=$(cat "$PM_WORK/valgrind/"*.log 2>/dev/null | grep -c VALGRIND-BEGIN || true)
processes=$(find "$PM_WORK/valgrind" -name '*.log' | wc -l)
grep -h -A40 VALGRIND-BEGIN "$PM_WORK/valgrind/"*.log 2>/dev/null | head -n 200 || true
pm_say "valgrind: $processes processes, $findings findings"
[ "$processes" -gt 10 ] && [ "$findings" -eq 0 ]
