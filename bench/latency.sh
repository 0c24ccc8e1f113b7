# shellcheck shell=bash
# latency.sh: how long after an event has been sent its effect is committed, while events come at random
# times at a steady mean rate (pgbench --rate, 8 clients, an INSERT a transaction, synchronous commits).
#
#   sent       clock_timestamp() in the INSERT that writes the event; it stands in the event's data
#   effect     the handler's one INSERT; when its transaction committed is what the server itself has noted
#              (track_commit_timestamp), just before that commit was flushed to disk
#   p50 ...    effect - sent, in ms: this contains the event's own commit with its flush, the wake-up, reading,
#              the handler, and the commit without its flush
#   commit_p50 ...   effect's commit - event's commit, both as noted before the flush: as both flushes take as long,
#              this is also the time from when the event is visible until its effect is
#   variant bare:  no process manager, the same INSERT into the same table without pm; its p50 ... are the time
#              of the statement with its commit as the client sees it (from pgbench's log)
#   variant pm-writer: the same, of the writers in the run with the process manager
#
# Nobody polls for the effect. What peers do is measured in the same way (peers.sh).

# latency_load RATE SECONDS SCRIPT NAME: sends events, leaves the clients' own times in $client_ms and how
# many were sent in $sent.
latency_load() {
	local rate=$1 secs=$2 script=$3 name=$4 dir=$BENCH_WORK/latency
	rm -rf "$dir"
	mkdir -p "$dir"
	(cd "$dir" && pgbench -U "${latency_user:-bench}" -n -M prepared -c 8 -j 2 -R "$rate" -T "$secs" -f "$script" --log "$database_name") \
		>"$dir/out" 2>&1 || { cat "$dir/out" >&2; die "pgbench failed: $name"; }
	sent=$(cat "$dir"/pgbench_log.* | wc -l)
	# Column 3 counts from when it should have been sent, column 7 says how late it was.
	client_ms=$(cat "$dir"/pgbench_log.* | awk '{ print $3 - $7 }' | percentiles)
}

# latency_sample SECTION CASE VARIANT "P50 P95 P99 P999" [PREFIX]
latency_sample() {
	local p
	read -ra p <<<"$4"
	sample "$1" "$2" "$3" "${5:-}p50" "${p[0]}"
	sample "$1" "$2" "$3" "${5:-}p95" "${p[1]}"
	sample "$1" "$2" "$3" "${5:-}p99" "${p[2]}"
	sample "$1" "$2" "$3" "${5:-}p99.9" "${p[3]}"
}

# latency_settle COUNT: waits until so many effects are there. False, and it says so, when none has come for a while.
latency_settle() {
	local last=-1 since=$SECONDS patience
	patience=$(pick 2 10)
	while :; do
		ask "SELECT count(*) FROM bench.seen"
		[ "$answer" != "$1" ] || return 0
		if [ "$answer" != "$last" ]; then
			last=$answer since=$SECONDS
		elif ((SECONDS - since > patience)); then
			say "   effects: $answer instead of $1"
			return 1
		fi
		nap 0.1
	done
}

latency_effects() {
	ask "SELECT (extract(epoch FROM pg_xact_commit_timestamp(xmin) - sent_at) * 1000000)::bigint FROM bench.seen"
	effect_ms=$(percentiles <<<"$answer")
}

latency_script() {
	cat >"$BENCH_WORK/latency-$1.sql" <<-SQL
	\set n random(1, 1000)
	INSERT INTO bench.$1 (stream, type, data) VALUES ('stream-' || :n, 'placed', jsonb_build_object('amount', 17, 'sent_at', clock_timestamp()));
	SQL
}

latency_round() {
	local rate effect_ms client_ms sent
	tell CHECKPOINT
	for rate in 100 1000 5000; do
		tell "TRUNCATE bench.bare"
		latency_load "$rate" "$seconds" "$BENCH_WORK/latency-bare.sql" bare
		latency_sample latency "$rate" bare "$client_ms"

		tell "TRUNCATE bench.seen"
		ask "SELECT coalesce(max(position), 0) FROM bench.sent"
		local before=$answer
		latency_load "$rate" "$seconds" "$BENCH_WORK/latency-sent.sql" pm
		latency_sample latency "$rate" pm-writer "$client_ms"
		latency_settle "$sent" || continue
		latency_effects
		latency_sample latency "$rate" pm "$effect_ms"
		ask "SELECT (extract(epoch FROM pg_xact_commit_timestamp(s.xmin) - pg_xact_commit_timestamp(e.xmin)) * 1000000)::bigint
			FROM bench.seen s JOIN bench.sent e USING (position) WHERE e.position > $before"
		latency_sample latency "$rate" pm "$(percentiles <<<"$answer")" commit_
	done
}

run_latency() {
	local seconds n=$ROUNDS
	seconds=$(pick 2 10)
	if quick; then
		n=1
		skip "latency: 1 round of $seconds s instead of $ROUNDS of 10 s (QUICK)"
	fi
	database latency
	as_bench "SELECT pm.create_log('bench.sent')"
	as_bench "CALL bench.create_bare('bench.bare')"
	as_bench "SELECT pm.register('see', 'bench.see', ARRAY['bench.sent'])"
	latency_script bare
	latency_script sent
	rounds "$n" latency_round
}
