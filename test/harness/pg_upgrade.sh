#!/usr/bin/env bash
# pg_upgrade.sh: clusters with pm go through pg_upgrade, from PostgreSQL 15 to 17 to 18 to 19. test/upgrade/pg_upgrade.pl has
# the test. It runs in one chroot of Debian's sid, in which the servers of all four releases are installed beside each
# other; pm is built there for each of them, and installed where a package would put it. Needs root, about 3 GB, and the
# machine's own Debian mirror.
#
#   PM_MAJORS_DIR=DIR keeps the chroot as DIR/upgrade and uses it again (default: a temporary directory, which is removed)
#
# The last line says "N passed, N failed".
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
source "$PM_ROOT/test/harness/debian.sh"

majors=(15 17 18 19)

# Makes the chroot: that of 19, and the servers of the older releases.
pm_upgrade_root() {
	local root=$1 major target packages=() headers=()
	[ ! -e "$root/.pm-ready" ] || return 0
	pm_make_root 19 "$root" || return 1
	for major in "${majors[@]}"; do
		target=$(pm_apt_target "$major")
		[ -n "$target" ] || pm_say "deb $(pm_mirror) $(pm_release "$major") main" >>"$root/etc/apt/sources.list.d/older.list"
		packages+=("postgresql-$major$target")
		headers+=("postgresql-server-dev-$major$target")
	done
	# The packages with the headers ask for compilers of their own releases, which are not needed: without bitcode, any
	# compiler builds the library. So they are only unpacked.
	# shellcheck disable=SC2016
	pm_in_root "$root" DEBIAN_FRONTEND=noninteractive sh -c '
		set -e
		headers=$1; shift
		apt-get -q update
		apt-get -q -y --no-install-recommends install "$@" libpq5/experimental gcc make libc6-dev perl libipc-run-perl
		mkdir /tmp/headers
		cd /tmp/headers
		apt-get -q download $headers
		for package in *.deb; do dpkg-deb -x "$package" /; done
		rm -r /tmp/headers' sh "${headers[*]}" "${packages[@]}" || return 1
	touch "$root/.pm-ready"
}

pm_need_roots
pm_workdir pg-upgrade
root=${PM_MAJORS_DIR:-$PM_WORK}/upgrade
log=$PM_WORK/chroot.log
if ! pm_upgrade_root "$root" >"$log" 2>&1; then
	tail -n 20 "$log"
	pm_die "the servers could not be installed, see above"
fi
pm_root_tree "$root"
pm_say "PostgreSQL ${majors[*]}: build and install"
for major in "${majors[@]}"; do
	# The headers of 15 are in the C that was the default before gcc 15, and those of 19 are not.
	pm_in_root "$root" COPT="$([ "$major" -gt 15 ] || pm_say -std=gnu17)" PG_CONFIG="/usr/lib/postgresql/$major/bin/pg_config" sh -c '
		set -e
		cd /pm
		make -s clean with_llvm=no
		make -s -j2 with_llvm=no PM_STRICT=1
		make -s install with_llvm=no PM_STRICT=1' >"$log" 2>&1 || {
		tail -n 20 "$log"
		pm_die "pm could not be built for PostgreSQL $major, see above"
	}
done
rc=0
# shellcheck disable=SC2016
pm_in_root "$root" ${PM_FIGURES:+"PM_FIGURES=$PM_FIGURES"} sh -c '
	rm -rf /tmp/pg-upgrade
	install -d -o postgres /tmp/pg-upgrade
	pgxs=$(dirname "$(/usr/lib/postgresql/19/bin/pg_config --pgxs)")/..
	cd /tmp/pg-upgrade
	exec setpriv --reuid=postgres --regid=postgres --init-groups env HOME=/tmp/pg-upgrade TMPDIR=/tmp/pg-upgrade \
		PATH=/usr/lib/postgresql/19/bin:/usr/bin:/bin PG_REGRESS="$pgxs/test/regress/pg_regress" \
		PERL5LIB="$pgxs/test/perl:/pm/test/t" TESTDATADIR=/tmp/pg-upgrade/data TESTLOGDIR=/tmp/pg-upgrade/log \
		PM_TEST_MAJORS="$1" prove --nocolor -v /pm/test/upgrade/pg_upgrade.pl' sh "${majors[*]}" >"$PM_WORK/output" 2>&1 || rc=1
grep -E '^(not ok|# (  |Failed|figure:|Looks))' "$PM_WORK/output" || true
mkdir -p "$PM_ROOT/test/results"
cp "$PM_WORK/output" "$PM_ROOT/test/results/pg_upgrade.txt"
pm_say "the whole output: test/results/pg_upgrade.txt"
pm_say "$(grep -cE '^ok [0-9]' "$PM_WORK/output") passed, $(grep -cE '^not ok [0-9]' "$PM_WORK/output") failed"
exit $rc
