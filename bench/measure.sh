#!/usr/bin/env bash
# measure.sh: the unprivileged part of a run: starts the server, runs the sections and writes the report. Called by
# run.sh, in PM_WORK, as the unprivileged user.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/lib.sh"
source "$here/server.sh"

began=$SECONDS
export PM_BENCH_LOAD
PM_BENCH_LOAD=$(cut -d' ' -f1-3 /proc/loadavg)
failed=0
server_start
for section in "$@"; do
	say
	say "== $section"
	if ! bash "$here/section.sh" "$section"; then
		skip "$section: it failed; the rest of it is missing"
		failed=1
	fi
	say "   ($((SECONDS - began)) s since the beginning)"
done
server_describe >"$BENCH_RESULTS/settings.txt"
[ -n "${KEEP:-}" ] || server_stop

perl "$here/report.pl" "$BENCH_RESULTS" >"$BENCH_RESULTS/results.txt"
perl "$here/report.pl" --markdown "$BENCH_RESULTS" >"$BENCH_RESULTS/results.md"
bash "$here/plot.sh" "$BENCH_RESULTS"
say
cat "$BENCH_RESULTS/results.txt"
exit "$failed"
