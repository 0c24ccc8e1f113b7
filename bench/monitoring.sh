# shellcheck shell=bash
# monitoring.sh: the cost of being monitored, while a backlog is handled in batches of 100.
#
# Each round handles the backlog four times: without, with, with, without. So a machine that becomes slower during a round
# makes both sides slower, and what counts is the median of the rounds' ratios.
#
#   insert/console, insert/alone        with an open overview of the console (the console's server, and a program that
#                                       asks it what the page asks, as often) and without; the handler is one INSERT
#   noop/counted, noop/uncounted        pm.stat cannot be switched off. With pm.max_stats at its smallest, a lane for
#                                       which there is no room is not counted; the handler does nothing, in C
#   open/server, open/console cpu_s     processor time of an open overview in a minute: of its sessions in the server,
#                                       and of the console
#
# cpu_us is the processor time of the dispatchers for each event. Where the machine is not quiet, it says more than rates.

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

# monitoring_drain CASE HANDLER VARIANT
monitoring_drain() {
	local -a cpu before
	local pid ns=0
	tell "TRUNCATE bench.effect"
	as_bench "SELECT pm.register('it', 'bench.$2', ARRAY['bench.backlog'], start_at => 'end', batch_size => 100)"
	tell "SELECT pm.pause('it')"
	tell "SELECT pm.seek('it', 'bench.backlog', 0, reset => true)"
	dispatchers_cpu
	for pid in "${!cpu[@]}"; do before[pid]=${cpu[pid]}; done
	drain "SELECT position FROM pm.cursor WHERE process_manager = 'it'" "$target" tell "SELECT pm.resume('it')"
	dispatchers_cpu
	for pid in "${!cpu[@]}"; do ns=$((ns + cpu[pid] - ${before[pid]:-0})); done
	[ "$1" != insert ] || effects_check "monitoring $3" "$events"
	ask "SELECT coalesce(sum(events), 0) FROM pm.stat WHERE process_manager = 'it'"
	[[ $3 = uncounted && $answer -eq 0 || $3 != uncounted && $answer -gt 0 ]] || skip "WRONG: monitoring $3: pm.stat has counted $answer events"
	tell "SELECT pm.unregister('it')"
	sample monitoring "$1" "$3" rate "$rate"
	sample monitoring "$1" "$3" cpu_us "$(awk -v ns=$ns -v n="$events" 'BEGIN { printf "%.4f", ns / n / 1e3 }')"
}

monitoring_watched() {
	if [ "$1" = console ]; then console_open; fi
	monitoring_drain insert insert_plpgsql "$1"
	if [ "$1" = console ]; then console_close; fi
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
	monitoring_drain noop noop_c "$1"
}

monitoring_console_round() {
	local variant
	tell VACUUM
	tell CHECKPOINT
	console_idle
	turn alone console
	for variant in "${in_turn[@]}" "${in_turn[1]}" "${in_turn[0]}"; do monitoring_watched "$variant"; done
}
monitoring_counted_round() {
	local variant
	turn uncounted counted
	for variant in "${in_turn[@]}" "${in_turn[1]}" "${in_turn[0]}"; do monitoring_counted "$variant"; done
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
	local events target page missing='' n=$ROUNDS
	events=$(pick 200000 1000000)
	if quick && [ -z "${PM_BENCH_ROUNDS:-}" ]; then
		n=1
		skip "monitoring: 1 round, a backlog of $events events instead of 1000000 (QUICK)"
	fi
	database monitoring
	as_bench "SELECT pm.create_log('bench.backlog'), pm.create_log('bench.small')"
	as_bench "CALL bench.fill('bench.backlog', $events)"
	tell "VACUUM ANALYZE bench.backlog"
	ask "SELECT max(position) FROM bench.backlog"; target=$answer
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
