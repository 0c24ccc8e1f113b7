#!/usr/bin/env bash
# image.sh [MAJOR...]: dist/image/MAJOR (default: 18 19), the files of pm as an image volume has them, for example for
# CloudNativePG: lib/ and share/extension/, which a server finds wherever they are, with dynamic_library_path and
# extension_control_path. From PostgreSQL 18 on. The files are those of the Debian package, which is built if dist/deb
# does not have it. The Containerfile there makes an image of them.
#
# image.sh --from DIR TARGET: the same in TARGET from what "make install DESTDIR=DIR" has installed. For the test.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# Copies what is installed below a folder.
layout() {
	local from=$1 target=$2 library control
	library=$(find "$from" -name pm.so -path '*/lib*')
	control=$(find "$from" -name pm.control)
	if [ ! -f "$library" ] || [ ! -f "$control" ]; then
		printf 'error: %s is not one installation of pm\n' "$from" >&2
		return 1
	fi
	rm -rf "$target"
	mkdir -p "$target/lib" "$target/share/extension" "$target/licenses/pm"
	cp "$library" "$target/lib/"
	cp "$control" "$(dirname "$control")"/pm--*.sql "$target/share/extension/"
	cp "$here/../LICENSE" "$target/licenses/pm/"
	cp "$here/Containerfile" "$target/"
	# An image's files are read by another user.
	chmod -R u+rwX,go=rX "$target"
}

if [ "${1:-}" = --from ]; then
	layout "$2" "$3"
	exit
fi

source "$here/../test/harness/setup.sh"
cd "$PM_ROOT"
majors=("$@")
[ ${#majors[@]} -gt 0 ] || majors=(18 19)
pm_workdir image
for major in "${majors[@]}"; do
	[ "$major" -ge 18 ] || pm_die "PostgreSQL $major finds extensions in its own folders only; extension_control_path came with 18"
	package=$(find "dist/deb/$major" -name "postgresql-$major-pm_*.deb" 2>/dev/null || true)
	if [ -z "$package" ]; then
		bash packaging/deb.sh "$major"
		package=$(find "dist/deb/$major" -name "postgresql-$major-pm_*.deb")
	fi
	dpkg-deb -x "$package" "$PM_WORK/$major"
	layout "$PM_WORK/$major" "dist/image/$major"
	pm_say "dist/image/$major: $(cd "dist/image/$major" && find . -type f | sort | sed 's,^\./,,' | tr '\n' ' ')"
done
