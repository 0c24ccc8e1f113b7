# shellcheck shell=bash
# growth.sh: what becomes of the drain rate (and latency) when there is much of something.
#
#   behind     events that are handled already, below the cursor
#   managers   process managers on one log, all behind: event x manager a second, together
#   logs       logs that one process manager follows; own: each with a process manager of its own
#   instances  instances that one process manager has; create_rate: how fast they come to be
#   timers     the same, and each of them has a timer pending
#   parked     keys that are parked; create_rate: how fast events are parked, every second one good
#   lanes      1 and 2 lanes with a handler that only computes
#
# Handler: one INSERT in PL/pgSQL unless said otherwise, batches of 100. Rates as in dispatch.sh. The sizes
# follow each other in each round.

source "$BENCH_DIR/latency.sh"

growth_resume() { tell "SELECT pm.resume(name) FROM pm.process_manager"; }
growth_pause() { tell "SELECT pm.pause(name) FROM pm.process_manager"; }

# growth_drain TARGET: what all cursors together have moved since they were noted in bench.growth.
growth_drain() {
	drain "SELECT coalesce(sum(c.position - g.position), 0) FROM pm.cursor c JOIN bench.growth g USING (process_manager, log)" \
		"$1" growth_resume
	growth_pause
}
growth_note() {
	tell "DROP TABLE IF EXISTS bench.growth"
	tell "CREATE TABLE bench.growth AS SELECT process_manager, log, min(position) AS position FROM pm.cursor GROUP BY 1, 2"
}
growth_to() {
	ask "SELECT sum(m.mark - g.position) FROM bench.growth g JOIN
		(SELECT name AS log, pm.high_water_mark(name) AS mark FROM pm.log) m USING (log)"
}

# ---- events behind the cursor ----

growth_behind_round() {
	local s top
	for s in "${sizes[@]}"; do
		tell "TRUNCATE bench.effect, bench.seen"
		ask "SELECT pm.high_water_mark('bench.log_$s')"; top=$answer
		as_bench "SELECT pm.register('it', 'bench.insert_plpgsql', ARRAY['bench.log_$s'], start_at => 'end')"
		growth_pause
		tell "SELECT pm.seek('it', 'bench.log_$s', $((top - tail)))"
		growth_note
		growth_drain "$tail"
		sample growth behind "$s" rate "$rate"
		tell "SELECT pm.unregister('it')"

		as_bench "SELECT pm.register('see', 'bench.see', ARRAY['bench.log_$s'], start_at => 'end')"
		latency_script "log_$s"
		latency_load 1000 "$(pick 1 5)" "$BENCH_WORK/latency-log_$s.sql" "behind $s"
		if latency_settle "$sent"; then
			latency_effects
			read -ra p <<<"$effect_ms"
			sample growth behind "$s" p50 "${p[0]}"
			sample growth behind "$s" p95 "${p[1]}"
		fi
		tell "SELECT pm.unregister('see')"
	done
}
growth_behind() {
	local sizes tail s sent client_ms effect_ms p
	read -ra sizes <<<"$(pick '10000 100000' '10000 1000000')"
	! full || sizes+=(10000000)
	full || skip "growth: 10000000 events behind the cursor (FULL=1 does that)"
	tail=$(pick 10000 50000)
	database growth
	for s in "${sizes[@]}"; do
		as_bench "SELECT pm.create_log('bench.log_$s')"
		as_bench "CALL bench.fill('bench.log_$s', $((s + tail)))"
		tell "VACUUM ANALYZE bench.log_$s"
	done
	tell CHECKPOINT
	say "   filled ($SECONDS s)"
	rounds "$n" growth_behind_round
}

# ---- process managers on one log ----

growth_managers_round() {
	local m
	for m in "${sizes[@]}"; do
		tell "TRUNCATE bench.effect"
		as_bench "DO \$\$ BEGIN FOR i IN 1 .. $m LOOP
			PERFORM pm.register('m' || i, 'bench.insert_plpgsql', ARRAY['bench.log'], start_at => 'end'); END LOOP; END \$\$"
		growth_pause
		tell "SELECT pm.seek(name, 'bench.log', $((total - total / m))) FROM pm.process_manager"
		growth_note
		growth_drain "$total"
		sample growth managers "$m" rate "$rate"
		tell "SELECT pm.unregister(name) FROM pm.process_manager"
	done
}
growth_managers() {
	local sizes total
	read -ra sizes <<<"$(pick '1 10 100' '1 10 100 1000')"
	total=$(pick 20000 200000)
	database growth
	as_bench "SELECT pm.create_log('bench.log')"
	as_bench "CALL bench.fill('bench.log', $total)"
	tell "VACUUM ANALYZE bench.log"
	rounds "$n" growth_managers_round
}

# ---- logs ----

growth_logs_case() {
	local l=$1 variant=$2
	tell "TRUNCATE bench.effect"
	if [ "$variant" = own ]; then
		as_bench "DO \$\$ BEGIN FOR i IN 1 .. $l LOOP
			PERFORM pm.register('m' || i, 'bench.insert_plpgsql', ARRAY['bench.log_' || i], start_at => 'end'); END LOOP; END \$\$"
	else
		as_bench "SELECT pm.register('it', 'bench.insert_plpgsql', array_agg('bench.log_' || i), start_at => 'end') FROM generate_series(1, $l) i"
	fi
	growth_pause
	tell "SELECT pm.seek(process_manager, log, position - $total / $l) FROM pm.cursor"
	growth_note
	growth_drain $((total / l * l))
	sample growth logs "$variant-$l" rate "$rate"
	tell "SELECT pm.unregister(name) FROM pm.process_manager"
}
growth_logs_round() {
	local l
	for l in "${sizes[@]}"; do growth_logs_case "$l" one; done
	growth_logs_case "${sizes[-1]}" own
}
growth_logs() {
	local sizes total
	read -ra sizes <<<"$(pick '1 20' '1 10 100 1000')"
	total=$(pick 20000 100000)
	database growth
	# As many events as it needs for the smallest number of logs that it is among.
	as_bench "DO \$\$ DECLARE events bigint; BEGIN FOR i IN 1 .. ${sizes[-1]} LOOP
		PERFORM pm.create_log('bench.log_' || i);
		SELECT $total / min(l) INTO events FROM unnest('{$(IFS=,; echo "${sizes[*]}")}'::int[]) l WHERE l >= i;
		CALL bench.fill('bench.log_' || i, events);
		END LOOP; END \$\$"
	tell "VACUUM ANALYZE"
	rounds "$n" growth_logs_round
}

# ---- instances, timers, parked keys ----

growth_keyed_round() {
	local k
	for k in "${sizes[@]}"; do
		as_bench "INSERT INTO bench.log_$k (stream, type, data) SELECT 'stream-' || (random() * $k)::int % $k, 'placed', '{\"amount\": 17}'
			FROM generate_series(1, $events)"
		tell "TRUNCATE bench.effect"
		# Only this one is to go on.
		as_bench "SELECT pm.register('it-$k', 'bench.$handler', ARRAY['bench.log_$k'], max_attempts => 1, park_limit => 1000000)"
		tell "DROP TABLE IF EXISTS bench.growth"
		tell "CREATE TABLE bench.growth AS SELECT process_manager, log, position FROM pm.cursor WHERE process_manager = 'it-$k'"
		growth_to
		drain "SELECT c.position - g.position FROM pm.cursor c JOIN bench.growth g USING (process_manager, log)" \
			"$answer" tell "SELECT pm.resume('it-$k')"
		growth_pause
		sample growth "$kind" "$k" rate "$rate"
	done
}
growth_keyed() {
	local kind=$1 handler=$2 k sizes events data=
	shift 2
	sizes=("$@")
	events=$(pick 10000 50000)
	database growth
	for k in "${sizes[@]}"; do
		as_bench "SELECT pm.create_log('bench.log_$k')"
		as_bench "SELECT pm.register('it-$k', 'bench.$handler', ARRAY['bench.log_$k'], batch_size => 1000, max_attempts => 1, park_limit => 1000000)"
		growth_pause
		if [ "$kind" = parked ]; then
			# Every second one fails; the keys of those that do are no others' keys.
			data="INSERT INTO bench.log_$k (stream, type, data) SELECT CASE i % 2 WHEN 0 THEN 'bad-' ELSE 'good-' END || i, 'placed',
				jsonb_build_object('amount', 17, 'bad', i % 2 = 0) FROM generate_series(1, 2 * $k) i"
		else
			data="INSERT INTO bench.log_$k (stream, type, data) SELECT 'stream-' || i - 1, 'placed', '{\"amount\": 17}' FROM generate_series(1, $k) i"
		fi
		as_bench "$data"
		growth_note
		tell "DELETE FROM bench.growth WHERE process_manager <> 'it-$k'"
		growth_to
		drain "SELECT c.position - g.position FROM pm.cursor c JOIN bench.growth g USING (process_manager, log)" \
			"$answer" tell "SELECT pm.resume('it-$k')"
		ROUND=1 sample growth "$kind" "$k" create_rate "$rate"
		growth_pause
	done
	case $kind in
	parked) ask "SELECT string_agg(n::text, ' ' ORDER BY n) FROM (SELECT count(*) n FROM pm.parked GROUP BY process_manager) x" ;;
	timers) ask "SELECT string_agg(n::text, ' ' ORDER BY n) FROM (SELECT count(*) n FROM pm.timer GROUP BY process_manager) x" ;;
	*) ask "SELECT string_agg(n::text, ' ' ORDER BY n) FROM (SELECT count(*) n FROM pm.instance GROUP BY process_manager) x" ;;
	esac
	say "   $kind: there are $answer"
	tell "VACUUM ANALYZE"
	tell CHECKPOINT
	rounds "$n" growth_keyed_round
}

run_growth() {
	local n
	n=$(pick 1 "$ROUNDS")
	growth_behind
	growth_managers
	growth_logs
	if quick; then
		skip "growth: 1 round; 1000 managers, 1000 logs, 1M instances, timers, parked keys (QUICK)"
		growth_keyed instances instance_plpgsql 1000 10000
	else
		growth_keyed instances instance_plpgsql 1000 100000 1000000
		growth_keyed timers instance_timer 1000 1000000
		growth_keyed parked insert_unless_bad 100 10000
	fi
}
