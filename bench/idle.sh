# shellcheck shell=bash
# idle.sh: the cost of idle process managers.
#
# N process managers, each on one of ten logs without writers. After they have become idle, for one minute:
#   cpu_s        CPU time of all of pm's workers, in seconds
#   wakeups      their voluntary context switches
#   wal_bytes    WAL written by the whole server, except the list of running transactions that the server itself
#                writes for standbys after any other WAL
#   snapshots    how many of pm's workers had a snapshot or a transaction id in any of sixty samples
# Only the sampling session is connected. N = 0 shows the cost of pm in a database without process managers.

idle_look() {
	local pid stat
	cpu_ns=0 switches=0
	ask "SELECT pid FROM pm.worker WHERE pid IS NOT NULL"
	for pid in $answer; do
		# In nanoseconds if the kernel counts them, otherwise in clock ticks.
		if [ -r "/proc/$pid/schedstat" ]; then
			read -r stat _ <"/proc/$pid/schedstat"
		else
			stat=$(awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); printf "%.0f", ($12 + $13) / hz * 1e9 }' "/proc/$pid/stat")
		fi
		cpu_ns=$((cpu_ns + stat))
		switches=$((switches + $(awk '/^voluntary/ { print $2 }' "/proc/$pid/status")))
	done
}

idle_held() {
	ask "SELECT count(*) FROM pg_stat_activity JOIN pm.worker USING (pid) WHERE backend_xmin IS NOT NULL OR backend_xid IS NOT NULL"
}
idle_lsn() { ask "SELECT pg_current_wal_insert_lsn()"; }

# idle_wal FROM TO
idle_wal() {
	answer=0
	[ "$1" = "$2" ] || ask "SELECT coalesce(sum(record_length + fpi_length), 0) FROM pg_get_wal_records_info('$1', '$2')
		WHERE (resource_manager, record_type) <> ('Standby', 'RUNNING_XACTS')"
}

idle_run() {
	local n=$1 i cpu_ns switches cpu_0 switches_0 from to held=0
	as_bench "SELECT count(pm.register('idle-' || i, 'bench.insert_plpgsql', ARRAY['bench.log_' || i % 10], start_at => 'end'))
		FROM generate_series(1, $n) i"
	nap "$(pick 4 5)"
	# So that the samples find nothing to prune.
	tell VACUUM
	idle_held
	idle_look
	tell CHECKPOINT
	nap 1
	idle_lsn; from=$answer
	idle_look; cpu_0=$cpu_ns switches_0=$switches
	for ((i = 0; i < 60; i++)); do
		nap "$nap"
		idle_held
		held=$((held + answer))
	done
	idle_look
	idle_lsn; to=$answer
	# The statistics that are read must have been flushed.
	tell CHECKPOINT
	idle_wal "$from" "$to"
	sample idle "$n" pm wal_bytes "$answer"
	sample idle "$n" pm cpu_s "$(awk -v ns=$((cpu_ns - cpu_0)) 'BEGIN { printf "%.4f", ns / 1e9 }')"
	sample idle "$n" pm wakeups $((switches - switches_0))
	sample idle "$n" pm snapshots "$held"
	tell "SELECT pm.unregister(name) FROM pm.process_manager"
}

idle_round() {
	local n
	for n in $sizes; do idle_run "$n"; done
}

run_idle() {
	local nap i sizes
	sizes=$(pick 1000 '0 10 1000')
	# nap reads from a pipe into which nothing is written.
	nap=$(pick 0.07 1)
	if quick; then
		skip "idle: 4 s instead of 60, 0 and 10 process managers (QUICK)"
	else
		skip "idle: one round of a minute each"
	fi
	database idle
	tell "CREATE EXTENSION pg_walinspect"
	for ((i = 0; i < 10; i++)); do
		as_bench "SELECT pm.create_log('bench.log_$i')"
		as_bench "CALL bench.fill('bench.log_$i', 10)"
	done
	rounds 1 idle_round
}
