#!/usr/bin/env bash
# majors.sh [MAJOR...]: runs the test suites on other major versions of PostgreSQL (by default 17, 18 and 19), each in a
# chroot with the Debian release that has it. On the machine itself only debootstrap is installed, if it is missing. Needs
# root, about 2 GB for each major version, and the machine's own Debian mirror.
#
#   TESTS="a b*"      only the tests with these names
#   PM_SUITES="tap"   only these suites (default: regress isolation tap pgtap)
#   PM_MAJORS_DIR=DIR keeps the chroots in DIR and uses them again (default: a temporary directory, which is removed)
#
# The last lines say "PostgreSQL N: N passed, N failed" for each major version.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
source "$PM_ROOT/test/harness/debian.sh"

majors=("$@")
[ ${#majors[@]} -gt 0 ] || majors=(17 18 19)
suites=${PM_SUITES:-regress isolation tap pgtap}
keep=${PM_MAJORS_DIR:-}
summary=()
rc=0

# Makes the chroot of a major version, unless it exists.
pm_chroot() {
	local major=$1 root=$2
	[ ! -e "$root/.pm-ready" ] || return 0
	pm_make_root "$major" "$root" || return 1
	pm_packages "$major" "$root" || return 1
	touch "$root/.pm-ready"
}

# Installs in the chroot the server of this major version and what the suites need.
pm_packages() {
	local major=$1 root=$2 target pgtap=postgresql-$1-pgtap
	target=$(pm_apt_target "$major")
	# There is no pgtap for 19 yet.
	[ "$major" -ne 19 ] || pgtap=
	# shellcheck disable=SC2016
	pm_in_root "$root" DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 sh -c '
		major=$1 target=$2 pgtap=$3
		set -e
		apt-get -q -y --no-install-recommends install "postgresql-$major$target" "postgresql-server-dev-$major$target" \
			${target:+"libpq5$target" "libpq-dev$target"} $pgtap \
			gcc make libc6-dev perl libipc-run-perl libtap-parser-sourcehandler-pgtap-perl
		if [ -z "$pgtap" ]; then
			# pgtap has no compiled code, so the files of the newest package fit each major version.
			pgtap=$(apt-cache pkgnames postgresql- | grep -E "^postgresql-[0-9]+-pgtap$" | sort -V | tail -n 1)
			cd /tmp
			apt-get -q download "$pgtap"
			dpkg-deb -x "$pgtap"_*.deb pgtap
			cp pgtap/usr/share/postgresql/*/extension/pgtap* "/usr/share/postgresql/$major/extension/"
			rm -r pgtap "$pgtap"_*.deb
		fi' sh "$major" "$target" "$pgtap"
}

pm_need_roots
pm_workdir majors
for major in "${majors[@]}"; do
	root=${keep:-$PM_WORK}/$major
	log=$PM_WORK/$major.log
	if ! pm_release "$major" >/dev/null; then
		pm_say "PostgreSQL $major: no Debian release has it"
		summary+=("PostgreSQL $major: not available: 0 passed, 1 failed")
		rc=1
		continue
	fi
	if ! { mkdir -p "$(dirname "$root")" && pm_chroot "$major" "$root"; } >"$log" 2>&1; then
		tail -n 20 "$log"
		summary+=("PostgreSQL $major: the server could not be installed, see above: 0 passed, 1 failed")
		rc=1
		continue
	fi
	printf '\n==== PostgreSQL %s (%s)\n' "$major" "$(pm_release "$major")"
	pm_root_tree "$root"
	variables=()
	for v in $(compgen -e); do
		case $v in
		PM_WORK | PM_MAJORS_DIR | PM_PG_MAJOR | PM_TMPDIR | PM_TEST_DATA) ;;
		PM_* | TESTS) variables+=("$v=${!v}") ;;
		esac
	done
	# shellcheck disable=SC2086
	pm_in_root "$root" "${variables[@]}" PM_PG_MAJOR="$major" bash /pm/test/harness/check.sh $suites 2>&1 | tee "$log" || rc=1
	line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$log" | tail -n 1 || true)
	summary+=("PostgreSQL $major: ${line:-did not finish: 0 passed, 1 failed}")
done

pm_say
printf '%s\n' "${summary[@]}"
exit $rc
