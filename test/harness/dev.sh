#!/usr/bin/env bash
# dev.sh: strict build in place, installed under PM_DEV_DIR (default: a directory of
# one's own in /tmp), and the settings with which a server loads it. Nothing else.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

dir=${PM_DEV_DIR:-/tmp/pm-dev-$(id -u)}
pm_locate_postgres
[ -e "$dir" ] || mkdir -m 755 "$dir"
if [ ! -O "$dir" ] || [ -L "$dir" ]; then
	pm_die "$dir is somebody else's: set PM_DEV_DIR"
fi
cd "$PM_ROOT"
make --no-print-directory -s -j"$(nproc)" PG_CONFIG="$PG_CONFIG" PM_STRICT=1 with_llvm=no all
make --no-print-directory -s PG_CONFIG="$PG_CONFIG" PM_STRICT=1 with_llvm=no DESTDIR="$dir" install
pm_say "installed under $dir; in postgresql.conf:"
pm_server_conf "$dir"
