#!/usr/bin/env bash
# lint.sh [FILE...]: runs house.pl, then clang-tidy and cppcheck over the C sources (by default all of them).
# Any finding is a failure. The last line says how many there are.
#
#   PM_LINT_JOBS=2    how many files are checked at a time (default: the number of processors)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

pm_ensure_packages clang-format clang-tidy cppcheck perl
cd "$PM_ROOT"
files=("$@")
[ ${#files[@]} -gt 0 ] || files=(src/*.c src/*/*.c)
jobs=${PM_LINT_JOBS:-$(nproc)}
server=$("$PG_CONFIG" --includedir-server)
out=$(mktemp)
trap 'rm -f "$out"' EXIT

house=0
bash test/harness/house_test.sh || house=1
perl test/harness/house.pl || house=1

# Checks that PostgreSQL's headers and conventions would trigger everywhere are left out.
checks='-*,clang-analyzer-*,bugprone-*,performance-*,portability-*,misc-redundant-expression,misc-static-assert'
checks+=',-clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling'
checks+=',-bugprone-easily-swappable-parameters,-bugprone-narrowing-conversions,-bugprone-reserved-identifier'
checks+=',-bugprone-implicit-widening-of-multiplication-result'
# There are branches that do the same for different reasons, each with a comment.
checks+=',-bugprone-branch-clone'

# One process for each file, so that all processors are used. The findings of a file are printed together.
flags="-std=gnu99 -Isrc -isystem $server $("$PG_CONFIG" --cppflags) -DUSE_ASSERT_CHECKING"
tidy() {
	local found
	# shellcheck disable=SC2086
	found=$(clang-tidy --quiet --checks="$checks" "$1" -- $flags 2>/dev/null) || true
	[ -z "$found" ] || printf '%s\n' "$found"
}
export checks flags
export -f tidy
# shellcheck disable=SC2016
printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P "$jobs" bash -c 'tidy "$1"' tidy | tee "$out" || true
cppcheck -q -j "$jobs" --std=c99 --enable=warning,performance,portability --max-configs=1 -Isrc -I"$server" \
	-D__GNUC__=12 -D__x86_64__ -D__STDC_VERSION__=199901L --suppress="*:$server/*" "${files[@]}" 2>&1 | tee -a "$out" || true

findings=$(grep -cE '(warning|error|portability|performance): ' "$out" || true)
pm_say "${#files[@]} files, $findings findings of clang-tidy and cppcheck"
[ "$findings" -eq 0 ] && [ "$house" -eq 0 ]
