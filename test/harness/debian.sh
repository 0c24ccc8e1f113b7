# shellcheck shell=bash
# Debian's releases, each with another major version of PostgreSQL, as folders to chroot into ("roots"). For majors.sh
# and packaging/deb.sh. To be sourced after setup.sh; what makes or enters a root has to run as root.
#
#   pm_release MAJOR            prints the Debian release that has this major version; fails if there is none
#   pm_mirror                   prints the machine's own Debian mirror, if the sources of apt name one
#   pm_make_root MAJOR ROOT     makes ROOT, the base system of that release and nothing else, up to date, in which
#                               packages neither create a cluster nor start a server
#   pm_apt_target MAJOR         prints what follows the names of that major version's packages: "/experimental" for 19
#   pm_in_root ROOT COMMAND...  runs a command there as root; its mounts and its processes end with it
#   pm_root_tree ROOT           copies the checkout to ROOT/pm
#   pm_need_roots               installs on the machine what making a root needs, or exits

pm_release() {
	case $1 in
	15) pm_say bookworm ;;
	17) pm_say trixie ;;
	18) pm_say forky ;;
	19) pm_say sid ;;
	*) return 1 ;;
	esac
}

# PostgreSQL 19 is in experimental, which is added to sid and used only for the packages that are named from it.
pm_apt_target() {
	if [ "$1" -eq 19 ]; then pm_say /experimental; fi
}

pm_mirror() {
	{
		sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/*.sources
		sed -n 's/^deb  *\(\[[^]]*\] *\)\{0,1\}\([a-z]*:[^ ]*\) .*/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/*.list
	} 2>/dev/null | grep '/debian/*$' | head -n 1 || true
}

pm_in_root() {
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
		exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 "$@"' pm-root "$root" "$@" </dev/null
}

# What a root needs on the machine itself.
pm_need_roots() {
	[ "$(id -u)" -eq 0 ] || pm_die "chroots need root"
	if ! command -v debootstrap >/dev/null; then pm_install_packages debootstrap; fi
	[ -n "$(pm_mirror)" ] || pm_die "the sources of apt have no Debian mirror"
}

pm_make_root() {
	local major=$1 root=$2 release mirror script
	release=$(pm_release "$major")
	mirror=$(pm_mirror)
	script=/usr/share/debootstrap/scripts/$release
	[ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid
	rm -rf --one-file-system "$root"
	mkdir -p "$(dirname "$root")"
	pm_say "making a root of $release"
	debootstrap --variant=minbase "$release" "$root" "$mirror" "$script" || return 1
	cp /etc/resolv.conf "$root/etc/resolv.conf"
	cp /etc/hosts "$root/etc/hosts"
	# Otherwise the packages would create a cluster and start a server.
	printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
	chmod 755 "$root/usr/sbin/policy-rc.d"
	mkdir -p "$root/etc/postgresql-common"
	pm_say 'create_main_cluster = false' >"$root/etc/postgresql-common/createcluster.conf"
	pm_say 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/90pm"
	if [ -n "$(pm_apt_target "$major")" ]; then
		pm_say "deb $mirror experimental main" >"$root/etc/apt/sources.list.d/experimental.list"
	fi
	pm_in_root "$root" DEBIAN_FRONTEND=noninteractive sh -c 'apt-get -q update && apt-get -q -y dist-upgrade'
}

pm_root_tree() {
	rm -rf --one-file-system "$1/pm"
	mkdir "$1/pm"
	pm_tar_tree | tar -x -C "$1/pm" --no-same-owner -f -
}
