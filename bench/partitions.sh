# shellcheck shell=bash
# partitions.sh: a log in 50 partitions compared with an ordinary one with as many events (20
# million; PM_BENCH_EVENTS sets another number). They are filled by INSERT ... SELECT with streams
# of ten events, which follow one another. Then 1,000 of these streams get an event by pm.append.
# The last partition is large enough for what is measured.
#
#   known       pgbench, 4 clients, asynchronous commits, 2 s: pm.append to one of 1,000 streams of the newest partition
#   expected    pm.append with the expected version, to streams of ten events: each tenth stream is a new one, which is looked for
#               in every partition
#   insert      a plain INSERT
#   drain       a process manager whose handler has one INSERT in PL/pgSQL handles the last 50,000 events
#   latency     as in latency.sh, at 1000/s
#   drop        while 4 clients append with synchronous commits: how long it takes to drop the oldest partition, and the longest
#               transaction of a writer meanwhile. The bound is on how much the latter exceeds the longest one without a DROP

source "$BENCH_DIR/append.sh"
source "$BENCH_DIR/growth.sh"
source "$BENCH_DIR/latency.sh"

partitions_create() {
	local i step=$((events / 50))
	as_bench "SELECT pm.create_log('bench.ordinary')"
	as_bench "SELECT pm.create_log('bench.partitioned', partitioned => true)"
	for ((i = 0; i < 50; i++)); do
		as_bench "CREATE TABLE bench.partitioned_$i PARTITION OF bench.partitioned FOR VALUES FROM ($((i * step + 1))) TO ($(
			((i == 49)) && echo MAXVALUE || echo $(((i + 1) * step + 1))))"
	done
	for i in ordinary partitioned; do
		as_bench "INSERT INTO bench.$i (stream, type, data) SELECT 'stream-' || n / 10, 'placed', jsonb_build_object('amount', n % 100, 'note', repeat('x', 100))
			FROM generate_series(1, $events) n"
		as_bench "SELECT count(pm.append('bench.$i', 'stream-' || n, 'placed', '{}')) FROM generate_series(1, 1000) n"
		tell "VACUUM ANALYZE bench.$i"
	done
}

# partitions_pgbench SCRIPT SECONDS COMMIT: sets $tps, and $longest to the longest transaction in ms.
partitions_pgbench() {
	local dir=$BENCH_WORK/partitions out
	rm -rf "$dir"
	mkdir -p "$dir"
	out=$(cd "$dir" && PGOPTIONS="-c synchronous_commit=$3" pgbench -U bench -n -M prepared -c 4 -j 2 -T "$2" --log -D v=0 \
		-D s=$((ROUND * 1000000 + RANDOM)) -f "$1" "$database_name" 2>"$BENCH_WORK/pgbench.err") ||
		{ cat "$BENCH_WORK/pgbench.err" >&2; die "pgbench failed: $1"; }
	tps=$(sed -n 's/^tps = \([0-9.]*\).*/\1/p' <<<"$out")
	longest=$(cat "$dir"/pgbench_log.* | awk '$3 > m { m = $3 } END { printf "%.1f", m / 1000 }')
}

partitions_append() {
	local op log
	for op in known expected insert; do
		turn ordinary partitioned
		for log in "${in_turn[@]}"; do
			sed "s/bench\.t\b/bench.$log/" "$BENCH_WORK/append/$op.sql" >"$BENCH_WORK/append/$op-$log.sql"
			partitions_pgbench "$BENCH_WORK/append/$op-$log.sql" "$(pick 1 2)" off
			sample partitions "$op" "$log" rate "$tps"
		done
	done
}

partitions_follow() {
	local log top tail sent client_ms effect_ms lost p
	tail=$(pick 10000 50000)
	turn ordinary partitioned
	for log in "${in_turn[@]}"; do
		tell "TRUNCATE bench.effect"
		ask "SELECT pm.high_water_mark('bench.$log')"; top=$answer
		growth_register insert_plpgsql 1 "'bench.$log'"
		growth_pause
		# Positions that were rolled back have no event.
		ask "SELECT min(position) FROM (SELECT position FROM bench.$log ORDER BY position DESC LIMIT $tail) x"
		tell "SELECT pm.seek('m1', 'bench.$log', $((answer - 1)))"
		ask "SELECT count(data) FROM (SELECT data FROM bench.$log WHERE position > $((answer - 1)) ORDER BY position) x"
		growth_drain
		effects_check "partitions $log" "$tail"
		sample partitions drain "$log" rate "$rate"
		growth_forget

		growth_register see 1 "'bench.$log'"
		latency_script "$log"
		latency_followed 1000 "$(pick 1 4)" "$BENCH_WORK/latency-$log.sql" || die "nobody handles the events of $log"
		[ "$lost" = 0 ] || skip "WRONG: partitions $log: $lost effects of $sent have not come"
		read -ra p <<<"$effect_ms"
		sample partitions latency "$log" p50 "${p[0]}"
		sample partitions latency "$log" p95 "${p[1]}"
		growth_forget
	done
}

# The oldest partition is dropped in each round.
partitions_drop() {
	local script=$BENCH_WORK/append/known-partitioned.sql seconds before pid
	seconds=$(pick 2 4)
	partitions_pgbench "$script" "$seconds" on
	before=$longest
	(
		sleep "$((seconds / 2))"
		psql_do "$database_name" -U bench -c "SELECT extract(epoch FROM clock_timestamp())" -c "DROP TABLE bench.partitioned_$((ROUND - 1))" \
			-c "SELECT extract(epoch FROM clock_timestamp())" >"$BENCH_WORK/dropped"
	) &
	pid=$!
	partitions_pgbench "$script" "$seconds" on
	wait "$pid"
	sample partitions drop oldest ms "$(awk 'NR == 1 { b = $1 } END { printf "%.0f", ($1 - b) * 1000 }' "$BENCH_WORK/dropped")"
	sample partitions drop writer longest "$longest"
	sample partitions drop writer-without longest "$before"
	sample partitions drop writer-more longest "$(awk -v a="$longest" -v b="$before" 'BEGIN { printf "%.1f", (a > b ? a - b : 0) }')"
}

partitions_round() {
	tell CHECKPOINT
	partitions_append
	partitions_follow
	partitions_drop
}

run_partitions() {
	local events=${PM_BENCH_EVENTS:-$(pick 100000 20000000)} n=$ROUNDS tps longest
	if quick; then
		n=1
		skip "partitions: 1 round, $events events instead of 20 million (QUICK)"
	fi
	database partitions
	append_scripts
	printf '%s\n' '\set n random(1, 1000)' "SELECT pm.append('bench.t', 'stream-' || :n, 'placed', '{\"amount\": 17}');" >"$BENCH_WORK/append/known.sql"
	partitions_create
	rounds "$n" partitions_round
}
