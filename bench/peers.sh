# shellcheck shell=bash
# peers.sh: pm compared with other software for the same task: one INSERT into bench.seen for each event of about 200 bytes.
#
#   pm           f(pm.event) in PL/pgSQL, batches of 1000
#   by_hand      a PL/pgSQL loop in a session: batches of 1000 in the order of the positions, a cursor, a commit for each batch,
#                10 ms of sleep if there is nothing (the DO loop of dispatch.sh). It does not count as a peer: it is not a product,
#                and it loses events when transactions commit out of order (as poll does)
#   poll         the same in a client (poll.c, libpq): an INSERT for each event, 10 ms of sleep if there is nothing
#   pgq          PgQ, tuned: a consumer in PL/pgSQL in a session that polls every 10 ms; for the backlog a tick every 1000
#                events and nothing else running; for latency pgqd with a tick every 10 ms (the default is 1 s or more)
#   message_db   a consumer in PL/pgSQL in a session: get_category_messages, 1000 at a time, its position, a commit; polls every 10 ms
#   graphile     graphile-worker, tuned, 10 jobs at a time; in the backlog a local queue of 500 and completions in batches of
#                10 ms; for latency woken by NOTIFY, without these two. The order is not guaranteed
#   emmett       Emmett's PostgreSQL consumer: batches of 1000, polls every 10 ms (the default is 50)
#
# All run on the same server, one after another, with synchronous commits, one consumer each, and their own tables and
# indexes. Everything is vacuumed and analyzed before each backlog and before the latencies, and no other consumer runs.
# A backlog has 100k events (poll 50k, graphile 20k, emmett 10k, because they would take too long). The consumers of PgQ
# and message-db run inside the server, which is the best case for them. Rates and latencies are computed from
# bench.seen: the commit time of each row is known (track_commit_timestamp).
#   drain/rate      the number of rows after the first transaction, divided by the time from that to the last one
#   sets/rate       the same if pm, PgQ and message-db insert all events of a batch in one statement: f(pm.event[]), INSERT
#                   ... SELECT from get_batch_events(), from get_category_messages()
#   latency-N/p50   from clock_timestamp() in the statement that sends the event to the commit of its effect (see latency.sh)
#                   (if a peer cannot handle N events per second, it falls further and further behind)
#   latency-N/lost  events without an effect after three seconds without a new effect

source "$BENCH_DIR/latency.sh"
peer_section=peers
for peer_file in "$BENCH_DIR"/peers/*.bash; do source "$peer_file"; done

# The functions of a peer, in peers/NAME.bash:
#   NAME_missing    prints why the peer is not available, or nothing
#   NAME_setup      in its database, which has sql/tables.sql
#   NAME_fill N     makes N events wait; no consumer runs, and earlier events have been handled
#   NAME_start drain|sets|latency, NAME_stop    start and stop the consumer; peer_end ends what peer_run and peer_loop start
#   NAME_send       prints the pgbench script that sends an event; :n is a random number up to 1000
#   NAME_size       prints the size of its backlog

peer_pids=()
peer_run() {
	"$@" >>"$BENCH_WORK/peer.log" 2>&1 &
	peer_pids+=($!)
}
# A CALL that never ends; its session is terminated from outside.
peer_loop() { PGAPPNAME=peer peer_run psql -XAtq -d "$database_name" -c "$1"; }
peer_end() {
	local pid
	tell "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'peer'"
	for pid in ${peer_pids[@]+"${peer_pids[@]}"}; do
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	peer_pids=()
}

peer_use() {
	database_name=peer_$1
	session_open "$database_name"
}

peer_drain() {
	local peer=$1 how=$2 n
	peer_use "$peer"
	n=$("${peer}_size")
	tell "TRUNCATE bench.seen"
	"${peer}_fill" "$n"
	tell "VACUUM ANALYZE"
	"${peer}_start" "$how"
	if latency_settle "$n"; then
		ask "SELECT (count(*) FILTER (WHERE at > first) / extract(epoch FROM max(at) - min(at)))::bigint || '|' || count(*)
			FROM (SELECT pg_xact_commit_timestamp(xmin) AS at, min(pg_xact_commit_timestamp(xmin)) OVER () AS first FROM bench.seen) x"
		sample "$peer_section" "$how" "$(peer_label "$peer")" rate "${answer%|*}"
		[ "${answer#*|}" = "$n" ] || skip "   $peer: ${answer#*|} effects of $n events"
	else
		skip "peer $peer: has stopped at $answer of $n events (round $ROUND)"
	fi
	"${peer}_stop"
	peer_end
}

# by_hand is not a product, so it is not a peer; dispatch.sh has its own bound for it. Compared with
# programs outside of the server, PgQ, whose consumer runs inside, is not a peer either.
peer_label() {
	case $peer_section/$1 in
	*/pm | */by_hand | */node | */python | consumers/pgq) echo "$1" ;;
	*) echo "peer-$1" ;;
	esac
}

peer_latency() {
	local peer=$1 rate=$2 sent client_ms effect_ms lost
	peer_use "$peer"
	{ echo '\set n random(1, 1000)'; "${peer}_send"; } >"$BENCH_WORK/peer-$peer.sql"
	[ "$rate" != "${rates%% *}" ] || tell "VACUUM ANALYZE"
	"${peer}_start" latency
	if latency_followed "$rate" "$seconds" "$BENCH_WORK/peer-$peer.sql" 3; then
		latency_sample "$peer_section" "latency-$rate" "$(peer_label "$peer")" "$effect_ms"
		sample "$peer_section" "latency-$rate" "$(peer_label "$peer")" lost "$lost"
	else
		skip "peer $peer: handles nothing (latency, round $ROUND)"
	fi
	"${peer}_stop"
	peer_end
}

peers_round() {
	local peer rate
	tell CHECKPOINT
	turn "${peers[@]}"
	for peer in "${in_turn[@]}"; do peer_drain "$peer" drain; done
	for peer in "${in_turn[@]}"; do
		case $peer_section/$peer in peers/pm | peers/pgq | peers/message_db) peer_drain "$peer" sets ;; esac
	done
	for rate in $rates; do
		for peer in "${in_turn[@]}"; do peer_latency "$peer" "$rate"; done
	done
}

run_peers() {
	local rates seconds n=$ROUNDS
	rates=$(pick 1000 '100 1000')
	seconds=$(pick 1 3)
	if quick; then
		n=1
		skip "peers: 1 round, smaller backlogs, latency at 1000/s only; by_hand, message_db, graphile, emmett (QUICK)"
		peers_measure pm poll pgq
	else
		peers_measure pm by_hand poll pgq message_db graphile emmett
	fi
}

# peers_measure PEER...: sets up those that are available, and measures them for $n rounds, $seconds at each of $rates.
peers_measure() {
	local peer why latency_user=postgres
	peers=()
	for peer in "$@"; do
		why=$("${peer}_missing")
		if [ -n "$why" ]; then
			skip "peer $peer: $why"
			continue
		fi
		dropdb --if-exists --force "peer_$peer"
		createdb "peer_$peer"
		psql_do "peer_$peer" -f "$BENCH_DIR/sql/tables.sql"
		peer_use "$peer"
		if "${peer}_setup" >"$BENCH_WORK/peer-$peer.log" 2>&1; then
			peers+=("$peer")
		else
			tail -n 5 "$BENCH_WORK/peer-$peer.log"
			skip "peer $peer: it cannot be set up"
		fi
	done
	rounds "$n" peers_round
	peer_use "${peers[0]}"
	session_close
	database_name=
	[ -n "${KEEP:-}" ] || for peer in "${peers[@]}"; do dropdb --force "peer_$peer"; done
}
