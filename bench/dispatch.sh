# shellcheck shell=bash
# dispatch.sh: the speed at which a backlog is handled.
#
# One log with a number of events, and for each case a process manager that starts at its beginning, compared with
#   do:         a loop without pm: a procedure in PL/pgSQL, batches of the same size
#   c:          the bare loop in C (cloop/), as an upper limit
#   set_loop:   INSERT ... SELECT of this many events at a time, with a cursor
#   all:        INSERT ... SELECT of the whole backlog, one transaction
# with the same handlers. The rate is computed from the cursors, as another session sees them. Commits are
# synchronous. pm, the DO loop and the C loop with the same handler run one after another, every other round in reverse order.

dispatch_poll() { printf 'SELECT position FROM bench.cursor WHERE name = '\''%s'\' "$1"; }

dispatch_before() {
	tell "TRUNCATE bench.effect, bench.cursor"
	tell "INSERT INTO bench.cursor VALUES ('c', 0), ('do', 0), ('set_loop', 0)"
}

dispatch_after() {
	case $1 in
	*insert* | batch* | set_loop) effects_check "dispatch $1" "$events" ;;
	instance*)
		ask "SELECT coalesce(sum((state ->> 'n')::int), 0) FROM pm.instance"
		[ "$answer" = "$events" ] || skip "WRONG: dispatch $1 has counted $answer events instead of $events"
		;;
	esac
}

dispatch_pm() {
	local batch=$1 handler=$2 setting=${3-} name=${4-}
	dispatch_before
	as_bench "SELECT pm.register('it', 'bench.$handler', ARRAY['bench.backlog'], start_at => 'end', batch_size => $batch$setting)"
	tell "SELECT pm.pause('it')"
	tell "SELECT pm.seek('it', 'bench.backlog', 0, reset => true)"
	drain "SELECT position FROM pm.cursor WHERE process_manager = 'it'" "$target" tell "SELECT pm.resume('it')"
	dispatch_after "$handler"
	tell "SELECT pm.unregister('it')"
	sample dispatch "$batch" "pm:$handler$name" rate "$rate"
}

dispatch_do() {
	local batch=$1 handler=$2
	dispatch_before
	as_bench "CALL bench.make_do_loop('do', 'bench.backlog', 'bench.$handler', $batch)"
	drain "$(dispatch_poll 'do')" "$target" start_loop 'CALL bench."do"()'
	end_loop
	dispatch_after "$handler"
	sample dispatch "$batch" "do:$handler" rate "$rate"
}

dispatch_c() {
	local batch=$1 handler=$2
	dispatch_before
	drain "$(dispatch_poll c)" "$target" start_loop "CALL bench.c_loop('bench.backlog', 'bench.$handler(pm.event)', $batch, 'c')"
	end_loop
	dispatch_after "$handler"
	sample dispatch "$batch" "c:$handler" rate "$rate"
}

dispatch_set() {
	local batch=$1
	dispatch_before
	drain "$(dispatch_poll set_loop)" "$target" start_loop "CALL bench.set_loop($batch)"
	end_loop
	dispatch_after set_loop
	sample dispatch "$batch" insert_select rate "$rate"
}

dispatch_all() {
	local began
	dispatch_before
	now_us; began=$now
	tell "INSERT INTO bench.effect (position, stream, amount)
		SELECT position, stream, (data ->> 'amount')::int FROM bench.backlog WHERE position > 0 ORDER BY position"
	now_us
	sample dispatch all insert_select rate $((events * 1000000 / (now - began)))
}

dispatch_round() {
	local run batch h
	tell VACUUM
	tell CHECKPOINT
	dispatch_all
	for batch in 100 1000; do
		for h in "${handlers[@]}"; do
			turn do pm c
			for run in "${in_turn[@]}"; do "dispatch_$run" "$batch" "$h"; done
		done
		turn instance_plpgsql journal batch_sql set batch_plpgsql
		for run in "${in_turn[@]}"; do
			case $run in
			set) dispatch_set "$batch" ;;
			journal) dispatch_pm "$batch" instance_plpgsql ", journal => true" :journal ;;
			*) dispatch_pm "$batch" "$run" ;;
			esac
		done
	done
	dispatch_pm 10000 batch_sql
	dispatch_set 10000
}

run_dispatch() {
	local events handlers target
	events=$(pick 40000 200000)
	handlers=(insert_plpgsql noop_c)
	if quick; then
		skip "dispatch: handlers noop_plpgsql noop_sql insert_sql insert_c (QUICK), and ${events} events instead of 200000"
	else
		handlers+=(noop_plpgsql noop_sql insert_sql insert_c)
	fi
	database dispatch
	as_bench "SELECT pm.create_log('bench.backlog')"
	as_bench "CALL bench.fill('bench.backlog', $events)"
	tell "VACUUM ANALYZE bench.backlog"
	ask "SELECT max(position) FROM bench.backlog"; target=$answer
	rounds "$ROUNDS" dispatch_round
}
