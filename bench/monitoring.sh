# shellcheck shell=bash
# monitoring.sh: the cost of being monitored, while a backlog is handled in batches of 100.
#
# Both sides of a ratio are measured within seconds of each other, in the order one, other, other, one: so a machine that
# becomes slower makes both slower. Each four measurements give one ratio; what counts is the median of a round's ratios,
# and of the rounds.
#
#   insert/console, insert/alone        with an open overview of the console (the console's server, and a program that
#                                       asks it what the page asks, as often) and while both are stopped, a second
#                                       each, within one backlog; the handler is one INSERT
#   noop/counted, noop/uncounted        pm.stat cannot be switched off. With pm.max_stats at its smallest, a lane for
#                                       which there is no room is not counted; the handler does nothing, in C
#   insert/ratio, noop/ratio            console / alone, and counted / uncounted, for each four measurements
#   open/server, open/console cpu_s     processor time of an open overview in a minute: of its sessions in the server,
#                                       and of the console
#
# cpu_us is the processor time of the dispatchers for each event. Where the machine is not quiet, it says more than rates.
# cpu_ratio is the other way around, so that it is below 1 when the first of the two takes longer.

# ---- the console

console_pid='' page_pid=''
console_open() {
	local i log=$BENCH_WORK/console.log
	rm -f "$log"
	node "$BENCH_DIR/../console/pm-console.js" --port 0 >"$log" 2>&1 &
	console_pid=$!
	for ((i = 0; i < 300; i++)); do
		! grep -qs '#token=' "$log" || break
		nap 0.1
	done
	page=$(grep -o 'http://127.0.0.1:[0-9]*/#token=[^ ]*' "$log") || die "the console has not started: $(cat "$log")"
	node "$BENCH_DIR/open_console.mjs" "$page" >"$BENCH_WORK/page.log" 2>&1 &
	page_pid=$!
	# Programs and sessions have started, and the queries are planned.
	nap 4
}
console_close() {
	kill -0 "$page_pid" 2>/dev/null || die "the page has ended: $(cat "$BENCH_WORK/page.log")"
	kill "$page_pid" "$console_pid"
	kill -CONT "$page_pid" "$console_pid"
	wait "$page_pid" "$console_pid" 2>/dev/null || true
}

# The processor time so far, in nanoseconds.
console_cpu() {
	local pid ns
	ask "SELECT pid FROM pg_stat_activity WHERE application_name = 'pm console'"
	server_ns=0
	for pid in $answer; do
		read -r ns _ <"/proc/$pid/schedstat"
		server_ns=$((server_ns + ns))
	done
	read -r console_ns _ <"/proc/$console_pid/schedstat"
}

console_idle() {
	local seconds from_server from_console server_ns console_ns
	seconds=$(pick 6 30)
	console_open
	console_cpu; from_server=$server_ns from_console=$console_ns
	nap "$seconds"
	console_cpu
	console_close
	sample monitoring open server cpu_s "$(awk -v ns=$((server_ns - from_server)) -v s="$seconds" 'BEGIN { printf "%.4f", ns * 60 / s / 1e9 }')"
	sample monitoring open console cpu_s "$(awk -v ns=$((console_ns - from_console)) -v s="$seconds" 'BEGIN { printf "%.4f", ns * 60 / s / 1e9 }')"
}

# ---- a backlog

# The processor time of the dispatchers so far, in nanoseconds, in cpu[pid].
dispatchers_cpu() {
	local pid
	cpu=()
	ask "SELECT pid FROM pm.worker WHERE kind = 'dispatcher' AND pid IS NOT NULL"
	for pid in $answer; do read -r "cpu[$pid]" _ <"/proc/$pid/schedstat"; done
}

# The processor time of the dispatchers since before[] was taken, in ns.
dispatchers_since() {
	local pid
	dispatchers_cpu
	ns=0
	for pid in "${!cpu[@]}"; do ns=$((ns + cpu[pid] - ${before[pid]:-0})); done
}
dispatchers_before() {
	local pid
	dispatchers_cpu
	before=()
	for pid in "${!cpu[@]}"; do before[pid]=${cpu[pid]}; done
}

# monitoring_register HANDLER LOG: registers a process manager, which pm.resume starts at the beginning of the log.
monitoring_register() {
	as_bench "SELECT pm.register('it', 'bench.$1', ARRAY['$2'], start_at => 'end', batch_size => 100)"
	tell "SELECT pm.pause('it')"
	tell "SELECT pm.seek('it', '$2', 0, reset => true)"
}

# monitoring_sample CASE VARIANT EVENTS MICROSECONDS NS: one measurement. Adds it to its side of the four.
monitoring_sample() {
	sample monitoring "$1" "$2" rate "$(awk -v n="$3" -v us="$4" 'BEGIN { printf "%.1f", n * 1e6 / us }')"
	sample monitoring "$1" "$2" cpu_us "$(awk -v n="$3" -v ns="$5" 'BEGIN { printf "%.4f", ns / n / 1e3 }')"
	of_events[$2]=$((${of_events[$2]:-0} + $3))
	of_us[$2]=$((${of_us[$2]:-0} + $4))
	of_ns[$2]=$((${of_ns[$2]:-0} + $5))
}

# monitoring_ratio CASE VARIANT OTHER: the ratio of the two sides of four measurements.
monitoring_ratio() {
	sample monitoring "$1" ratio rate_ratio "$(awk -v n="${of_events[$2]}" -v us="${of_us[$2]}" -v m="${of_events[$3]}" -v other="${of_us[$3]}" \
		'BEGIN { printf "%.4f", n / us / (m / other) }')"
	sample monitoring "$1" ratio cpu_ratio "$(awk -v n="${of_events[$2]}" -v ns="${of_ns[$2]}" -v m="${of_events[$3]}" -v other="${of_ns[$3]}" \
		'BEGIN { printf "%.4f", other / m / (ns / n) }')"
}

# Sets position and at, the time in microseconds.
monitoring_now() {
	ask "SELECT position || '|' || (extract(epoch FROM clock_timestamp()) * 1000000)::bigint FROM pm.cursor WHERE process_manager = 'it'"
	position=${answer%|*} at=${answer#*|}
}

# monitoring_slice VARIANT: a second with the console open or stopped. Fails if the backlog has ended.
monitoring_slice() {
	local from from_at ns
	local -a before
	if [ "$1" = console ]; then kill -CONT "$page_pid" "$console_pid"; else kill -STOP "$page_pid" "$console_pid"; fi
	dispatchers_before
	monitoring_now
	from=$position from_at=$at
	nap 1
	monitoring_now
	dispatchers_since
	((position > from)) || die "the backlog stands still at $position"
	((position < target)) || return 1
	monitoring_sample insert "$1" $((position - from)) $((at - from_at)) "$ns"
}

monitoring_slices() {
	local variant
	local -A of_events of_us of_ns
	turn alone console
	while :; do
		of_events=() of_us=() of_ns=()
		for variant in "${in_turn[@]}" "${in_turn[1]}" "${in_turn[0]}"; do
			monitoring_slice "$variant" || return 0
		done
		monitoring_ratio insert console alone
	done
}

monitoring_console_round() {
	local position at i
	local -a cpu
	tell VACUUM
	tell CHECKPOINT
	console_idle
	tell "TRUNCATE bench.effect"
	monitoring_register insert_plpgsql bench.backlog
	console_open
	tell "SELECT pm.resume('it')"
	# The dispatcher has started when the first events are handled.
	for ((i = 0; i < 100; i++)); do
		monitoring_now
		((position == 0)) || break
		nap 0.1
	done
	monitoring_slices
	console_close
	for ((i = 0; i < 600; i++)); do
		monitoring_now
		((position < target)) || break
		nap 0.1
	done
	effects_check "monitoring: console" "$events"
	tell "SELECT pm.unregister('it')"
}

# monitoring_drain VARIANT: handles a short backlog.
monitoring_drain() {
	local ns
	local -a cpu before
	monitoring_register noop_c bench.part
	dispatchers_before
	drain "SELECT position FROM pm.cursor WHERE process_manager = 'it'" "$part_target" tell "SELECT pm.resume('it')"
	dispatchers_since
	ask "SELECT coalesce(sum(events), 0) FROM pm.stat WHERE process_manager = 'it'"
	[[ $1 = uncounted && $answer -eq 0 || $1 != uncounted && $answer -gt 0 ]] || skip "WRONG: monitoring $1: pm.stat has counted $answer events"
	tell "SELECT pm.unregister('it')"
	((rate > 0)) || die "no rate"
	monitoring_sample noop "$1" "$part_events" $((part_events * 1000000 / rate)) "$ns"
}

# The other process managers have counted an event just now, so none of them gives up its counters.
monitoring_counted() {
	local n=15
	[ "$1" = counted ] || n=16
	tell "SELECT pm.unregister(name) FROM pm.process_manager"
	tell "SELECT pm.stat_reset()"
	as_bench "SELECT count(pm.register('other-' || i, 'bench.noop_c', ARRAY['bench.small'], start_at => 'end')) FROM generate_series(1, $n) i"
	as_bench "CALL bench.fill('bench.small', 1)"
	as_bench "SELECT pm.wait_for('other-' || i) FROM generate_series(1, $n) i"
	monitoring_drain "$1"
}

monitoring_counted_round() {
	local variant i
	local -A of_events of_us of_ns
	turn uncounted counted
	for ((i = 0; i < 4; i++)); do
		of_events=() of_us=() of_ns=()
		for variant in "${in_turn[@]}" "${in_turn[1]}" "${in_turn[0]}"; do monitoring_counted "$variant"; done
		monitoring_ratio noop counted uncounted
	done
}

# The database stays.
monitoring_restart() {
	local name=$database_name
	session_close
	psql_do postgres -c "ALTER SYSTEM $1"
	pg_ctl -D "$BENCH_WORK/data" -l "$BENCH_WORK/server.log" -m fast -w -s restart || die "the server does not restart"
	session_open "$name"
}

run_monitoring() {
	local events target part_events=200000 part_target page missing='' n=$ROUNDS
	events=$(pick 500000 3000000)
	if quick && [ -z "${PM_BENCH_ROUNDS:-}" ]; then
		n=1
		skip "monitoring: 1 round, a backlog of $events events instead of 3000000 (QUICK)"
	fi
	database monitoring
	as_bench "SELECT pm.create_log('bench.backlog'), pm.create_log('bench.part'), pm.create_log('bench.small')"
	as_bench "CALL bench.fill('bench.backlog', $events)"
	as_bench "CALL bench.fill('bench.part', $part_events)"
	tell "VACUUM ANALYZE bench.backlog, bench.part"
	ask "SELECT max(position) FROM bench.backlog"; target=$answer
	ask "SELECT max(position) FROM bench.part"; part_target=$answer
	command -v node >/dev/null || missing='there is no node'
	[ ! -e "$BENCH_DIR/../console/.npm-failed" ] || missing=$(head -n 1 "$BENCH_DIR/../console/.npm-failed")
	if [ -n "$missing" ]; then
		skip "monitoring: the console: $missing"
	else
		rounds "$n" monitoring_console_round
	fi
	monitoring_restart 'SET pm.max_stats = 16'
	rounds "$n" monitoring_counted_round
	monitoring_restart 'RESET pm.max_stats'
}
