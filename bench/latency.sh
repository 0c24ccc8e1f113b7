# shellcheck shell=bash
# latency.sh: the time from sending an event to the commit of its effect, while events come at random
# times at a constant mean rate (pgbench --rate, 8 clients, one INSERT in each transaction, synchronous commits).
#
#   sent       clock_timestamp() in the INSERT that writes the event; it is stored in the event's data
#   effect     the one INSERT of the handler; its time is that of the commit as the server records it
#              (track_commit_timestamp), just before the commit is flushed to disk
#   p50 ...    effect - sent, in ms: this includes the event's own commit with its flush, the wake-up, reading,
#              the handler, and the commit without its flush
#   commit_p50 ...   effect's commit - event's commit, both recorded before the flush: because both flushes take equally
#              long, this is also the time from the visibility of the event to that of its effect
#   variant pm      a process manager
#   variant reader  the bare reader of cloop/: a worker that the writer wakes as in pm, and that handles and commits in the same
#                   way, but has no mark and no error handling. lost: the number of events that it has therefore missed (if two
#                   writers commit out of order, it handles the later event and never sees the other one). Its times are
#                   those of the events that it has seen; the events for which pm has to wait are among the lost ones
#   variant bare    without a reader: the same INSERT into the same table without pm. Its p50 ... are the times of the
#                   statement with its commit as the client sees them (from pgbench's log)
#   variants pm-writer, reader-writer: the same for the writers in the runs with pm and with the reader
#
# At 100/s a round has about 800 events, so its p99.9 is the slowest of them.
# The effect is not polled for. The peers are measured in the same way (peers.sh).

# latency_load RATE SECONDS SCRIPT: sends events, sets $client_ms to the times of the clients and $sent to
# the number of events.
latency_load() {
	local rate=$1 secs=$2 script=$3 dir=$BENCH_WORK/latency
	rm -rf "$dir"
	mkdir -p "$dir"
	(cd "$dir" && pgbench -U "${latency_user:-bench}" -n -M prepared -c 8 -j 2 -R "$rate" -T "$secs" -f "$script" --log "$database_name") \
		>"$dir/out" 2>&1 || { cat "$dir/out" >&2; die "pgbench failed: $script"; }
	sent=$(cat "$dir"/pgbench_log.* | wc -l)
	# Column 3 counts from the scheduled time; column 7 says how late it was sent.
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

# latency_settle COUNT [PATIENCE]: waits until there are this many effects. False if there has been no new one for PATIENCE seconds.
latency_settle() {
	local last=-1 since=$SECONDS patience=${2:-10}
	while :; do
		ask "SELECT count(*) FROM bench.seen"
		[ "$answer" != "$1" ] || return 0
		if [ "$answer" != "$last" ]; then
			last=$answer since=$SECONDS
		elif ((SECONDS - since > patience)); then
			return 1
		fi
		nap 0.1
	done
}

# The number of effects of an event.
latency_fan=1

# latency_warm SCRIPT: sends one event, to test that it is handled.
latency_warm() {
	tell "TRUNCATE bench.seen"
	pgbench -U "${latency_user:-bench}" -n -c 1 -t 1 -f "$1" "$database_name" >/dev/null 2>&1 || die "pgbench failed: $1"
	latency_settle "$latency_fan" || return 1
	tell "TRUNCATE bench.seen"
}

# latency_followed RATE SECONDS SCRIPT [PATIENCE]: sends events, and sets $client_ms, $effect_ms and $lost to the results.
# False if no event is handled.
latency_followed() {
	latency_warm "$3" || return 1
	latency_load "$1" "$2" "$3"
	lost=0
	latency_settle $((sent * latency_fan)) "${4:-}" || lost=$((sent * latency_fan - answer))
	latency_effects
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

latency_variant() {
	local variant=$1 script=$BENCH_WORK/latency-$1.sql client_ms effect_ms sent lost before
	if [ "$variant" = bare ]; then
		latency_load "$rate" "$seconds" "$script"
		latency_sample latency "$rate" bare "$client_ms"
		return
	fi
	ask "SELECT coalesce(max(position), 0) FROM bench.$variant"; before=$answer
	latency_followed "$rate" "$seconds" "$script" 2 || die "nobody handles the events of $variant"
	latency_sample latency "$rate" "$variant-writer" "$client_ms"
	latency_sample latency "$rate" "$variant" "$effect_ms"
	ask "SELECT (extract(epoch FROM pg_xact_commit_timestamp(s.xmin) - pg_xact_commit_timestamp(e.xmin)) * 1000000)::bigint
		FROM bench.seen s JOIN bench.$variant e USING (position) WHERE e.position > $before"
	latency_sample latency "$rate" "$variant" "$(percentiles <<<"$answer")" commit_
	sample latency "$rate" "$variant" lost "$lost"
}

latency_round() {
	local rate variant seconds
	tell CHECKPOINT
	for rate in 100 1000 5000; do
		case $rate in 100) seconds=$(pick 2 8) ;; *) seconds=$(pick 1 5) ;; esac
		turn bare reader pm
		for variant in "${in_turn[@]}"; do latency_variant "$variant"; done
	done
}

run_latency() {
	local n=$ROUNDS
	if quick; then
		n=1
		skip "latency: 1 round of 1 to 2 s instead of $ROUNDS of 5 to 8 s (QUICK)"
	fi
	database latency
	as_bench "SELECT pm.create_log('bench.pm')"
	as_bench "CALL bench.create_bare('bench.bare')"
	as_bench "CALL bench.create_bare('bench.reader')"
	as_bench "SELECT pm.register('see', 'bench.see', ARRAY['bench.pm'])"
	reader_start bench.reader bench.see
	latency_script bare
	latency_script reader
	latency_script pm
	rounds "$n" latency_round
	reader_stop
}
