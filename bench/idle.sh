# shellcheck shell=bash
# idle.sh: what process managers cost that have nothing to do.
#
# N process managers, each of them on one of ten logs that nobody writes. When they have settled, for a minute:
#   cpu_s        CPU time of all of pm's workers (utime + stime in /proc), in seconds
#   wakeups      their voluntary context switches
#   wal_bytes    WAL written by the whole server meanwhile
#   snapshots    pm's workers that had a snapshot or a transaction id at any of ten looks
# Nobody else is connected but the one session that looks.

idle_look() {
	local pid stat
	cpu=0 switches=0
	ask "SELECT pid FROM pm.worker WHERE pid IS NOT NULL"
	for pid in $answer; do
		stat=$(cat "/proc/$pid/stat" 2>/dev/null) || continue
		stat=${stat##*) }
		# shellcheck disable=SC2086
		set -- $stat
		cpu=$((cpu + ${12} + ${13}))
		switches=$((switches + $(awk '/^voluntary/ { print $2 }' "/proc/$pid/status")))
	done
	ask "SELECT pg_current_wal_insert_lsn() - '0/0'"
	wal=$answer
}

idle_run() {
	local n=$1 i cpu switches wal cpu_0 switches_0 wal_0 held=0
	as_bench "DO \$\$ BEGIN
		FOR i IN 1 .. $n LOOP
			PERFORM pm.register('idle-' || i, 'bench.insert_plpgsql', ARRAY['bench.log_' || i % 10], start_at => 'end');
		END LOOP; END \$\$"
	nap "$(pick 2 5)"
	tell CHECKPOINT
	nap 1
	idle_look; cpu_0=$cpu switches_0=$switches wal_0=$wal
	for ((i = 0; i < 10; i++)); do
		nap "$(awk -v s="$seconds" 'BEGIN { print s / 10 }')"
		ask "SELECT count(*) FROM pg_stat_activity JOIN pm.worker USING (pid) WHERE backend_xmin IS NOT NULL OR backend_xid IS NOT NULL"
		held=$((held + answer))
	done
	idle_look
	sample idle "$n" pm cpu_s "$(awk -v t=$((cpu - cpu_0)) -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.2f", t / hz }')"
	sample idle "$n" pm wakeups $((switches - switches_0))
	sample idle "$n" pm wal_bytes $((wal - wal_0))
	sample idle "$n" pm snapshots "$held"
	tell "SELECT pm.unregister(name) FROM pm.process_manager"
}

idle_round() {
	local n
	for n in $sizes; do idle_run "$n"; done
}

run_idle() {
	local seconds i sizes
	sizes=$(pick '0 1000' '0 10 1000')
	# nap reads from a pipe that nobody writes, for at most so many seconds.
	seconds=$(pick 4 60)
	! quick || skip "idle: $seconds s instead of 60, 10 process managers (QUICK)"
	database idle
	for ((i = 0; i < 10; i++)); do
		as_bench "SELECT pm.create_log('bench.log_$i')"
		as_bench "CALL bench.fill('bench.log_$i', 10)"
	done
	rounds 1 idle_round
}
