#!/usr/bin/env bash
# deb.sh [MAJOR...]: Debian packages of a commit for each major version of PostgreSQL (default: 15 17 18 19), on the
# Debian release that has it. Each is built in a clean root, which gets only what debian/control asks for, and checked by
# lintian. It is tested in another clean root, which gets only the packages: see deb/build.sh and deb/test.sh, which run in
# the roots. Needs root, about 2 GB for each major version, and the machine's own Debian mirror.
#
#   PM_COMMIT=COMMIT   the commit (default HEAD)
#   PM_DEB_DIR=DIR     keeps the roots in DIR and uses them again (default: a temporary directory, which is removed); the
#                      root of a test is always made anew
#
# dist/deb/MAJOR/ gets the packages, source and binary, lintian.txt and the log of each step. The last lines say for each
# major version what has passed.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../test/harness/setup.sh"
source "$PM_ROOT/test/harness/debian.sh"
cd "$PM_ROOT"

majors=("$@")
[ ${#majors[@]} -gt 0 ] || majors=(15 17 18 19)
roots=${PM_DEB_DIR:-}
summary=()
rc=0

pm_need_roots
command -v git >/dev/null || pm_install_packages git
pm_workdir deb
roots=${roots:-$PM_WORK}
repository=(git -c safe.directory='*')
commit=$("${repository[@]}" rev-parse "${PM_COMMIT:-HEAD}^{commit}")

# ---- the source package -------------------------------------------------------

version=$("${repository[@]}" show "$commit:debian/changelog" | sed -n '1s/.*(\(.*\)-[^-]*).*/\1/p')
source=postgresql-pm-$version

# Puts the original tar file and the unpacked source of a major version into a folder.
pm_debian_source() {
	local major=$1 dir=$2
	rm -rf --one-file-system "$dir"
	mkdir -p "$dir/$source"
	"${repository[@]}" archive --format=tar --prefix="$source/" "$commit" -- . ':(exclude)debian' |
		gzip -n >"$dir/postgresql-pm_$version.orig.tar.gz"
	"${repository[@]}" archive --format=tar "$commit" | tar -x -C "$dir/$source" -f -
	# What pg_buildext updatecontrol does, which is available only once the build dependencies are
	# installed.
	sed "s/PGVERSION/$major/g" "$dir/$source/debian/control.in" >"$dir/$source/debian/control"
}

# ---- the roots ------------------------------------------------------------------

pm_base_root() {
	local major=$1
	[ ! -e "$roots/$major/base.ready" ] || return 0
	pm_make_root "$major" "$roots/$major/base"
	touch "$roots/$major/base.ready"
}

# Makes a root like the base one.
pm_fresh_root() {
	rm -rf --one-file-system "${roots:?}/$1/$2"
	cp -a --reflink=auto "$roots/$1/base" "$roots/$1/$2"
}

# pm_root_script MAJOR ROOT SCRIPT: runs a script of packaging/deb/ in a root, in /pm.
pm_root_script() {
	local major=$1 root=$2
	cp "packaging/deb/$3" "$root/pm/"
	pm_in_root "$root" DEBIAN_FRONTEND=noninteractive "PG_SUPPORTED_VERSIONS=$major" \
		"DEB_BUILD_OPTIONS=parallel=$(nproc)" bash "/pm/$3" "$major" "$(pm_apt_target "$major")"
}

# ---- the steps for a major version ------------------------------------------------

pm_step_root() { pm_base_root "$1"; }

pm_step_build() {
	local root=$roots/$1/build status=0
	[ -d "$root" ] || pm_fresh_root "$1" build
	pm_debian_source "$1" "$root/pm"
	pm_root_script "$1" "$root" build.sh || status=$?
	find "$root/pm" -maxdepth 1 -type f ! -name '*.sh' -exec cp -t "dist/deb/$1" {} +
	return "$status"
}

pm_step_test() {
	local root=$roots/$1/test
	pm_fresh_root "$1" test
	mkdir "$root/pm"
	cp "dist/deb/$1"/*.deb "$root/pm/"
	"${repository[@]}" archive --format=tar "$commit" debian/tests | tar -x -C "$root/pm" -f -
	pm_root_script "$1" "$root" test.sh
}

# In the root of the test, which is not clean after it.
pm_step_autopkgtest() {
	local root=$roots/$1/test
	mkdir "$root/pm/source"
	tar -x -C "$root/pm/source" --strip-components=1 -f "dist/deb/$1/postgresql-pm_$version.orig.tar.gz"
	tar -x -C "$root/pm/source" -f "$(find "dist/deb/$1" -name '*.debian.tar.*')"
	pm_root_script "$1" "$root" autopkgtest.sh
	rm -rf --one-file-system "$root"
}

for major in "${majors[@]}"; do
	if ! pm_release "$major" >/dev/null; then
		summary+=("PostgreSQL $major: FAILED: no Debian release has it")
		rc=1
		continue
	fi
	printf '\n==== PostgreSQL %s (%s)\n' "$major" "$(pm_release "$major")"
	rm -rf "dist/deb/$major"
	mkdir -p "dist/deb/$major"
	for step in root build test autopkgtest; do
		log=dist/deb/$major/$step.log
		began=$SECONDS
		pm_say "$step"
		# If this were a condition, it would continue after an error.
		set +e
		(
			set -e
			"pm_step_$step" "$major"
		) >"$log" 2>&1
		status=$?
		set -e
		[ "$step" != build ] || sed 's/^/  /' "dist/deb/$major/lintian.txt" || true
		if [ "$status" -ne 0 ]; then
			tail -n 40 "$log"
			summary+=("PostgreSQL $major: FAILED: $step, see $log")
			rc=1
			continue 2
		fi
		sed -n 's/^pm: /  /p' "$log"
		pm_say "  $((SECONDS - began)) s"
	done
	summary+=("PostgreSQL $major: passed: $(cd "dist/deb/$major" && ls postgresql-*-pm_*.deb)")
done
pm_say
printf '%s\n' "${summary[@]}"
exit $rc
