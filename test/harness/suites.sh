#!/usr/bin/env bash
# suites.sh SUITE...: builds the copy of the tree that it is in and runs test suites on
# it. check.sh calls it in a private copy, as an unprivileged user, with these descriptors
# open for writing:
#
#   7   the summary: a line for each test file, and the totals
#   8   the whole output of what failed
#   9   the figures that tests measured
#
# Every suite runs, even if another one fails. Test files are counted; a failed
# assertion or a crash in a server's log counts as one more failure.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$PM_ROOT"

dest=$PM_WORK/dest
out=$PM_WORK/out
suite_timeout=${PM_SUITE_TIMEOUT:-1200}   # for a whole run of pg_regress or isolation, in seconds
file_timeout=${PM_FILE_TIMEOUT:-600}      # for one TAP file
pgtap_timeout=${PM_PGTAP_TIMEOUT:-120}    # for one pgTAP file
client_timeout=${PM_FILE_TIMEOUT:-180}    # for one test file of a client
# TAP tests wait for conditions much of the time, so more of them than processors run at a time.
jobs=${PM_TAP_JOBS:-$(($(nproc) < 4 ? 2 * $(nproc) : 8))}
passed=0
failed=()
skipped=()
figures=0
broken=0      # 1: a suite ran none of its tests, or TESTS matched nothing
total=0       # test files in all suites
began=$SECONDS

pm_locate_postgres
mkdir -p "$out"

heading() { printf '\n== %s\n' "$*"; }
pass() { passed=$((passed + 1)); }
fail() { failed+=("$1"); }

# Prints a number of seconds as seconds or minutes.
duration() {
	if [ "$1" -lt 100 ]; then pm_say "$1 s"; else pm_say "$((($1 + 30) / 60)) min"; fi
}

# ---- which tests ------------------------------------------------------------

# Prints the files of a suite, in order.
all_tests() {
	local n
	case $1 in
	regress) for n in $(make -s print-REGRESS PG_CONFIG="$PG_CONFIG"); do pm_say "sql/$n.sql"; done ;;
	isolation) for n in $(make -s print-ISOLATION PG_CONFIG="$PG_CONFIG"); do pm_say "test/isolation/specs/$n.spec"; done ;;
	tap) find test/t -maxdepth 1 -name '*.pl' 2>/dev/null | LC_ALL=C sort ;;
	pgtap) find test/pgtap -maxdepth 1 -name '*.sql' 2>/dev/null | LC_ALL=C sort ;;
	clients)
		{
			find clients examples -mindepth 3 -maxdepth 3 -path '*/test/*' \( -name '*.test.js' -o -name 'test_*.py' \)
			find console/test -maxdepth 1 -name '*.test.js'
		} 2>/dev/null | LC_ALL=C sort
		;;
	esac
}

test_name() {
	local n=${1##*/} client
	case $1 in
	*/test/*.test.js | */test/test_*.py)
		# clients/node/test/kills.test.js is node_kills, clients/python/test/test_kills.py is python_kills, and
		# console/test/pages.test.js is console_pages.
		client=${1%/test/*} n=${n%.test.js} n=${n%.py}
		pm_say "${client##*/}_${n#test_}"
		;;
	*) pm_say "${n%.*}" ;;
	esac
}

# Prints those files of standard input that TESTS selects.
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

# ---- output -----------------------------------------------------------------

# ended VERDICT NAME SECONDS [SHORT [WHOLE...]]: prints a line for a test file that has ended. If it has failed, prints the
# beginning and the end of the file SHORT, and writes SHORT and the files WHOLE to the file of failures.
# TAP tests run concurrently: the lock keeps the output of each of them together.
ended() {
	local verdict=$1 name=$2 seconds=$3 short=${4:-} n line f
	{
		flock 6
		n=$(($(cat "$out/ended" 2>/dev/null || echo 0) + 1))
		pm_say "$n" >"$out/ended"
		line=$(printf '[%*d of %d] %-7s %s  %s' "${#total}" "$n" "$total" "$verdict" "$name" "$seconds")
		pm_say "$line"
		pm_say "$line" >&7
		[ "$verdict" != FAILED ] || shown "$line" "${@:4}"
	} 6>"$out/lock"
}

# shown TITLE SHORT [WHOLE...]: prints a failure, shortened on the screen and whole in the file of failures.
shown() {
	local f
	show_short "$2"
	{
		printf '\n======== %s\n' "$1"
		for f in "${@:2}"; do
			[ -s "$f" ] || continue
			printf '\n-------- %s\n' "${f#"$PM_WORK"/}"
			tail -n 2000 "$f"
		done
	} >&8
	pm_say "     in full: $PM_RESULTS/failures.txt"
}

# Prints the beginning and the end of a file, indented.
show_short() {
	[ -s "$1" ] || return 0
	sed '/^Test Summary Report/,$d; /^Dubious, test returned/d; /^ *$/d' "$1" | cut -c 1-200 |
		awk '{ line[NR] = $0 }
			END { for (i = 1; i <= NR; i++)
				if (NR <= 26 || i <= 18 || i > NR - 6) print "     " line[i]
				else if (i == 19) print "     (" NR - 24 " lines omitted)" }' || true
}

# A failed assertion is always a failure. A crash is a failure in suites whose tests do
# not cause crashes on purpose.
scan_logs() {
	local suite=$1 pattern=$2 file
	while IFS= read -r file; do
		if grep -qE "$pattern" "$file"; then
			fail "$suite: server log"
			grep -E -B2 -A10 "$pattern" "$file" >"$out/crash"
			pm_say "FAILED: a server of $suite crashed, or an assertion of it failed; its log has"
			shown "$suite: ${file#"$PM_WORK"/}" "$out/crash" "$file"
		fi
	done < <(find "$out/$suite" -name '*.log' 2>/dev/null)
}
ASSERTION='^TRAP: |TRAP: failed'
CRASH="$ASSERTION|was terminated by signal (6|7|8|11)|PANIC: "

# ---- pg_regress and isolation -----------------------------------------------

# run_pg_regress SUITE DRIVER OPTIONS: runs the tests in the array "files".
run_pg_regress() {
	local suite=$1 driver=$2 options=$3 names=() file name line verdict ms seen='' shown_bytes=0
	local dir=$out/$suite
	local until_15='^test +([^ ]+) +\.\.\. +(ok|FAILED).* ([0-9]+) ms' from_16='^(ok|not ok) +[0-9]+ +[-+] +([^ ]+) +([0-9]+) ms'
	mkdir -p "$dir"
	for file in "${files[@]}"; do names+=("$(test_name "$file")"); done
	{
		pm_server_conf "$dest"
		pm_say "fsync = off"
		pm_say "log_line_prefix = '%m [%p] %b %q%a '"
	} >"$dir/temp.conf"
	# The driver prints "test NAME ... ok 5 ms" up to 15, and "ok 1 - NAME 5 ms" from 16 on. By then it has written the diff.
	: >"$dir/regression.diffs"
	while IFS= read -r line; do
		if [[ $line =~ $until_15 ]]; then
			verdict=${BASH_REMATCH[2]} name=${BASH_REMATCH[1]} ms=${BASH_REMATCH[3]}
		elif [[ $line =~ $from_16 ]]; then
			verdict=${BASH_REMATCH[1]} name=${BASH_REMATCH[2]} ms=${BASH_REMATCH[3]}
		else
			continue
		fi
		seen+=" $name "
		ms=$(printf '%d.%d s' $((ms / 1000)) $((ms % 1000 / 100)))
		if [ "$verdict" = ok ]; then
			pass
			ended ok "$name" "$ms"
		else
			fail "$suite: $name"
			tail -c "+$((shown_bytes + 1))" "$dir/regression.diffs" >"$dir/$name.diff"
			shown_bytes=$(stat -c %s "$dir/regression.diffs")
			ended FAILED "$name" "$ms" "$dir/$name.diff" "$dir/log/postmaster.log"
		fi
	done < <(
		# shellcheck disable=SC2086
		PGISOLATIONTIMEOUT=${PGISOLATIONTIMEOUT:-60} timeout -k 30 "$suite_timeout" \
			"$driver" $options --outputdir="$dir" --bindir="$PM_BINDIR" \
			--dlpath="$dest$PM_PKGLIBDIR" --temp-instance="$dir/instance" \
			--temp-config="$dir/temp.conf" "${names[@]}" 2>&1 </dev/null 7>&- 8>&- 9>&- | tee "$dir/output"
	)
	pm_stop_servers "$dir"

	for name in "${names[@]}"; do
		[[ $seen != *" $name "* ]] || continue
		fail "$suite: $name"
		ended FAILED "$name" "did not finish" "$dir/output" "$dir/log/postmaster.log"
	done
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

# judge_prove STATUS OUTPUT: prints the result of one run of prove: ok, skipped or FAILED.
judge_prove() {
	if [ "$1" -eq 0 ] && grep -q '^Result: NOTESTS' "$2"; then
		pm_say skipped
	elif [ "$1" -eq 0 ] && grep -q '^Result: PASS' "$2"; then
		pm_say ok
	else
		pm_say FAILED
	fi
}

# count_verdict SUITE FILE VERDICT OUTPUT: counts the result of a test file.
count_verdict() {
	case $3 in
	ok) pass ;;
	skipped) skipped+=("$(test_name "$2"): $(sed -n 's/.*skipped: //p' "$4" | head -n 1)") ;;
	*) fail "$1: $(test_name "$2")" ;;
	esac
}

# Runs one TAP file, for xargs. Its result goes to a file.
run_tap_file() {
	local file=$1 name rc=0 began=$SECONDS seconds verdict
	name=$(test_name "$file")
	timeout -k 20 "$file_timeout" prove --nocolor "$file" \
		>"$out/tap/$name.output" 2>&1 </dev/null 7>&- 8>&- 9>&- || rc=$?
	seconds="$((SECONDS - began)) s"
	[ "$rc" -ne 124 ] || seconds="timed out after $seconds"
	verdict=$(judge_prove "$rc" "$out/tap/$name.output")
	ended "$verdict" "$name" "$seconds" "$out/tap/$name.output" \
		"$out/tap/tmp_check/log/regress_log_$name" "$out/tap/tmp_check/log/${name}_"*.log
	pm_say "$verdict" >"$out/tap/$name.verdict"
}

# Lets Test::Cluster copy a data directory instead of running initdb a hundred times. From 17 on it does so by itself, if
# INITDB_TEMPLATE names one. For the others there is an initdb that copies, unless it is called with other options.
make_initdb_template() {
	local template=$out/template
	initdb -D "$template" -A trust -N >"$out/initdb" 2>&1 || return 0
	export INITDB_TEMPLATE=$template
	mkdir "$out/bin"
	cat >"$out/bin/initdb" <<-END
		#!/bin/sh
		if [ \$# -eq 5 ] && [ "\$1 \$3 \$4 \$5" = "-D -A trust -N" ]; then
			exec cp -RPp '$template' "\$2"
		fi
		exec '$PM_BINDIR/initdb' "\$@"
	END
	chmod +x "$out/bin/initdb"
	PATH=$out/bin:$PATH
}

# Prints the TAP files, those that take longest first: one of them that began last would run alone at the end.
slow_first() {
	local slow='/(043_crash|042_batch_index|010_stress|210_upgrade|031_database|032_server|171_pages)\.pl$'
	{
		printf '%s\n' "${files[@]}" | grep -E "$slow"
		printf '%s\n' "${files[@]}" | grep -vE "$slow"
	} | tr '\n' '\0' || true
}

run_tap() {
	local file name verdict
	mkdir -p "$out/tap"
	make_initdb_template
	pm_server_conf "$dest" '' >"$out/tap/temp.conf"
	export TEMP_CONFIG=$out/tap/temp.conf TESTDIR=$out/tap
	export TESTDATADIR=$out/tap/tmp_check TESTLOGDIR=$out/tap/tmp_check/log   # from 16
	export PG_REGRESS=$PM_PGXS/test/regress/pg_regress
	export PERL5LIB=$PM_PGXS/test/perl:$PM_ROOT/test/t
	export PM_TEST_ROOT=$PM_ROOT PM_TEST_LIBDIR=$dest$PM_PKGLIBDIR
	export out total file_timeout
	export -f run_tap_file test_name judge_prove ended shown show_short pm_say
	slow_first |
		xargs -0 -n 1 -P "$jobs" bash -c 'run_tap_file "$1"' run_tap_file || true
	pm_stop_servers "$out/tap"

	for file in "${files[@]}"; do
		name=$(test_name "$file")
		verdict=$(cat "$out/tap/$name.verdict" 2>/dev/null || echo FAILED)
		count_verdict tap "$file" "$verdict" "$out/tap/$name.output"
		[ "$verdict" = ok ] || continue
		# the figures that a passed test has reported with PmTest::figure
		sed -n "s/^.*# figure: /$name: /p" "$out/tap/tmp_check/log/regress_log_$name" >"$out/tap/figures"
		cat "$out/tap/figures" >&9
		figures=$((figures + $(wc -l <"$out/tap/figures")))
	done
	scan_logs tap "$ASSERTION"
}

# ---- pgTAP ------------------------------------------------------------------

# Runs each file in a database of its own, with pgtap and pm.
run_pgtap() {
	local dir=$out/pgtap file name db n=0 rc verdict began
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
	} >"$dir/setup" 2>&1 7>&- 8>&- 9>&-; then
		pm_say "the server for the pgTAP tests could not be set up:"
		shown "pgtap: the server" "$dir/setup" "$dir/server.log"
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
		began=$SECONDS
		{
			createdb -T pm_template "$db" &&
				psql -X -q -v ON_ERROR_STOP=1 -d "$db" -c 'CREATE EXTENSION pm' &&
				timeout -k 20 "$pgtap_timeout" pg_prove --nocolor -d "$db" "$file"
		} >"$dir/$name.output" 2>&1 </dev/null || rc=$?
		verdict=$(judge_prove "$rc" "$dir/$name.output")
		count_verdict pgtap "$file" "$verdict" "$dir/$name.output"
		ended "$verdict" "$name" "$((SECONDS - began)) s" "$dir/$name.output" "$dir/server.log"
		# Nothing that the file leaves may keep its database from being dropped.
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

# ---- clients ----------------------------------------------------------------

# clients_server DIR: a server and pgbouncer, for all files. Sets the environment of the tests.
clients_server() {
	local dir=$1
	mkdir -p "$dir/socket" "$dir/pooler"
	initdb -D "$dir/data" -U postgres -A trust -N --no-instructions
	{
		pm_server_conf "$dest"
		pm_say "fsync = off"
		pm_say "listen_addresses = ''"
		pm_say "unix_socket_directories = '$dir/socket'"
		pm_say "log_line_prefix = '%m [%p] %b %q%a '"
	} >>"$dir/data/postgresql.conf"
	pg_ctl -D "$dir/data" -l "$dir/server.log" -w -s start </dev/null
	export PGHOST=$dir/socket PGUSER=postgres PGDATABASE=postgres PGDATA=$dir/data
	export PM_TEST_POOLER=$dir/pooler PM_TEST_POOLER_INI=$dir/pgbouncer.ini PM_TEST_SERVER_LOG=$dir/server.log
	pm_say '"postgres" ""' >"$dir/users"
	cat >"$PM_TEST_POOLER_INI" <<-INI
	[databases]
	* = host=$dir/socket
	[pgbouncer]
	pool_mode = transaction
	unix_socket_dir = $dir/pooler
	listen_port = 5432
	auth_type = trust
	auth_file = $dir/users
	logfile = $dir/pgbouncer.log
	pidfile = $dir/pgbouncer.pid
	ignore_startup_parameters = extra_float_digits
	server_login_retry = 0.2
	INI
	pgbouncer -d -q "$PM_TEST_POOLER_INI"
}

# Ends what a test may have left: its processes (their session is that of the runner), and a stopped server.
clients_after() {
	pkill -KILL -s "$1" 2>/dev/null || true
	pg_ctl -D "$PGDATA" status >/dev/null 2>&1 ||
		pg_ctl -D "$PGDATA" -l "$PM_TEST_SERVER_LOG" -w -s start </dev/null >/dev/null 2>&1 || true
	[ -e "${PM_TEST_POOLER_INI%.ini}.pid" ] || pgbouncer -d -q "$PM_TEST_POOLER_INI" || true
}

# Runs each file in a database of its own, with pm, by the runner of its client: test/run FILE, in the client's
# directory. Its exit status says ok (0), skipped (77, and a line "skipped: why") or failed. The environment has PGHOST,
# PGUSER, PGDATABASE, and PGDATA, with which pg_ctl can stop the server; PM_TEST_POOLER is the PGHOST of a pgbouncer that
# pools by transaction, PM_TEST_POOLER_INI its configuration.
run_clients() {
	local dir=$out/clients file name db n=0 rc verdict began client runner
	mkdir -p "$dir"
	if ! clients_server "$dir" >"$dir/setup" 2>&1 7>&- 8>&- 9>&-; then
		pm_say "the server for the clients could not be set up:"
		shown "clients: the server" "$dir/setup" "$dir/server.log"
		for file in "${files[@]}"; do fail "clients: $(test_name "$file")"; done
		pm_stop_servers "$dir"
		return
	fi
	export PM_TEST_ROOT=$PM_ROOT

	for file in "${files[@]}"; do
		name=$(test_name "$file")
		client=${file%/test/*}
		n=$((n + 1))
		db=pm_test_$n
		rc=0
		began=$SECONDS
		if [ -e "$client/.npm-failed" ]; then
			cp "$client/.npm-failed" "$dir/$name.output"
			rc=1
		elif {
			PGDATABASE=postgres createdb "$db" && export PGDATABASE=$db &&
				psql -X -q -v ON_ERROR_STOP=1 -c 'CREATE EXTENSION pm'
		} >"$dir/$name.output" 2>&1 </dev/null; then
			(
				cd "$client" &&
					exec setsid timeout -k 10 "$client_timeout" bash test/run "${file#"$client"/}"
			) >>"$dir/$name.output" 2>&1 </dev/null 7>&- 8>&- 9>&- &
			runner=$!
			wait "$runner" || rc=$?
			clients_after "$runner" 7>&- 8>&- 9>&-
		else
			rc=1
		fi
		case $rc in 0) verdict=ok ;; 77) verdict=skipped ;; *) verdict=FAILED ;; esac
		count_verdict clients "$file" "$verdict" "$dir/$name.output"
		ended "$verdict" "$name" "$((SECONDS - began)) s" "$dir/$name.output" "$dir/server.log"
		if [ "$verdict" = ok ]; then
			sed -n "s/^.*# figure: /$name: /p" "$dir/$name.output" >"$dir/figures"
			cat "$dir/figures" >&9
			figures=$((figures + $(wc -l <"$dir/figures")))
		fi
		export PGDATABASE=postgres
		if ! timeout -k 5 30 dropdb --if-exists --force "$db" >"$dir/dropdb" 2>&1; then
			fail "clients: dropping the database of $name"
			cat "$dir/dropdb"
		fi
	done
	kill "$(cat "$dir/pgbouncer.pid" 2>/dev/null)" 2>/dev/null || true
	pg_ctl -D "$dir/data" -m fast -s -t 20 stop >/dev/null 2>&1 || fail "clients: stopping the server"
	pm_stop_servers "$dir"
	unset PGHOST PGUSER PGDATABASE PGDATA
	scan_logs clients "$CRASH"
}

# ---- main -------------------------------------------------------------------

closing() {
	local t
	pm_say
	for t in ${skipped[@]+"${skipped[@]}"}; do pm_say "skipped: $t"; done
	for t in ${failed[@]+"${failed[@]}"}; do pm_say "failed: $t"; done
	[ ${#failed[@]} -eq 0 ] || pm_say "the output of what failed: $PM_RESULTS/failures.txt"
	[ "$figures" -eq 0 ] || pm_say "$figures figures that the tests measured: $PM_RESULTS/figures.txt"
	pm_say "this summary: $PM_RESULTS/summary.txt, after $(duration $((SECONDS - began)))"
	pm_say "$passed passed, ${#failed[@]} failed"
}

# The estimated time of this number of files of a suite, in seconds, on a machine with two processors.
estimate() {
	case $1 in
	regress) pm_say $((5 + $2)) ;;
	isolation) pm_say $((5 + $2)) ;;
	tap) pm_say $((5 + $2 * 13 * 2 / (jobs < 3 ? jobs : 3))) ;;
	pgtap) pm_say $((3 + $2 * 3)) ;;
	clients) pm_say $((5 + $2 * 8)) ;;
	esac
}

# The tests to run, as lines "SUITE FILE", and the estimated time.
seconds=25   # the build
for suite in "$@"; do
	n=0
	while IFS= read -r file; do
		pm_say "$suite $file"
		n=$((n + 1))
	done < <(all_tests "$suite" | select_tests) >>"$out/tests"
	total=$((total + n))
	[ "$n" -eq 0 ] || seconds=$((seconds + $(estimate "$suite" "$n")))
done
if [ "$total" -gt 0 ]; then
	pm_say
	pm_say "$total test file$([ "$total" -eq 1 ] || echo s); on a machine with two processors: about $(duration $seconds)"
fi

heading "build (strict, with $("$PG_CONFIG" --version))"
built=1
if (pm_build "$PM_ROOT" 1 "$dest"); then
	pm_say "built in $((SECONDS - began)) s"
else
	built=0
fi

# Runs one suite.
suite() {
	local suite=$1 file before
	mapfile -t files < <(sed -n "s/^$suite //p" "$out/tests")
	if [ -z "$(all_tests "$suite")" ]; then
		heading "$suite: no tests yet"
		return
	elif [ ${#files[@]} -eq 0 ]; then
		return
	fi
	if [ "$built" -eq 0 ]; then
		for file in "${files[@]}"; do fail "$suite: $(test_name "$file") (no build)"; done
		return
	fi
	heading "$suite: ${#files[@]} test file$([ ${#files[@]} -eq 1 ] || echo s)$([ "$suite" != tap ] || [ "$jobs" -lt 2 ] || echo ", $jobs at a time")"
	before=$((passed + ${#failed[@]} + ${#skipped[@]}))
	"run_$suite"
	if [ $((passed + ${#failed[@]} + ${#skipped[@]})) -eq "$before" ]; then
		pm_say "$suite ran no tests"
		broken=1
	fi
}

# Runs suites one after another in a process of their own, which leaves what it has counted in a file.
suites_beside() {
	local s
	passed=0 failed=() skipped=() figures=0 broken=0
	for s in "$@"; do suite "$s"; done
	pm_say "$passed $figures $broken" >"$out/beside"
	printf '%s\n' ${failed[@]+"${failed[@]}"} >"$out/beside.failed"
	printf '%s\n' ${skipped[@]+"${skipped[@]}"} >"$out/beside.skipped"
}

# Adds what that process has counted.
count_beside() {
	local p f b line
	if ! read -r p f b <"$out/beside"; then
		fail "$*: did not finish"
		return
	fi
	passed=$((passed + p)) figures=$((figures + f)) broken=$((broken | b))
	while IFS= read -r line; do [ -z "$line" ] || failed+=("$line"); done <"$out/beside.failed"
	while IFS= read -r line; do [ -z "$line" ] || skipped+=("$line"); done <"$out/beside.skipped"
}

# The TAP tests run several at a time. The other suites run one test at a time, and mostly wait:
# all of them run concurrently with the TAP tests.
others=()
for suite in "$@"; do
	[ "$suite" = tap ] || others+=("$suite")
done
if [[ " $* " == *" tap "* ]] && [ "$jobs" -gt 1 ] && [ "$built" -eq 1 ] && [ ${#others[@]} -gt 0 ]; then
	suites_beside "${others[@]}" &
	beside=$!
	suite tap
	wait "$beside" || true
	count_beside "${others[@]}"
else
	for suite in "$@"; do suite "$suite"; done
fi

if [ "$built" -eq 0 ]; then
	broken=1
elif [ -n "${TESTS:-}" ] && [ "$total" -eq 0 ]; then
	pm_say "no test is called $TESTS"
	broken=1
fi
closing >"$out/closing"
cat "$out/closing" >&7
cat "$out/closing"
[ ${#failed[@]} -eq 0 ] && [ "$broken" -eq 0 ]
