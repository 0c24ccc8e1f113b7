# shellcheck shell=bash
# failures.sh: a backlog in which some events always fail, batches of 100.
#
#   pm:  a process manager with max_attempts => 1: each failing event is dead at once
#   do:  a loop in PL/pgSQL that has an exception block for each event, and records which ones failed
# case: how many of 100 events fail; variant: pm or do. The handler is one INSERT in PL/pgSQL, after the check that fails.

failures_reset() { # PERCENT
	tell "TRUNCATE bench.effect, bench.cursor, bench.failed"
	tell "INSERT INTO bench.cursor VALUES ('do', 0)"
}

failures_after() { # WHAT PERCENT
	effects_check "failures $1 $2" $((events - events * $2 / 100))
}

failures_pm() {
	local percent=$1
	failures_reset
	as_bench "SELECT pm.register('it', 'bench.failing', ARRAY['bench.failures_$percent'], start_at => 'end', max_attempts => 1, park_limit => $events)"
	tell "SELECT pm.pause('it')"
	tell "SELECT pm.seek('it', 'bench.failures_$percent', 0, reset => true)"
	drain "SELECT position FROM pm.cursor WHERE process_manager = 'it'" "$events" tell "SELECT pm.resume('it')"
	failures_after pm "$percent"
	ask "SELECT count(*) FROM pm.parked WHERE state = 'dead'"
	[ "$answer" = $((events * percent / 100)) ] || skip "WRONG: failures pm $percent: $answer events are dead"
	tell "SELECT pm.unregister('it')"
	sample failures "$percent" pm rate "$rate"
}

failures_do() {
	local percent=$1
	failures_reset
	as_bench "CALL bench.make_failures_loop('bench.failures_$percent', 100)"
	drain "SELECT position FROM bench.cursor WHERE name = 'do'" "$events" start_loop 'CALL bench.failures_loop()'
	end_loop
	failures_after do "$percent"
	sample failures "$percent" do rate "$rate"
}

failures_round() {
	local percent run
	for percent in 0 1 10; do
		turn pm do
		for run in "${in_turn[@]}"; do "failures_$run" "$percent"; done
	done
}

run_failures() {
	local events percent
	events=40000
	database failures
	psql_do "$database_name" -f "$BENCH_DIR/sql/failures.sql"
	for percent in 0 1 10; do
		as_bench "SELECT pm.create_log('bench.failures_$percent')"
		as_bench "CALL bench.fill_failures('bench.failures_$percent', $events, $percent)"
		tell "VACUUM ANALYZE bench.failures_$percent"
	done
	rounds "$ROUNDS" failures_round
}
