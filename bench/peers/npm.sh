#!/usr/bin/env bash
# npm.sh DIR: installs the peers that npm has into DIR, separately and without running their install scripts, as the lock files in
# npm/ say, which name no host. If one is not available, DIR/NAME.missing says why.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=$1

get() {
	local name=$1
	mkdir -p "$dir/$name"
	cp "$here/npm/$name"/package*.json "$dir/$name/"
	if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
		echo "there is no node or no npm" >"$dir/$name.missing"
	elif ! (cd "$dir/$name" && npm ci --no-audit --no-fund --ignore-scripts --prefer-offline) >"$dir/$name.log" 2>&1; then
		echo "npm ci fails: $(grep -m 1 'npm error' "$dir/$name.log")" >"$dir/$name.missing"
	fi
}

echo "npm: message-db, graphile-worker, Emmett, pg-boss"
get message_db
get graphile
get emmett
get pgboss
