# shellcheck shell=bash
# lib.sh: common functions of the sections. To be sourced by bash under `set -euo pipefail`.
#
#   say, die, skip              messages; skip also records the message for the results
#   quick, pick QUICK ELSE      whether this is a quick run; one of two values
#   rounds N COMMAND...         calls the command for each round, with ROUND set
#   sample SECTION CASE VARIANT METRIC VALUE     one measurement of this round
#   database NAME               creates a database with pm and all of sql/, and a session in it
#   tell SQL, ask SQL           runs SQL in that session, as a superuser; ask stores the answer in $answer
#   as_bench SQL                the same as the role that owns the logs and handlers
#   psql_do DB ARG...           runs a separate psql
#   turn ITEM...                sets ${in_turn[@]} to the items, every other round in reverse order, so that
#                               no item always follows the same other one
#   reader_start TABLE HANDLER, reader_stop      the bare reader (cloop/) follows TABLE from its end
#   drain POLL TARGET START...  measures how fast a cursor gets to a position: sets $rate
#   effects_check WHAT COUNT [EVENTS]    reports it if bench.effect does not have this many rows, of as many events (or of EVENTS)
#   now_us                      the time in microseconds, in $now

BENCH_WORK=$PM_WORK
BENCH_RESULTS=$PM_WORK/results
BENCH_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PGHOST=$BENCH_WORK/socket PGUSER=postgres PGDATABASE=postgres PGOPTIONS='-c client_min_messages=warning'
export PGAPPNAME=bench
unset PGPORT PGSERVICE

say() { printf '%s\n' "$*"; }
die() {
	printf 'error: %s\n' "$*" >&2
	tail -n 5 "$BENCH_WORK/server.log" >&2 2>/dev/null || true
	exit 1
}
skip() {
	say "   skipped: $*"
	printf '%s\n' "$*" >>"$BENCH_RESULTS/skipped.txt"
}
quick() { [ "${PM_BENCH_QUICK:-0}" != 0 ]; }
pick() { if quick; then printf '%s' "$1"; else printf '%s' "$2"; fi; }

ROUNDS=${PM_BENCH_ROUNDS:-}
ROUNDS=${ROUNDS:-$(pick 2 5)}
ROUND=0
rounds() {
	local n=$1
	shift
	for ((ROUND = 1; ROUND <= n; ROUND++)); do "$@"; done
}

turn() {
	local i
	in_turn=("$@")
	((ROUND % 2 == 1)) || for ((i = 1; i <= $#; i++)); do in_turn[$# - i]=${!i}; done
}

sample() {
	printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" "$ROUND" "$5" >>"$BENCH_RESULTS/raw.tsv"
}

now_us() { now=${EPOCHREALTIME/./}; }

# ---- a permanent session ----------------------------------------------------
# A psql behind two pipes: a query costs little more than its statement. Each statement is a
# short transaction, so that nothing here holds back pruning.

session_pid=
session_open() {
	session_close
	rm -f "$BENCH_WORK/ask" "$BENCH_WORK/answer"
	mkfifo "$BENCH_WORK/ask" "$BENCH_WORK/answer"
	psql -XAtq -v ON_ERROR_STOP=1 -d "$1" -f - <"$BENCH_WORK/ask" >"$BENCH_WORK/answer" 2>"$BENCH_WORK/session.err" &
	session_pid=$!
	exec {ask_fd}>"$BENCH_WORK/ask" {answer_fd}<"$BENCH_WORK/answer"
}
session_close() {
	[ -n "$session_pid" ] || return 0
	exec {ask_fd}>&- {answer_fd}<&-
	wait "$session_pid" 2>/dev/null || true
	session_pid=
}
ask() {
	local line
	answer=
	printf '%s\n;\n\\echo .\n' "$1" >&"$ask_fd"
	while IFS= read -r line <&"$answer_fd" || session_failed "$1"; do
		[ "$line" != . ] || break
		answer+=${answer:+$'\n'}$line
	done
}
tell() { ask "$1"; }
as_bench() { ask "SET ROLE bench; $1; RESET ROLE"; }
session_failed() {
	cat "$BENCH_WORK/session.err" >&2
	die "this failed: $1"
}

psql_do() {
	local db=$1
	shift
	psql -XAtq -v ON_ERROR_STOP=1 -d "$db" "$@" || die "psql failed"
}

# Drops the previous database, so that its workers do not interfere; with KEEP the last one of all stays.
database_name=
database() {
	database_gone
	database_name=$1
	dropdb --if-exists --force "$1"
	createdb "$1"
	psql_do "$1" -f "$BENCH_DIR/sql/tables.sql" -f "$BENCH_DIR/sql/setup.sql" \
		-f "$BENCH_DIR/sql/handlers.sql" -f "$BENCH_DIR/sql/loops.sql"
	session_open "$1"
	export PGDATABASE=$1
}

database_gone() {
	session_close
	export PGDATABASE=postgres
	[ -z "$database_name" ] || [ -n "${KEEP:-}" ] || dropdb --force "$database_name"
	database_name=
}

# Sleeps for a fraction of a second without starting a process.
exec {nap_fd}<> <(:)
nap() { read -rt "$1" -u "$nap_fd" _ || true; }

# ---- rates ------------------------------------------------------------------

# drain POLL TARGET START...: POLL is a query that returns a number. START makes it rise, and returns at once.
# Another session runs POLL every other millisecond, or less often if it takes a long time: it may use at most a fifth
# of a processor. The rate counts from the first change that was seen, so that the time for starting
# does not count; it is 0 if nothing changes for a minute.
drain() {
	local poll=$1 target=$2 first=0 first_at=0 at=0 position=0 last=0 last_at asked pause
	shift 2
	tell "PREPARE poll AS SELECT ($poll) || '|' || (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
	now_us; first_at=$now last_at=$now
	"$@"
	while :; do
		now_us; asked=$now
		ask "EXECUTE poll"
		now_us; pause=$(((now - asked) * 4))
		[[ $answer =~ ^-?[0-9]+\|[0-9]+$ ]] || die "no position: $answer"
		position=${answer%|*} at=${answer#*|}
		if ((position > last)); then
			if ((first == 0 && position < target)); then first=$position first_at=$at; fi
			last=$position last_at=$at
		fi
		if ((position >= target || at - last_at > 60000000)); then break; fi
		printf -v pause '0.%06d' $((pause < 2000 ? 2000 : pause > 500000 ? 500000 : pause))
		nap "$pause"
	done
	tell "DEALLOCATE poll"
	rate=0
	if ((position >= target && at > first_at)); then
		rate=$(((target - first) * 1000000 / (at - first_at)))
	elif ((position < target)); then
		say "   stuck at $position of $target"
	fi
}

reader_start() {
	tell "CREATE OR REPLACE TRIGGER wake BEFORE INSERT ON $1 FOR EACH STATEMENT EXECUTE FUNCTION bench.wake()"
	tell "DELETE FROM bench.cursor WHERE name = 'reader'"
	tell "INSERT INTO bench.cursor SELECT 'reader', coalesce(max(position), 0) FROM $1"
	as_bench "SELECT bench.start_reader('$1', '$2(pm.event)', 100, 'reader')"
}
reader_stop() { tell "CALL bench.stop_reader()"; }

# Tests that nothing was lost or handled twice, because a fast wrong result is worthless.
effects_check() {
	ask "SELECT count(*) || '|' || count(DISTINCT position) FROM bench.effect"
	[ "$answer" = "$2|${3:-$2}" ] || skip "WRONG: $1 has left $answer effects|events instead of $2"
}

# START for a procedure: runs it in a separate psql.
loop_pid=
start_loop() { psql_do "$database_name" -U bench -c "$1" & loop_pid=$!; }
end_loop() { wait "$loop_pid" || true; }

# Percentiles in milliseconds. Input: numbers in microseconds, one in each line.
percentiles() {
	{ grep . || true; } | sort -n | awk '{ v[NR] = $1 }
		function p(q) { i = int(q * NR + 0.999999); return v[i < 1 ? 1 : i] / 1000 }
		END { if (NR) printf "%.3f %.3f %.3f %.3f\n", p(.5), p(.95), p(.99), p(.999); else print "nan nan nan nan" }'
}
