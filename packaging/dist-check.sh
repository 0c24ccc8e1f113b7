#!/usr/bin/env bash
# dist-check.sh [COMMIT]: makes the zip for PGXN and uses it as its recipients do, without the repository: unpacks it, builds
# it and runs the regress suite from there; installs it with PGXN's client, pgxn install ./FILE, and runs pgxn check against a
# server that has the library preloaded. Nothing is installed into the folders of the machine's server, but into a folder
# that a stand-in for pg_config names.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../test/harness/setup.sh"
cd "$PM_ROOT"

pm_ensure_packages unzip pgxnclient
said=$(bash packaging/dist.sh "$@")
pm_say "$said"
zip=$(tail -n 1 <<<"$said")
name=$(basename "$zip" .zip)
pm_workdir dist

# ---- as a source tree

pm_as_user tee "$PM_WORK/$name.zip" <"$zip" >/dev/null
pm_as_user unzip -q -d "$PM_WORK" "$PM_WORK/$name.zip"
pm_say "the regress suite, from the unpacked zip"
env -u PM_WORK bash "$PM_WORK/$name/test/harness/check.sh" regress

# ---- with PGXN's client

dest=$PM_WORK/dest
cat >"$PM_WORK/pg_config" <<CONFIG
#!/bin/sh
case \$1 in
--pkglibdir) echo '$dest$PM_PKGLIBDIR' ;;
--sharedir) echo '$dest$PM_SHAREDIR' ;;
--docdir | --libdir) echo '$dest/other' ;;
*) exec '$PG_CONFIG' "\$@" ;;
esac
CONFIG
chmod 755 "$PM_WORK/pg_config"
pm_as_user mkdir -p "$dest/other" "$dest$PM_PKGLIBDIR" "$dest$PM_SHAREDIR/extension"
pm_say "pgxn install ./$name.zip"
pgxn() { (cd "$PM_WORK" && pm_as_user env "PM_BITCODE=no" "MAKEFLAGS=-j$(nproc)" "$@"); }
pgxn pgxn install --nosudo --pg_config "$PM_WORK/pg_config" "./$name.zip" >"$PM_WORK/pgxn.log" 2>&1 ||
	{ tail -n 40 "$PM_WORK/pgxn.log"; pm_die "pgxn install failed"; }
(cd "$dest" && find . -type f | sort)

pm_say "pgxn check ./$name.zip"
pm_as_user initdb -D "$PM_WORK/data" -U postgres -A trust -N --no-instructions >/dev/null
{
	pm_server_conf "$dest"
	pm_say "fsync = off"
	pm_say "listen_addresses = ''"
	pm_say "unix_socket_directories = '$PM_WORK/tmp'"
} | pm_as_user tee -a "$PM_WORK/data/postgresql.conf" >/dev/null
pm_as_user pg_ctl -D "$PM_WORK/data" -l "$PM_WORK/server.log" -w -s start </dev/null
pgxn pgxn check --pg_config "$PM_WORK/pg_config" -h "$PM_WORK/tmp" -U postgres "./$name.zip" >"$PM_WORK/pgxn.log" 2>&1 ||
	{ tail -n 60 "$PM_WORK/pgxn.log"; pm_die "pgxn check failed"; }
grep -E '(tests|test files?) .*passed|^# All|All [0-9]+ tests' "$PM_WORK/pgxn.log"
pm_say "$name.zip: builds, passes its suite, and is installed and checked by PGXN's client"
