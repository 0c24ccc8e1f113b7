#!/usr/bin/env bash
# demo.sh: the demonstration itself; run.sh calls it as the unprivileged user, with pm built
# under PM_WORK/dest. The scenario is the shop (shop/), or a file of events (events/).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/../../test/harness/setup.sh"
pm_locate_postgres

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

# Somebody's mistake and not the server's: its log would not help.
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

# In the background: a session of psql, with its script on stdin or its options as arguments.
session() {
	local name=$1
	shift
	as_role "$@" >"$sessions/$name.out" 2>&1 &
	running+=("$!:$name")
}

# Ends as soon as a session has failed.
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

# Whether a session whose name starts so is still at work.
at_work() {
	local s
	for s in "${running[@]}"; do
		[[ ${s#*:} != "$1"* ]] || return 0
	done
	return 1
}

# ---- progress ----

# A line, if anything has changed and the last one is not too recent (a second, more in a long run).
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

# Until the sessions of that name have ended, a line a second.
wait_for_sessions() {
	while at_work "$1"; do
		sleep 1
		progress
		look_after_sessions
	done
}

# Until every process manager has handled everything that is in its logs now.
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
	printf '\nSELECT … FROM pm.status\n'
	as_table "SELECT process_manager, log, position, high_water_mark, lag, state, handled, errors
		FROM pm.status ORDER BY process_manager, log LIMIT 12"
}

check() {
	printf '\nChecked by SQL over %s:\n' "$1"
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
	say process "order-fulfilment: follows all three, an instance an order (shop/handler.sql)"
	cat <<-'END'

	      order placed ───▶ reservation requested ··▶ stock reserved ──┐
	           │                          payment received in time ────┴─▶ shipment requested
	           │                                                              ··▶ parcel sent ──▶ order shipped
	           └── timer: no payment within 2 s (+ 2) ──▶ order cancelled, release requested ··▶ stock released
	      payment received ── timer: no order within 3 s (+ 2) ──▶ refund requested ··▶ payment refunded

	      ──▶ the process manager    ··▶ a warehouse and a bank, in sessions of their own

	END
	say beside "turnover: follows orders and payments, a batch a call; keeps the books"
	as_role -f "$scenario/services.sql"
	say traffic "$ORDERS orders, seed $SEED: 6 sessions place them, 5 pay; one order is poisoned;"
	say "" "INSERT, COPY, pm.append; late commits, rollbacks, savepoints, prepared transactions"

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
	until ! at_work client && [ "$poisoned" = mended ] && all_ended; do
		sleep 1
		progress
		look_after_sessions
		look_after_poisoned
	done

	# All is asked for; now it can be answered, and then the answers can be handled.
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

# A session that answers what is asked in a log, every 20 ms, until the shop closes.
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

# The poisoned order: when it has failed for good, and its payment waits behind it (or does not
# come), what is parked is shown. The others go on. After three seconds the handler is mended and the order retried.
poisoned=expected
look_after_poisoned() {
	local head
	case $poisoned in
	expected)
		[ "$(as_role -c "SELECT EXISTS (SELECT FROM pm.parked WHERE state = 'dead' AND parked_at < now() - interval '5 s')
		                     OR (SELECT count(DISTINCT state) FROM pm.parked WHERE state IN ('dead', 'behind')) = 2")" = t ] ||
			return 0
		printf '\n  The handler fails at the quantity of an order. That order is parked, the others go on:\n'
		as_role -c "INSERT INTO was_parked (order_id, log, position)
		            SELECT key, log, position FROM pm.parked ORDER BY parked_at, position"
		as_table "SELECT key, log, position, (event).type, state, attempts, message FROM pm.parked ORDER BY parked_at, position"
		echo
		poisoned=parked since=$SECONDS
		;;
	parked)
		[ $((SECONDS - since)) -ge 3 ] || return 0
		head=$(as_role -c "SELECT format('%L, %L, %s', process_manager, log, position) FROM pm.parked WHERE state = 'dead'")
		printf '\n  The handler is mended (CREATE OR REPLACE FUNCTION, shop/fix.sql), and the order retried:\n'
		printf '   SELECT pm.retry(%s);\n\n' "$head"
		as_role -f "$scenario/fix.sql"
		as_role -c "SELECT pm.retry($head)" >/dev/null
		poisoned=mended
		;;
	esac
}

# What came of one order that was not paid, all of it by its first event.
show_trace() {
	local root
	root=$(as_role -c "SELECT min(position) FROM orders WHERE type = 'order placed'
	                   AND stream IN (SELECT stream FROM orders WHERE type = 'order cancelled')")
	[ -n "$root" ] || return 0
	printf "\nSELECT … FROM pm.trace('orders', %s), an order that was not paid in time\n" "$root"
	as_table "SELECT repeat('  ', depth) || type AS event, event_log AS log, position, stream,
	                 recorded_at - min(recorded_at) OVER () AS after
	          FROM pm.trace('orders', $root) ORDER BY recorded_at, depth"
}

events() {
	local i n
	scenario=$here/events
	set_up replay
	as_role -f "$scenario/schema.sql" <"$PM_WORK/events.csv" >/dev/null ||
		refuse "EVENTS=$EVENTS is not a CSV file with the columns log,stream,type,occurred_at,data"
	n=$(as_role -c "SELECT count(*) FROM replay.file")
	[ "$n" -gt 0 ] || refuse "EVENTS=$EVENTS has no events"
	say logs "$(as_role -c "SELECT CASE WHEN count(*) > 6 THEN count(*) || ', for ' || sum(events) || ' events'
	    ELSE string_agg(format('%s (for %s events)', log, events), ', ' ORDER BY log) END FROM context")"
	as_role -f "$scenario/handler.sql" >/dev/null
	say handlers "follow-streams: follows all of them, an event a call; keeps a row a stream"
	say "" "count-types: follows all of them, a batch a call; keeps a row a type"
	as_role -f "$scenario/replay.sql"
	say traffic "8 sessions append the file's events, each stream in the file's order;"
	say "" "INSERT and pm.append; late commits and rollbacks"

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
