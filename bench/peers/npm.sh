#!/usr/bin/env bash
# npm.sh DIR: installs the peers that npm has into DIR, separately and without running their install
# scripts. If one is not available, DIR/NAME.missing says why.
set -uo pipefail
dir=$1

get() {
	local name=$1
	shift
	mkdir -p "$dir/$name"
	if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
		echo "there is no node or no npm" >"$dir/$name.missing"
	elif ! (cd "$dir/$name" && npm install --prefix . --no-audit --no-fund --ignore-scripts "$@") >"$dir/$name.log" 2>&1; then
		echo "npm cannot install $*" >"$dir/$name.missing"
	fi
}

echo "npm: message-db, graphile-worker, Emmett"
get message_db @eventide/message-db@1.3.1
get graphile graphile-worker@0.18.0
get emmett @event-driven-io/emmett-postgresql@0.42.0 @event-driven-io/emmett@0.42.0 @event-driven-io/pongo@0.16.11
