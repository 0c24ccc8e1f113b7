#!/usr/bin/env bash
# run.sh: the console, from a clone (`make console`). Installs Node.js if there is none, as root or with sudo, and the
# npm packages that package-lock.json names, in console/node_modules; then serves the console until Ctrl-C.
#
#   DB='postgres://shop@localhost/shop'   the connection: a URL, keywords, or the name of a database; default: PGHOST,
#                                         PGDATABASE and the like, as for psql
#   WRITE=1                               offers to change things
#   PORT=4810                             the port on 127.0.0.1
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/../test/harness/setup.sh"

if ! command -v npm >/dev/null; then
	command -v dpkg-query >/dev/null || pm_die "the console needs Node.js 18 or later, with npm"
	pm_install_packages nodejs npm
fi
node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 18 ? 1 : 0)' ||
	pm_die "the console needs Node.js 18 or later; this one is $(node --version)"

# npm notes what it has installed; a newer lock file is another list.
if [ ! "$here/node_modules/.package-lock.json" -nt "$here/package-lock.json" ]; then
	pm_say "installing the npm packages of the console"
	log=$(mktemp)
	if ! (cd "$here" && npm ci --omit=dev --ignore-scripts --prefer-offline --no-audit --no-fund) >"$log" 2>&1; then
		tail -n 15 "$log" >&2
		rm -f "$log"
		pm_die "npm ci failed in console/: it needs an npm registry, or what it has in npm's cache"
	fi
	rm -f "$log"
fi

args=()
[ -z "${WRITE:-}" ] || args+=(--write)
[ -z "${PORT:-}" ] || args+=(--port "$PORT")
[ -z "${DB:-}" ] || args+=(-- "$DB")
exec node "$here/pm-console.js" "${args[@]}"
