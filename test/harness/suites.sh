#!/usr/bin/env bash
# suites.sh SUITE...: builds the copy of the tree it stands in and runs test suites on
# it. check.sh calls it, in a private copy and as an unprivileged user.
#
# Every suite runs, whatever became of the others. The unit of counting is the test
# file; an assertion or a crash in a server log counts as one more failure.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$PM_ROOT"

dest=$PM_WORK/dest
out=$PM_WORK/out
suite_timeout=${PM_SUITE_TIMEOUT:-1200}   # a whole pg_regress or isolation run, seconds
file_timeout=${PM_FILE_TIMEOUT:-600}      # one TAP file
pgtap_timeout=${PM_PGTAP_TIMEOUT:-120}    # one pgTAP file
passed=0
failed=()
skipped=()
figures=()
broken=0      # a suite that has tests ran none, or a selection matched nothing
selected=0

pm_locate_postgres
mkdir -p "$out"

heading() { printf '\n== %s\n' "$*"; }
pass() { passed=$((passed + 1)); }
fail() { failed+=("$1"); }

# ---- which tests ------------------------------------------------------------

# Prints the files of a suite, in order.
all_tests() {
	local n
	case $1 in
	regress) for n in $(make -s print-REGRESS PG_CONFIG="$PG_CONFIG"); do pm_say "sql/$n.sql"; done ;;
	isolation) for n in $(make -s print-ISOLATION PG_CONFIG="$PG_CONFIG"); do pm_say "test/isolation/specs/$n.spec"; done ;;
	tap) find test/t -maxdepth 1 -name '*.pl' 2>/dev/null | LC_ALL=C sort ;;
	pgtap) find test/pgtap -maxdepth 1 -name '*.sql' 2>/dev/null | LC_ALL=C sort ;;
	esac
}

test_name() {
	local n=${1##*/}
	pm_say "${n%.*}"
}

# Of the files on standard input, those that TESTS selects.
select_tests() {
	local file pattern
	set -f
	while IFS= read -r file; do
		if [ -z "${TESTS:-}" ]; then
			pm_say "$file"
			continue
		fi
		for pattern in $TESTS; do
			# shellcheck disable=SC2053
			if [[ $(test_name "$file") == $pattern ]]; then
				pm_say "$file"
				break
			fi
		done
	done
	set +f
}

# ---- what to show -----------------------------------------------------------

show_tail() {
	[ -s "$1" ] || return 0
	printf -- '-- the end of %s\n' "${1#"$PM_WORK"/}"
	tail -n "$2" "$1"
}

# A failed assertion is a failure wherever it happened, and so is a crash where no
# test causes one on purpose.
scan_logs() {
	local suite=$1 pattern=$2 file
	while IFS= read -r file; do
		if grep -qE "$pattern" "$file"; then
			fail "$suite: server log"
			printf -- '-- in %s\n' "${file#"$PM_WORK"/}"
			grep -E -B5 -A10 "$pattern" "$file" | head -n 60
		fi
	done < <(find "$out/$suite" -name '*.log' 2>/dev/null)
}
ASSERTION='^TRAP: |TRAP: failed'
CRASH="$ASSERTION|was terminated by signal (6|7|8|11)|PANIC: "

# ---- pg_regress and isolation -----------------------------------------------

# run_pg_regress SUITE DRIVER OPTIONS: the tests are in the array files.
run_pg_regress() {
	local suite=$1 driver=$2 options=$3 names=() file name rc=0 before=${#failed[@]}
	local dir=$out/$suite
	mkdir -p "$dir"
	for file in "${files[@]}"; do names+=("$(test_name "$file")"); done
	{
		pm_server_conf "$dest"
		pm_say "fsync = off"
		pm_say "log_line_prefix = '%m [%p] %b %q%a '"
	} >"$dir/temp.conf"
	# shellcheck disable=SC2086
	PGISOLATIONTIMEOUT=${PGISOLATIONTIMEOUT:-60} timeout -k 30 "$suite_timeout" \
		"$driver" $options --outputdir="$dir" --bindir="$PM_BINDIR" \
		--dlpath="$dest$PM_PKGLIBDIR" --temp-instance="$dir/instance" \
		--temp-config="$dir/temp.conf" "${names[@]}" 2>&1 </dev/null |
		tee "$dir/output" | grep --line-buffered -E '^(test |ok |not ok )' || rc=$?
	pm_stop_servers "$dir"

	for name in "${names[@]}"; do
		# "test NAME ... ok 5 ms" up to 15, "ok 1 - NAME 5 ms" since 16
		if grep -qE "^(test +$name +\.\.\. +ok|ok [0-9]+ +[-+] +$name( |\$))" "$dir/output"; then
			pass
		else
			fail "$suite: $name"
		fi
	done
	if [ ${#failed[@]} -gt "$before" ]; then
		if [ -s "$dir/regression.diffs" ]; then
			pm_say "-- differences"
			head -n 300 "$dir/regression.diffs"
		else
			show_tail "$dir/output" 40
		fi
		show_tail "$dir/log/postmaster.log" 40
	fi
	scan_logs "$suite" "$CRASH"
}

run_regress() {
	run_pg_regress regress "$PM_PGXS/test/regress/pg_regress" \
		"$(make -s print-REGRESS_OPTS PG_CONFIG="$PG_CONFIG")"
}

run_isolation() {
	run_pg_regress isolation "$PM_PGXS/test/isolation/pg_isolation_regress" \
		"$(make -s print-ISOLATION_OPTS PG_CONFIG="$PG_CONFIG")"
}

# ---- TAP --------------------------------------------------------------------

# count_prove SUITE FILE STATUS OUTPUT: judges one run of prove and prints a line.
count_prove() {
	local suite=$1 file=$2 rc=$3 output=$4 seconds
	seconds=$(sed -n 's/^Files=.* \([0-9]*\) wallclock secs.*/\1/p' "$output")
	if [ "$rc" -eq 0 ] && grep -q '^Result: NOTESTS' "$output"; then
		skipped+=("$suite: $(test_name "$file")$(sed -n 's/.*skipped: /: /p' "$output" | head -n 1)")
		pm_say "skipped  $file"
	elif [ "$rc" -eq 0 ] && grep -q '^Result: PASS' "$output"; then
		pass
		pm_say "ok       $file  ${seconds:-?} s"
	else
		fail "$suite: $(test_name "$file")"
		pm_say "FAILED   $file  (status $rc$([ "$rc" -ne 124 ] || echo ', timed out'))"
		tail -n 60 "$output"
		return 1
	fi
}

# One TAP file, for xargs.
run_tap_file() {
	local file=$1 name rc=0
	name=$(test_name "$file")
	timeout -k 20 "$file_timeout" prove --nocolor "$file" \
		>"$out/tap/$name.output" 2>&1 </dev/null || rc=$?
	pm_say "$rc" >"$out/tap/$name.status"
	pm_say "   done  $file"
}

run_tap() {
	local file name rc
	mkdir -p "$out/tap"
	pm_server_conf "$dest" '' >"$out/tap/temp.conf"
	export TEMP_CONFIG=$out/tap/temp.conf TESTDIR=$out/tap
	export TESTDATADIR=$out/tap/tmp_check TESTLOGDIR=$out/tap/tmp_check/log   # from 16
	export PG_REGRESS=$PM_PGXS/test/regress/pg_regress
	export PERL5LIB=$PM_PGXS/test/perl:$PM_ROOT/test/t
	export PM_TEST_ROOT=$PM_ROOT PM_TEST_LIBDIR=$dest$PM_PKGLIBDIR
	export out file_timeout
	export -f run_tap_file test_name pm_say
	printf '%s\0' "${files[@]}" |
		xargs -0 -n 1 -P "${PM_TAP_JOBS:-2}" bash -c 'run_tap_file "$1"' run_tap_file || true
	pm_stop_servers "$out/tap"

	for file in "${files[@]}"; do
		name=$(test_name "$file")
		rc=$(cat "$out/tap/$name.status" 2>/dev/null || echo 125)
		if count_prove tap "$file" "$rc" "$out/tap/$name.output"; then
			mapfile -t -O ${#figures[@]} figures < <(sed -n "s/^.*# figure: /$name: /p" "$out/tap/tmp_check/log/regress_log_$name")
		else
			show_tail "$out/tap/tmp_check/log/regress_log_$name" 40
			for log in "$out/tap/tmp_check/log/${name}_"*.log; do
				show_tail "$log" 25
			done
		fi
	done
	scan_logs tap "$ASSERTION"
}

# ---- pgTAP ------------------------------------------------------------------

# Each file in a database of its own, which has pgtap and pm.
run_pgtap() {
	local dir=$out/pgtap file name db n=0 rc
	if [ ! -e "$PM_SHAREDIR/extension/pgtap.control" ]; then
		pm_say "this server has no pgtap"
		for file in "${files[@]}"; do fail "pgtap: $(test_name "$file")"; done
		return
	fi
	mkdir -p "$dir/socket"
	if ! {
		initdb -D "$dir/data" -U postgres -A trust -N --no-instructions
		{
			pm_server_conf "$dest"
			pm_say "fsync = off"
			pm_say "listen_addresses = ''"
			pm_say "unix_socket_directories = '$dir/socket'"
			pm_say "log_line_prefix = '%m [%p] %b %q%a '"
		} >>"$dir/data/postgresql.conf"
		pg_ctl -D "$dir/data" -l "$dir/server.log" -w -s start </dev/null
		export PGHOST=$dir/socket PGUSER=postgres PGDATABASE=postgres
		psql -X -q -v ON_ERROR_STOP=1 -c 'CREATE DATABASE pm_template' &&
			psql -X -q -v ON_ERROR_STOP=1 -d pm_template -c 'CREATE EXTENSION pgtap'
	} >"$dir/setup" 2>&1; then
		cat "$dir/setup"
		show_tail "$dir/server.log" 40
		for file in "${files[@]}"; do fail "pgtap: $(test_name "$file")"; done
		pm_stop_servers "$dir"
		return
	fi
	export PGHOST=$dir/socket PGUSER=postgres PGDATABASE=postgres

	for file in "${files[@]}"; do
		name=$(test_name "$file")
		n=$((n + 1))
		db=pm_test_$n
		rc=0
		{
			createdb -T pm_template "$db" &&
				psql -X -q -v ON_ERROR_STOP=1 -d "$db" -c 'CREATE EXTENSION pm' &&
				timeout -k 20 "$pgtap_timeout" pg_prove --nocolor -d "$db" "$file"
		} >"$dir/$name.output" 2>&1 </dev/null || rc=$?
		count_prove pgtap "$file" "$rc" "$dir/$name.output" || show_tail "$dir/server.log" 25
		# Whatever the file left behind must not keep its database.
		if ! timeout -k 5 30 dropdb --if-exists --force "$db" >"$dir/dropdb" 2>&1; then
			fail "pgtap: dropping the database of $name"
			cat "$dir/dropdb"
		fi
	done
	pg_ctl -D "$dir/data" -m fast -s -t 20 stop >/dev/null 2>&1 || fail "pgtap: stopping the server"
	pm_stop_servers "$dir"
	unset PGHOST PGUSER PGDATABASE
	scan_logs pgtap "$CRASH"
}

# ---- all of it --------------------------------------------------------------

closing() {
	local t
	# what a test that has passed says by PmTest::figure
	if [ ${#figures[@]} -gt 0 ]; then
		heading figures
		printf '%s\n' "${figures[@]}"
	fi
	pm_say
	for t in ${skipped[@]+"${skipped[@]}"}; do pm_say "skipped: $t"; done
	for t in ${failed[@]+"${failed[@]}"}; do pm_say "failed: $t"; done
	pm_say "$passed passed, ${#failed[@]} failed"
	[ ${#failed[@]} -eq 0 ] && [ "$broken" -eq 0 ]
}

heading "build ($("$PG_CONFIG" --version), strict)"
built=1
if ! (pm_build "$PM_ROOT" 1 "$dest"); then built=0; fi

for suite in "$@"; do
	mapfile -t all < <(all_tests "$suite")
	mapfile -t files < <(printf '%s\n' ${all[@]+"${all[@]}"} | sed '/^$/d' | select_tests)
	selected=$((selected + ${#files[@]}))
	if [ ${#all[@]} -eq 0 ]; then
		heading "$suite: skipped, no tests yet"
		continue
	elif [ ${#files[@]} -eq 0 ]; then
		continue
	fi
	if [ "$built" -eq 0 ]; then
		for file in "${files[@]}"; do fail "$suite: $(test_name "$file") (no build)"; done
		continue
	fi
	heading "$suite: ${#files[@]} test files"
	before=$((passed + ${#failed[@]} + ${#skipped[@]}))
	"run_$suite"
	if [ $((passed + ${#failed[@]} + ${#skipped[@]})) -eq "$before" ]; then
		pm_say "$suite ran no tests"
		broken=1
	fi
done

if [ "$built" -eq 0 ]; then
	broken=1
elif [ -n "${TESTS:-}" ] && [ "$selected" -eq 0 ]; then
	pm_say "no test is called $TESTS"
	broken=1
fi
closing
