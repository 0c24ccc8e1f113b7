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

majors=("$@")
[ ${#majors[@]} -gt 0 ] || majors=(17 18 19)
suites=${PM_SUITES:-regress isolation tap pgtap}
keep=${PM_MAJORS_DIR:-}
summary=()
rc=0

# The Debian release that has this major version.
pm_release() {
	case $1 in
	15) pm_say bookworm ;;
	17) pm_say trixie ;;
	18) pm_say forky ;;
	19) pm_say sid ;;
	*) return 1 ;;
	esac
}

pm_mirror() {
	{
		sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/*.sources
		sed -n 's/^deb  *\(\[[^]]*\] *\)\{0,1\}\([a-z]*:[^ ]*\) .*/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/*.list
	} 2>/dev/null | grep '/debian/*$' | head -n 1 || true
}

# Runs a script in the chroot as root. Its mounts and processes end with it.
pm_in_chroot() {
	local root=$1
	shift
	unshare --mount --pid --fork --kill-child -- bash -c '
		set -e
		root=$1; shift
		mount --make-rprivate /
		mount -t proc proc "$root/proc"
		mount --bind /dev "$root/dev"
		mkdir -p "$root/dev/shm"
		mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
		exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 "$@"' pm-chroot "$root" "$@" </dev/null
}

# Makes the chroot of a major version, unless it exists.
pm_chroot() {
	local major=$1 root=$2 release script
	[ ! -e "$root/.pm-ready" ] || return 0
	release=$(pm_release "$major")
	script=/usr/share/debootstrap/scripts/$release
	[ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid
	rm -rf --one-file-system "$root"
	pm_say "making a chroot of $release"
	debootstrap --variant=minbase "$release" "$root" "$mirror" "$script" || return 1
	cp /etc/resolv.conf "$root/etc/resolv.conf"
	cp /etc/hosts "$root/etc/hosts"
	# Otherwise the packages would create a cluster and start a server.
	printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
	chmod 755 "$root/usr/sbin/policy-rc.d"
	mkdir -p "$root/etc/postgresql-common"
	pm_say 'create_main_cluster = false' >"$root/etc/postgresql-common/createcluster.conf"
	pm_say 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/90pm"
	pm_packages "$major" "$root" || return 1
	touch "$root/.pm-ready"
}

# Installs in the chroot the server of this major version and what the suites need.
pm_packages() {
	local major=$1 root=$2 target='' pgtap=postgresql-$1-pgtap
	# PostgreSQL 19 is in experimental, which is added to sid and used only for the packages that are named from it.
	# There is no pgtap for it yet.
	if [ "$major" -eq 19 ]; then
		target=/experimental pgtap=
		pm_say "deb $mirror experimental main" >"$root/etc/apt/sources.list.d/experimental.list"
	fi
	# shellcheck disable=SC2016
	pm_in_chroot "$root" DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 sh -c '
		major=$1 target=$2 pgtap=$3
		set -e
		apt-get -q update
		apt-get -q -y dist-upgrade
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

[ "$(id -u)" -eq 0 ] || pm_die "chroots need root"
if ! command -v debootstrap >/dev/null; then pm_install_packages debootstrap; fi
mirror=$(pm_mirror)
[ -n "$mirror" ] || pm_die "the sources of apt have no Debian mirror"

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
	rm -rf --one-file-system "$root/pm"
	mkdir "$root/pm"
	(
		cd "$PM_ROOT" || exit
		if [ -e .git ] && command -v git >/dev/null; then
			git -c safe.directory='*' ls-files -z --cached --others --exclude-standard |
				while IFS= read -r -d '' f; do
					if [ -e "$f" ] || [ -L "$f" ]; then printf '%s\0' "$f"; fi
				done | sort -zu | tar -c --null --no-recursion -T - -f -
		else
			tar -c --exclude=./.git --exclude='*.o' --exclude='*.so' --exclude='*.bc' -f - .
		fi
	) | tar -x -C "$root/pm" --no-same-owner -f -
	variables=()
	for v in $(compgen -e); do
		case $v in
		PM_WORK | PM_MAJORS_DIR | PM_PG_MAJOR | PM_TMPDIR | PM_TEST_DATA) ;;
		PM_* | TESTS) variables+=("$v=${!v}") ;;
		esac
	done
	# shellcheck disable=SC2086
	pm_in_chroot "$root" "${variables[@]}" PM_PG_MAJOR="$major" bash /pm/test/harness/check.sh $suites 2>&1 | tee "$log" || rc=1
	line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$log" | tail -n 1 || true)
	summary+=("PostgreSQL $major: ${line:-did not finish: 0 passed, 1 failed}")
done

pm_say
printf '%s\n' "${summary[@]}"
exit $rc
