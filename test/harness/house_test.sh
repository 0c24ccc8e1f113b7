#!/usr/bin/env bash
# house_test.sh: tests that each rule of house.pl finds what it should, and that a correct tree has no findings.
# Makes a small tree, breaks one rule at a time in it and looks for the finding.
set -euo pipefail
house=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/house.pl
format=$(cd "$(dirname "$house")/../.." && pwd)/.clang-format
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
failed=0
tried=0

# Makes a tree that follows all rules.
clean() {
	rm -rf "${tree:?}"/* "$tree"/.??*
	cp "$format" "$tree/.clang-format"
	(
		cd "$tree"
		mkdir -p src/base src/log src/worker
		printf '#include "postgres.h"\n' >src/pm.h
		printf 'extern int exec_count;\nextern void exec_run(int (*act)(void));\n' >src/base/exec.h
		printf '#include "pm.h"\n\n#include "base/exec.h"\n\nint exec_count = 0;\n' >src/base/exec.c
		printf '\nvoid\nexec_run(int (*act)(void))\n{\n\texec_count++;\n}\n' >>src/base/exec.c
		printf 'extern char *log_name(int number);\n' >src/log/log.h
		printf '#include "pm.h"\n\n#include "base/exec.h"\n#include "log/log.h"\n' >src/log/log.c
		printf '\n/* "extern" in a comment: #include "log/none.h" */\nchar *\nlog_name(int number)\n{\n\treturn "{";\n}\n' >>src/log/log.c
		git -c init.defaultBranch=main init -q
		git add -A
		git -c user.name=t -c user.email=t@localhost commit -q -m 'A tree'
	)
}

# expect RULE FILE:LINE: the check must fail, with this finding under the heading of this rule.
expect() {
	local out
	tried=$((tried + 1))
	if out=$(perl "$house" "$tree"); then
		printf 'the check passed, although this rule is broken: %s\n' "$1"
	elif ! awk -v rule="== $1: " -v place="$2" '
			index($0, "== ") == 1 { here = index($0, rule) == 1 }
			here && index($0, place) == 1 { found = 1 }
			END { exit !found }' <<<"$out"; then
		printf 'no finding "%s" under "%s" in:\n%s\n' "$2" "$1" "$out"
	else
		return 0
	fi
	failed=$((failed + 1))
}

clean
tried=$((tried + 1))
if ! out=$(perl "$house" "$tree"); then
	printf 'findings in a correct tree:\n%s\n' "$out"
	failed=$((failed + 1))
fi

clean
printf '/* This header is private to src/base. */\n' >>"$tree/src/base/exec.h"
expect 'private headers outside their folder' src/log/log.c:3:

clean
printf '#include "log/log.h"\n' >>"$tree/src/base/exec.h"
expect 'includes that go up' src/base/exec.h:3:
expect 'circles between files' src/base/exec.h:3:

clean
printf '#include "worker/a.h"\n' >"$tree/src/worker/b.h"
printf '#include "worker/b.h"\n' >"$tree/src/worker/c.h"
printf '#include "worker/c.h"\n' >"$tree/src/worker/a.c"
touch "$tree/src/worker/a.h"
expect 'circles between files' src/worker/a.c:1:
expect 'circles between files' src/worker/b.h:1:

clean
printf '#include "log/log.h"\n' >"$tree/src/compat.h"
expect 'includes that go up' src/compat.h:1:

clean
printf '#include "log.h"\n' >"$tree/src/log/read.c"
expect 'includes of no file' src/log/read.c:1:

clean
printf '#include "log/gone.h"\n' >"$tree/src/log/read.c"
expect 'includes of no file' src/log/read.c:1:

clean
touch "$tree/src/stray.c"
expect 'files in the wrong place' src/stray.c:1:

clean
mkdir "$tree/src/other"
touch "$tree/src/other/stray.h"
expect 'files in the wrong place' src/other/stray.h:1:

clean
printf 'extern void log_other(void);\n' >>"$tree/src/log/log.h"
expect 'headers that declare what others define' src/log/log.h:2:

clean
printf '\nextern int log_count;\n' >>"$tree/src/log/log.h"
expect 'headers that declare what others define' src/log/log.h:3:

clean
printf 'extern void orphan(void);\n' >"$tree/src/log/orphan.h"
expect 'headers that declare what others define' src/log/orphan.h:1:

clean
printf '/*\n *\t\t%095d\n */\n' 0 >"$tree/src/log/a.c"
expect 'lines over 100 columns' src/log/a.c:2:

clean
for i in $(seq 501); do printf 'int i%d;\n' "$i"; done >"$tree/src/log/a.c"
expect 'files over 500 lines' src/log/a.c:501:

clean
{
	printf 'void\na(void)\n{\n'
	for i in $(seq 60); do printf '\tb();\n'; done
	printf '}\n'
} >"$tree/src/log/a.c"
expect 'long functions' src/log/a.c:3:

clean
printf '/* So many of them. */\n/*\n * Who reads it.  A steering wheel.\n */\n' >"$tree/src/log/a.c"
expect words src/log/a.c:1:
expect words src/log/a.c:3:

clean
printf 'int a( void );\n' >"$tree/src/log/a.c"
expect clang-format src/log/a.c:1:

clean
for i in $(seq 601); do printf 'one two three\n'; done >"$tree/README.md"
expect 'a README.md of more than 1800 words' README.md:601:

clean
printf '{\n"resolved": "https://registry.example/a.tgz"\n}\n' >"$tree/src/package-lock.json"
expect 'lock files that name a host' src/package-lock.json:2:

clean
touch "$tree/notes.txt"
expect 'top-level files that do not belong there' notes.txt:

clean
git -C "$tree" -c user.name=t -c user.email=t@localhost commit -q --allow-empty -m "$(printf 'a%.0s' $(seq 73))"
expect 'commit subjects over 72 characters' "$(git -C "$tree" log -1 --format=%h):"

printf 'Rules of the project: %d tried, %d failed\n' "$tried" "$failed"
[ "$failed" -eq 0 ]
