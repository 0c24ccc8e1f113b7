#!/usr/bin/env bash
# coverage.sh [SUITE...]: which lines of src/ are executed by the test suites (by default all of them).
#
# Builds with gcc's --coverage, runs check.sh and writes to coverage/ in the checkout:
#   coverage.txt    the total, then for each file its share and the lines that were not executed
#   html/           the same for a browser (index.html)
#   coverage.info   the same in the format of lcov
# TESTS, PG_CONFIG and PM_TAP_JOBS are as for check.sh.
#
# A process writes its counters when it exits. So lines that only run in a process that is killed are missing: by
# SIGKILL, by a crash, or when a server is stopped in mode "immediate". This concerns parts of the code that runs
# after a handler has ended its session or crashed the server. The extension does nothing to change it.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

out=$PM_ROOT/coverage
log=$(mktemp)
kept=
trap 'rm -f "$log"; [ -z "$kept" ] || rm -rf "$kept"' EXIT

pm_ensure_packages lcov perl
rc=0
# Without optimization, each line has its own counters.
KEEP=1 PM_COPT='--coverage -O0' bash "$PM_ROOT/test/harness/check.sh" "$@" | tee "$log" || rc=$?
kept=$(sed -n 's/^kept: //p' "$log" | tail -n 1)
[ -n "$kept" ] && [ -n "$(find "$kept/src/src" -name '*.gcda' -print -quit)" ] ||
	pm_die "no test has run, so nothing was counted"

rm -rf "$out"
mkdir -p "$out"
{
	lcov --quiet --capture --directory "$kept/src/src" --output-file "$out/all.info"
	lcov --quiet --extract "$out/all.info" "$kept/src/src/*" --output-file "$out/coverage.info"
	genhtml --quiet --legend --title pm --prefix "$kept/src" --output-directory "$out/html" "$out/coverage.info"
} >"$out/lcov.log" 2>&1 || { cat "$out/lcov.log" >&2; pm_die "lcov failed"; }
rm -f "$out/all.info" "$out/lcov.log"
sed -i "s,^SF:$kept/src/,SF:," "$out/coverage.info"
perl "$PM_ROOT/test/harness/coverage.pl" "$out/coverage.info" >"$out/coverage.txt"
sed '/^$/q' "$out/coverage.txt"
pm_say "coverage/coverage.txt lists the lines that were not executed, coverage/html/index.html shows them."
exit "$rc"
