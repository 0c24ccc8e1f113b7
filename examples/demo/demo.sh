#!/usr/bin/env bash
# demo.sh: the demonstration itself; run.sh calls it as the unprivileged user, with pm built
# under PM_WORK/dest. The scenario is the shop (shop/), or a file of events (events/).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/../../test/harness/setup.sh"
pm_locate_postgres

columns=log,stream,type,occurred_at,data
export SEED=${PM_DEMO_SEED:-1} ORDERS=${PM_DEMO_ORDERS:-2000} SPAN=${PM_DEMO_SPAN:-10}
limit=${PM_DEMO_LIMIT:-60}
export PGHOST=$PM_WORK PGDATABASE=demo PGOPTIONS='-c client_min_messages=warning'
data=$PM_WORK/data log=$PM_WORK/server.log sessions=$PM_WORK/sessions

say() { printf '  %-9s  %s\n' "$1" "$2"; }
as_postgres() { psql -XqAt -v ON_ERROR_STOP=1 -U postgres "$@"; }
as_role() { psql -XqAt -v ON_ERROR_STOP=1 -U "$role" "$@"; }
as_table() { as_role -A -P format=aligned -P footer=off -P tuples_only=off -c "$1" | sed '/^$/d; s/^/  /; s/ *$//'; }

# ---- when something goes wrong ----

fail() {
	printf '\ndemo: FAILED: %s\n' "$1" >&2
	failed=1
	exit 1
}

# The mistake is in the input, not in the server, so the server's log would not help.
refuse() {
	printf '\nerror: %s\n' "$1" >&2
	trap - EXIT
	exit 1
}

at_exit() {
	local rc=$?
	trap - EXIT
	[ "$rc" -ne 0 ] || exit 0
	[ -n "${failed:-}" ] || printf '\ndemo: FAILED\n' >&2
	if [ -f "$log" ]; then
		printf '\nthe end of the server log:\n' >&2
		tail -n 20 "$log" >&2
	fi
	# shellcheck disable=SC2046
	kill $(jobs -p) 2>/dev/null || true
	exit "$rc"
}
trap at_exit EXIT
trap 'trap - EXIT; exit 143' INT TERM

# ---- the server ----

start_server() {
	initdb -D "$data" -U postgres -A trust -E UTF8 --no-instructions >"$PM_WORK/initdb.log" 2>&1 ||
		fail "initdb said: $(tail -n 3 "$PM_WORK/initdb.log")"
	{
		pm_server_conf "$PM_WORK/dest"
		echo "listen_addresses = ''"
		echo "unix_socket_directories = '$PM_WORK'"
		echo "max_connections = 50"
	} >>"$data/postgresql.conf"
	pg_ctl -D "$data" -l "$log" -w -s start || fail "the server did not start"
	say server "a private one in $PM_WORK: unix socket only, run by $(id -un)"
	createdb -U postgres -T template0 demo
}

# Role and extension, by the superuser; everything after that by the role.
set_up() {
	role=$1
	echo "$role" >"$PM_WORK/role"
	as_postgres -v role="$role" -f "$here/setup.sql"
	say role "$role, an ordinary role, owns all that follows"
}

# ---- sessions in parallel ----

mkdir "$sessions"
running=()

# Runs psql in the background, with a script on its standard input or options as arguments.
session() {
	local name=$1
	shift
	as_role "$@" >"$sessions/$name.out" 2>&1 &
	running+=("$!:$name")
}

# Ends the demonstration if a session has failed.
look_after_sessions() {
	local s still=()
	for s in "${running[@]}"; do
		if kill -0 "${s%%:*}" 2>/dev/null; then
			still+=("$s")
		elif ! wait "${s%%:*}"; then
			tail -n 5 "$sessions/${s#*:}.out" >&2
			fail "the session ${s#*:} ended with the error above"
		fi
	done
	running=("${still[@]}")
}

# Is a session whose name begins with this still at work?
at_work() {
	local s
	for s in "${running[@]}"; do
		[[ ${s#*:} != "$1"* ]] || return 0
	done
	return 1
}

# ---- progress ----

# Prints a line if something has changed and the last line is old enough: a second, or more in a long run.
last='' moved=0 due=0
progress() {
	local line elapsed=$((SECONDS - began))
	line=$(as_role -f "$scenario/progress.sql")
	if [ "$line" != "$last" ]; then
		moved=$SECONDS
		if [ "$elapsed" -ge "$due" ] || [ -n "${1:-}" ]; then
			printf '  %5s %s\n' "$elapsed" "$line"
			last=$line due=$((elapsed + 1 + elapsed / 20))
		fi
	elif [ $((SECONDS - moved)) -ge "$limit" ]; then
		as_role -c "SELECT format('  %s, %s: %s', process_manager, log, concat_ws('; ', state, reason, hint)) FROM pm.status" >&2
		as_role -x -c "SELECT * FROM pm.parked LIMIT 3" -c "SELECT * FROM pm.blocker" >&2
		fail "nothing has moved for $limit s"
	fi
}

# Waits until the sessions of that name have ended, with a line each second.
wait_for_sessions() {
	while at_work "$1"; do
		sleep 1
		progress
		look_after_sessions
	done
}

# Waits until each of the process managers has handled everything that is in its logs now.
wait_for_handlers() {
	local name finished
	for name in "$@"; do
		while
			finished=$(as_role -c "SELECT pm.wait_for('$name', timeout => '1 s')") || fail "waiting for $name"
			[ "$finished" != t ]
		do
			progress
		done
	done
}

# ---- the end: pm.status and the checks ----

show_status() {
	printf '\nWhere each process manager is in each log (SELECT … FROM pm.status); errors counts failed attempts:\n\n'
	as_table "SELECT process_manager, log, position, high_water_mark, lag, state, handled, errors
		FROM pm.status ORDER BY process_manager, log LIMIT 12"
}

check() {
	printf '\nChecked by SQL over %s, without the code of the handlers:\n\n' "$1"
	as_role -f "$scenario/check.sql" | tee "$PM_WORK/checks"
	! grep -q '^ *FAILED' "$PM_WORK/checks" || fail "a check failed"
	[ "$(grep -c '^ *ok' "$PM_WORK/checks")" -ge 5 ] || fail "the checks did not all run"
	printf '\ndemo: all checks passed (%s)\n' "$2"
}

# ---- the two scenarios ----

shop() {
	local started i
	scenario=$here/shop
	set_up shop
	as_role -f "$scenario/schema.sql" >/dev/null
	say logs "orders, payments, warehouse"
	as_role -f "$scenario/handler.sql" >/dev/null
	say process "order-fulfilment: follows all three logs, with an instance for each order (shop/handler.sql)"
	cat <<-'END'

	  What it does with an order:

	      order placed ───▶ reservation requested ··▶ stock reserved ──┐
	           │                          payment received in time ────┴─▶ shipment requested
	           │                                                              ··▶ parcel sent ──▶ order shipped
	           └── timer: no payment within 2 s (+ 2) ──▶ order cancelled, release requested ··▶ stock released
	      payment received ── timer: no order within 3 s (+ 2) ──▶ refund requested ··▶ payment refunded

	      ──▶ the process manager    ··▶ a warehouse and a bank, in sessions of their own
	      (+ 2): two seconds more, for a payment whose transaction is still open at the deadline

	END
	say process "turnover: follows orders and payments, is called with a batch of events at a time; keeps the books"
	as_role -f "$scenario/services.sql"
	say traffic "$ORDERS orders, seed $SEED: 6 sessions place them, 5 pay; one order is poisoned;"
	say "" "one order in twenty is rolled back and never comes, so fewer arrive;"
	say "" "INSERT, COPY, pm.append; late commits, rollbacks, savepoints, prepared transactions"

	cat <<-'END'

	  s: seconds since the start. events: in the three logs. handled: by order-fulfilment; lag: events that it has
	  still to look at. instances, timers, parked: what it keeps at the moment. Orders end as shipped or cancelled.
	END
	printf '\n      s  events  handled   lag   instances timers parked   orders: shipped cancelled\n'
	began=$SECONDS
	started=$(as_role -c "SELECT now()")
	service warehouse warehouse '{"reservation requested": "stock reserved", "release requested": "stock released",
		"shipment requested": "parcel sent"}'
	service bank payments '{"refund requested": "payment refunded"}'
	session naive -c "CALL read_naively()"
	for i in 0 1 2 3 4 5; do
		session "client-customer-$i" -v started="$started" -f <(perl "$scenario/simulate.pl" customer "$i" 6)
	done
	for i in 0 1 2 3 4; do
		session "client-payer-$i" -v started="$started" -f <(perl "$scenario/simulate.pl" payer "$i" 5)
	done
	until ! at_work client && [ "$poisoned" = corrected ] && all_ended; do
		sleep 1
		progress
		look_after_sessions
		look_after_poisoned
	done

	# Every request has been made. Now the services answer the rest, and then the answers are handled.
	as_role -c "INSERT INTO closing_time VALUES ('services')"
	wait_for_sessions warehouse
	wait_for_sessions bank
	wait_for_handlers order-fulfilment turnover
	as_role -c "INSERT INTO closing_time VALUES ('readers')"
	wait_for_sessions naive
	progress now

	show_status
	show_trace
	check "the raw logs" "$ORDERS orders in $((SECONDS - began)) s"
}

# A session that answers the requests in a log, every 20 ms, until the shop closes.
service() {
	session "$1" -v log="$2" -v answers="$3" -v last=0 -f <(yes '
		CALL serve(:'"'log'"', :'"'answers'"', :last, false) \gset
		\if :closed
			\quit
		\endif
		\o /dev/null
		SELECT pg_sleep(0.02);
		\o')
}

# Every order has ended: no instance, nothing parked, nothing to handle.
all_ended() {
	[ "$(as_role -c "SELECT NOT EXISTS (SELECT FROM pm.instance) AND NOT EXISTS (SELECT FROM pm.parked)
	                    AND NOT EXISTS (SELECT FROM pm.status WHERE lag > 0)")" = t ]
}

# The poisoned order: once it is dead and its payment waits behind it (or does not come), this shows
# what is parked. Other orders continue. Three seconds later the handler is corrected and the order retried.
poisoned=expected
look_after_poisoned() {
	local head
	case $poisoned in
	expected)
		[ "$(as_role -c "SELECT EXISTS (SELECT FROM pm.parked WHERE state = 'dead' AND parked_at < now() - interval '5 s')
		                     OR (SELECT count(DISTINCT state) FROM pm.parked WHERE state IN ('dead', 'behind')) = 2")" = t ] ||
			return 0
		printf '\n  The handler fails: it does not understand the quantity of one order. After three attempts the event is\n'
		printf '  parked as dead, and later events and timers of that order are parked behind it. Other orders continue (pm.parked):\n\n'
		as_role -c "INSERT INTO was_parked (order_id, log, position)
		            SELECT key, log, position FROM pm.parked ORDER BY parked_at, position"
		as_table "SELECT key, log, position, (event).type, state, attempts, message FROM pm.parked ORDER BY parked_at, position"
		echo
		poisoned=parked since=$SECONDS
		;;
	parked)
		[ $((SECONDS - since)) -ge 3 ] || return 0
		head=$(as_role -c "SELECT format('%L, %L, %s', process_manager, log, position) FROM pm.parked WHERE state = 'dead'")
		printf '\n  The handler is corrected (CREATE OR REPLACE FUNCTION, shop/fix.sql), and the order retried:\n\n'
		printf '   SELECT pm.retry(%s);\n\n' "$head"
		as_role -f "$scenario/fix.sql"
		as_role -c "SELECT pm.retry($head)" >/dev/null
		poisoned=corrected
		;;
	esac
}

# Shows everything that one unpaid order caused, from its first event on.
show_trace() {
	local root stream
	root=$(as_role -c "SELECT min(position) FROM orders WHERE type = 'order placed'
	                   AND stream IN (SELECT stream FROM orders WHERE type = 'order cancelled')")
	[ -n "$root" ] || return 0
	printf "\nWhat one event caused, in all logs: an order that was not paid in time (SELECT … FROM pm.trace('orders', %s)):\n\n" "$root"
	as_table "SELECT repeat('  ', depth) || type AS event, event_log AS log, position, stream,
	                 recorded_at - min(recorded_at) OVER () AS after
	          FROM pm.trace('orders', $root) ORDER BY recorded_at, depth"
	stream=$(as_role -c "SELECT stream FROM orders WHERE position = $root")
	printf "\nThe stream of that order (SELECT … FROM pm.read_stream('orders', '%s')):\n\n" "$stream"
	as_table "SELECT version, type, data FROM pm.read_stream('orders', '$stream')"
}

# What the server said about a file that it did not load, in terms of the file: line, column and value.
explain_load() {
	local message line column value where
	message=$(sed -n 's/^.*ERROR:  *//p' "$1" | head -n 1)
	line=$(sed -n 's/^.*COPY file, line \([0-9]*\).*/\1/p' "$1" | head -n 1)
	column=$(sed -n 's/^.*COPY file, line [0-9]*, column \([a-z_]*\).*/\1/p' "$1" | head -n 1)
	value=$(sed -n 's/^.*COPY file, line [0-9]*, column [a-z_]*: "\(.*\)"$/\1/p' "$1" | head -n 1)
	where="EVENTS=$EVENTS${line:+, line $line}"
	case $column:$message in
	occurred_at:*) pm_say "$where: occurred_at is not a date and time: \"$value\"" ;;
	data:*json*) pm_say "$where: data is not JSON: \"$value\"" ;;
	*"null value in column"*)
		column=${message#*column \"}
		pm_say "$where: ${column%%\"*} is empty"
		;;
	*"missing data for column"*) pm_say "$where: there are fewer fields than the five columns $columns" ;;
	*"extra data after last"*) pm_say "$where: there are more fields than the five columns $columns (a comma in a value needs quotes)" ;;
	*"unterminated CSV"*) pm_say "$where: a quoted value does not end" ;;
	*"invalid byte sequence"*) pm_say "$where: the text is not UTF-8" ;;
	*"header line"*) pm_say "$where: the columns must be $columns: $message" ;;
	*) pm_say "$where${column:+, column $column}: $message" ;;
	esac
}

events() {
	local i n
	scenario=$here/events
	set_up replay
	as_role -f "$scenario/schema.sql" <"$PM_WORK/events.csv" >/dev/null 2>"$PM_WORK/load" ||
		refuse "$(explain_load "$PM_WORK/load")"
	n=$(as_role -c "SELECT count(*) FROM replay.file")
	[ "$n" -gt 0 ] || refuse "EVENTS=$EVENTS has no events, only the line with the columns"
	say logs "$(as_role -c "SELECT CASE WHEN count(*) > 6 THEN count(*) || ', for ' || sum(events) || ' events'
	    ELSE string_agg(format('%s (for %s events)', log, events), ', ' ORDER BY log) END FROM context")"
	as_role -f "$scenario/handler.sql" >/dev/null
	say process "follow-streams: follows all logs, is called for each event; keeps a row for each stream"
	say process "count-types: follows all logs, is called with a batch of events; keeps a row for each type"
	as_role -f "$scenario/replay.sql"
	say traffic "8 sessions append the file's events, each stream in the file's order;"
	say "" "INSERT and pm.append; late commits and rollbacks"

	cat <<-'END'

	  s: seconds since the start. events: in the logs. handled: by follow-streams; streams: that it has seen;
	  lag: events of each log that it has still to look at.
	END
	printf '\n      s  events  handled  streams   lag\n'
	began=$SECONDS
	for i in 0 1 2 3 4 5 6 7; do
		session "client-$i" -c "CALL replay.run($i, 8)"
	done
	wait_for_sessions client
	wait_for_handlers follow-streams count-types
	progress now

	show_status
	check "the file" "$n events in $((SECONDS - began)) s"
}

start_server
if [ -f "$PM_WORK/events.csv" ]; then events; else shop; fi
