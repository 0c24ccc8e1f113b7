# shellcheck shell=bash
# growth.sh: how the drain rate and the latency change with the amount of something.
#
#   behind     handled events below the cursor; the events above it are in memory
#   managers   process managers on one log, all behind: events x process managers per second, in total
#   logs       one-N: N logs that one process manager follows, each with a backlog; own-N: N logs, each with its own process
#              manager; beside-N: N process managers, one of which has a backlog and the others nothing to do
#   instances  instances of one process manager; create_rate: how fast they are created
#   timers     the same, and each of them has a pending timer
#   parked     parked keys; create_rate: how fast events are handled if every second one fails and is parked
#   many, roles      thousands of logs and process managers, hundreds of roles: growth_many.sh
#
# Unless stated otherwise the handler is one INSERT in PL/pgSQL, with batches of 100. Rates are measured as in dispatch.sh. In each
# round the sizes follow one another, every other round in reverse order. p50 and p95: from insert to effect in ms as in latency.sh,
# with 1000 events/s in one of the logs; with N process managers, with 1000/N events/s, so that there are 1000 effects/s.

source "$BENCH_DIR/latency.sh"
source "$BENCH_DIR/growth_many.sh"

growth_resume() { tell "SELECT pm.resume(name) FROM pm.process_manager"; }
growth_pause() { tell "SELECT pm.pause(name) FROM pm.process_manager"; }

# growth_drain [NAMES]: how fast the cursors of these process managers move together from their positions to the marks.
growth_drain() {
	tell "DROP TABLE IF EXISTS bench.growth"
	tell "CREATE TABLE bench.growth AS SELECT process_manager, log, min(position) AS position FROM pm.cursor
		WHERE process_manager LIKE '${1:-%}' GROUP BY 1, 2"
	ask "SELECT sum(m.mark - g.position) FROM bench.growth g JOIN
		(SELECT name AS log, pm.high_water_mark(name) AS mark FROM pm.log) m USING (log)"
	drain "SELECT coalesce(sum(c.position - g.position), 0) FROM pm.cursor c JOIN bench.growth g USING (process_manager, log)" \
		"$answer" tell "SELECT pm.resume(name) FROM pm.process_manager WHERE name LIKE '${1:-%}'"
	growth_pause
}

# growth_latency CASE VARIANT LOG [MANAGERS]: the process managers already run, with handlers that fill bench.seen.
growth_latency() {
	local sent client_ms effect_ms lost p
	latency_script "$3"
	latency_fan=${4:-1}
	latency_followed $((1000 / latency_fan)) "$(pick 1 $((latency_fan > 100 ? 5 : 2)))" "$BENCH_WORK/latency-$3.sql" ||
		die "nobody handles the events of $3"
	[ "$lost" = 0 ] || skip "WRONG: growth $1 $2: $lost effects of $((sent * latency_fan)) have not come"
	latency_fan=1
	read -ra p <<<"$effect_ms"
	sample growth "$1" "$2" p50 "${p[0]}"
	sample growth "$1" "$2" p95 "${p[1]}"
}

# growth_register HANDLER N LOG: registers m1 ... mN on LOG; in LOG, i is the number of each.
growth_register() {
	as_bench "SELECT count(pm.register('m' || i, 'bench.$1', ARRAY[$3], start_at => 'end')) FROM generate_series(1, $2) i"
}
growth_forget() { tell "SELECT count(pm.unregister(name)) FROM pm.process_manager"; }

# ---- events behind the cursor ----

growth_behind_round() {
	local s top
	turn "${sizes[@]}"
	for s in "${in_turn[@]}"; do
		tell "TRUNCATE bench.effect"
		ask "SELECT pm.high_water_mark('bench.log_$s')"; top=$answer
		growth_register insert_plpgsql 1 "'bench.log_$s'"
		growth_pause
		tell "SELECT pm.seek('m1', 'bench.log_$s', $((top - tail)))"
		# Recently written events are in memory.
		ask "SELECT count(data) FROM (SELECT data FROM bench.log_$s WHERE position > $top - $tail ORDER BY position) x"
		growth_drain
		effects_check "growth behind $s" "$tail"
		sample growth behind "$s" rate "$rate"
		growth_forget

		growth_register see 1 "'bench.log_$s'"
		growth_latency behind "$s" "log_$s"
		growth_forget
	done
}
growth_behind() {
	local sizes tail s
	read -ra sizes <<<"$(pick '10000 100000' '10000 1000000 10000000')"
	tail=$(pick 10000 50000)
	database growth
	for s in "${sizes[@]}"; do
		as_bench "SELECT pm.create_log('bench.log_$s')"
		as_bench "CALL bench.fill('bench.log_$s', $((s + tail)))"
		tell "VACUUM ANALYZE bench.log_$s"
	done
	tell CHECKPOINT
	rounds "$n" growth_behind_round
}

# ---- process managers on one log ----

growth_managers_round() {
	local m
	turn "${sizes[@]}"
	for m in "${in_turn[@]}"; do
		tell "TRUNCATE bench.effect"
		growth_register insert_plpgsql "$m" "'bench.log'"
		growth_pause
		tell "SELECT count(pm.seek(name, 'bench.log', pm.high_water_mark('bench.log') - $((total / m)))) FROM pm.process_manager"
		growth_drain
		effects_check "growth managers $m" "$total" $((total / m))
		sample growth managers "$m" rate "$rate"
		growth_forget

		growth_register see "$m" "'bench.log'"
		growth_latency managers "$m" log "$m"
		growth_forget
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

# growth_logs_register HANDLER VARIANT LOGS
growth_logs_register() {
	if [ "$2" = one ]; then
		as_bench "SELECT pm.register('it', 'bench.$1', array_agg('bench.log_' || i), start_at => 'end') FROM generate_series(1, $3) i"
	else
		growth_register "$1" "$3" "'bench.log_' || i"
	fi
}
growth_logs_case() {
	local variant=${1%-*} l=${1#*-} busy=%
	tell "TRUNCATE bench.effect"
	growth_logs_register insert_plpgsql "$variant" "$l"
	if [ "$variant" = beside ]; then
		# The others run, but have nothing to do.
		busy=m1
		nap 1
		tell "SELECT pm.pause('m1')"
		tell "SELECT pm.seek('m1', 'bench.log_1', pm.high_water_mark('bench.log_1') - $total)"
	else
		growth_pause
		tell "SELECT count(pm.seek(process_manager, log, pm.high_water_mark(log) - $((total / l)))) FROM pm.cursor"
	fi
	growth_drain "$busy"
	ask "SELECT count(*) FROM bench.effect"
	((answer == total / l * l)) || skip "WRONG: growth logs $1 has left $answer effects"
	sample growth logs "$1" rate "$rate"
	growth_forget

	growth_logs_register see "$variant" "$l"
	[ "$variant" = own ] || growth_latency logs "$1" log_1
	growth_forget
}
growth_logs_round() {
	local case most=${sizes[-1]}
	turn "${sizes[@]/#/one-}" "own-$most" "beside-$most"
	for case in "${in_turn[@]}"; do growth_logs_case "$case"; done
}
growth_logs() {
	local sizes total
	read -ra sizes <<<"$(pick '1 20' '1 10 100 1000')"
	total=$(pick 20000 50000)
	database growth
	# As many events as are needed for the smallest number of logs in which this log is used.
	as_bench "DO \$\$ DECLARE events bigint; BEGIN FOR i IN 1 .. ${sizes[-1]} LOOP
		PERFORM pm.create_log('bench.log_' || i);
		SELECT $total / min(l) INTO events FROM unnest('{$(IFS=,; echo "${sizes[*]}")}'::int[]) l WHERE l >= i;
		CALL bench.fill('bench.log_' || i, events);
		END LOOP; END \$\$"
	tell "VACUUM ANALYZE"
	rounds "$n" growth_logs_round
}

# ---- instances, timers, parked keys ----

growth_keyed_register() {
	as_bench "SELECT pm.register('it-$1', 'bench.$2', ARRAY['bench.log_$1'], start_at => 'beginning', batch_size => ${3:-100},
		max_attempts => 1, park_limit => 1000000)"
}
growth_keyed_round() {
	local k
	turn "${sizes[@]}"
	for k in "${in_turn[@]}"; do
		as_bench "INSERT INTO bench.log_$k (stream, type, data) SELECT 'stream-' || (random() * $k)::int % $k, 'placed', '{\"amount\": 17}'
			FROM generate_series(1, $events)"
		growth_keyed_register "$k" "$handler"
		growth_drain "it-$k"
		sample growth "$kind" "$k" rate "$rate"

		growth_keyed_register "$k" "$see"
		tell "SELECT pm.resume('it-$k')"
		growth_latency "$kind" "$k" "log_$k"
		growth_pause
	done
}
# growth_keyed KIND HANDLER SEE SIZE...: SEE is a handler with the same instances that fills bench.seen
growth_keyed() {
	local kind=$1 handler=$2 see=$3 k sizes events data
	shift 3
	sizes=("$@")
	events=$(pick 10000 50000)
	database growth
	for k in "${sizes[@]}"; do
		as_bench "SELECT pm.create_log('bench.log_$k')"
		growth_keyed_register "$k" "$handler" 1000
		growth_pause
		if [ "$kind" = parked ]; then
			# The keys of failing events are different from those of the others.
			data="SELECT CASE i % 2 WHEN 0 THEN 'bad-' ELSE 'good-' END || i, 'placed',
				jsonb_build_object('amount', 17, 'bad', i % 2 = 0) FROM generate_series(1, 2 * $k) i"
		else
			data="SELECT 'stream-' || i - 1, 'placed', '{\"amount\": 17}' FROM generate_series(1, $k) i"
		fi
		as_bench "INSERT INTO bench.log_$k (stream, type, data) $data"
		growth_drain "it-$k"
		ROUND=1 sample growth "$kind" "$k" create_rate "$rate"
		ask "SELECT count(*) FROM pm.${kind%s} WHERE process_manager = 'it-$k'"
		[ "$answer" = "$k" ] || skip "WRONG: growth $kind: there are $answer, not $k"
	done
	tell "VACUUM ANALYZE"
	tell CHECKPOINT
	rounds "$n" growth_keyed_round
}

run_growth() {
	local n=$ROUNDS part
	if quick; then
		n=1
		skip "growth: 1 round, smaller sizes; logs, timers and parked keys (QUICK)"
		set -- behind managers "keyed instances instance_plpgsql instance_see 1000 10000" many roles
	else
		skip "growth: many and roles are measured once"
		set -- behind managers logs "keyed instances instance_plpgsql instance_see 1000 100000 1000000" \
			"keyed timers instance_timer instance_see 1000 1000000" "keyed parked insert_unless_bad see 100 10000" many roles
	fi
	# PM_BENCH_GROWTH=many measures only this part; PM_BENCH_LOGS="..." are its numbers of logs.
	[ -z "${PM_BENCH_GROWTH:-}" ] || set -- "$PM_BENCH_GROWTH"
	for part in "$@"; do
		# shellcheck disable=SC2086
		growth_$part
		say "   ${part%% instance*}: until $SECONDS s"
	done
}
