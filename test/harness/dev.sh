#!/usr/bin/env bash
# dev.sh: builds strictly in place, installs under PM_DEV_DIR (default: a directory of
# the user in /tmp), and prints the settings with which a server loads pm from there.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

dir=${PM_DEV_DIR:-/tmp/pm-dev-$(id -u)}
pm_locate_postgres
[ -e "$dir" ] || mkdir -m 755 "$dir"
if [ ! -O "$dir" ] || [ -L "$dir" ]; then
	pm_die "$dir belongs to another user: set PM_DEV_DIR"
fi
cd "$PM_ROOT"
make --no-print-directory -s -j"$(nproc)" PG_CONFIG="$PG_CONFIG" PM_STRICT=1 with_llvm=no all
make --no-print-directory -s PG_CONFIG="$PG_CONFIG" PM_STRICT=1 with_llvm=no DESTDIR="$dir" install
pm_say "installed under $dir; in postgresql.conf:"
pm_server_conf "$dir"
