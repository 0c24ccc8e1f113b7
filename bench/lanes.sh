# shellcheck shell=bash
# lanes.sh: one process manager with one lane and with two lanes, a backlog, batches of 100.
#
#   compute   a handler that only computes, for some tenths of a millisecond
#   insert    one INSERT in PL/pgSQL: the commits of the lanes wait for the same disk
# case: the handler; variant: the number of lanes. Reading the cursors uses a little processor time, too.

lanes_round() {
	local l h events
	for h in compute insert_plpgsql; do
		events=$([ $h = compute ] && echo "$slow" || echo "$fast")
		turn 1 2
		for l in "${in_turn[@]}"; do
			tell "TRUNCATE bench.effect"
			as_bench "SELECT pm.register('it', 'bench.$h', ARRAY['bench.log'], start_at => 'end', lanes => $l)"
			tell "SELECT pm.pause('it')"
			tell "SELECT pm.seek('it', 'bench.log', $((fast - events)))"
			drain "SELECT (sum(least(position, $fast) - $((fast - events))) / $l)::bigint FROM pm.cursor" "$events" tell "SELECT pm.resume('it')"
			effects_check "lanes $l" $([ $h = compute ] && echo 0 || echo "$events")
			sample lanes "${h%_*}" "$l" rate "$rate"
			tell "SELECT pm.unregister('it')"
		done
	done
}

run_lanes() {
	local slow fast
	slow=$(pick 2000 20000) fast=$(pick 40000 200000)
	database lanes
	as_bench "SELECT pm.create_log('bench.log')"
	if ! psql -XAtq -U bench -d "$database_name" -c "BEGIN; SELECT pm.register('it', 'bench.compute', ARRAY['bench.log'], lanes => 2); ROLLBACK" >/dev/null 2>&1; then
		skip "lanes: this version takes no more than one"
		return
	fi
	as_bench "CALL bench.fill('bench.log', $fast)"
	tell "VACUUM ANALYZE bench.log"
	rounds "$ROUNDS" lanes_round
}
