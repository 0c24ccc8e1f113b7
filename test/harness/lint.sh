#!/usr/bin/env bash
# lint.sh [FILE...]: clang-tidy and cppcheck over the C sources (all of them, or these). Any finding is a failure; the last
# line says how many.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

pm_ensure_packages clang-tidy cppcheck
cd "$PM_ROOT"
files=("$@")
[ ${#files[@]} -gt 0 ] || files=(src/*.c src/*/*.c)
server=$("$PG_CONFIG" --includedir-server)
out=$(mktemp)
trap 'rm -f "$out"' EXIT

# Left out is what PostgreSQL's own headers and habits would set off everywhere.
checks='-*,clang-analyzer-*,bugprone-*,performance-*,portability-*,misc-redundant-expression,misc-static-assert'
checks+=',-clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling'
checks+=',-bugprone-easily-swappable-parameters,-bugprone-narrowing-conversions,-bugprone-reserved-identifier'
checks+=',-bugprone-implicit-widening-of-multiplication-result'
# Branches that do the same for different reasons, each with its comment.
checks+=',-bugprone-branch-clone'

# shellcheck disable=SC2046
clang-tidy --quiet --checks="$checks" "${files[@]}" -- -std=gnu99 -Isrc -isystem "$server" \
	$("$PG_CONFIG" --cppflags) -DUSE_ASSERT_CHECKING 2>/dev/null | tee "$out" || true
cppcheck -q --std=c99 --enable=warning,performance,portability --max-configs=1 -Isrc -I"$server" \
	-D__GNUC__=12 -D__x86_64__ -D__STDC_VERSION__=199901L --suppress="*:$server/*" "${files[@]}" 2>&1 | tee -a "$out" || true

findings=$(grep -cE '(warning|error|portability|performance): ' "$out" || true)
pm_say "${#files[@]} files, $findings findings"
[ "$findings" -eq 0 ]
