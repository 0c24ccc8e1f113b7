# shellcheck shell=bash
# growth_many.sh: how far one server goes: very many logs and process managers, and many roles that share few places.
#
#   many N      N logs, one process manager that follows all of them, and others that follow one log each; all of one role
#     p50 p95 p99      from insert to effect in ms, 50 events/s in all, each in a random log
#     idle_cpu         CPU time of all of pm's workers when nothing happens, in % of a processor
#     status_cold, stat_cold, blocker_cold     pm.status, pm.stat and pm.blocker, all rows and columns, in the first session that
#                      reads them, ms
#     status_first, stat_first, blocker_first     the same in a session that has just connected, median of five, ms
#     status, stat, blocker     the same again in that session, median of five, ms
#     restart          from the first INSERT that the restarted server accepts to its effect, ms
#   roles N     N roles with a process manager and a log each, on 4 places
#     p50 p95 p99      from insert to effect in ms, 10 events/s in all

source "$BENCH_DIR/idle.sh"

# growth_many_times SQL: the time of the statement in each of six new sessions, and again in the same session, in ms: sets $cold
# to the first time in the first session, and $first and $again to the medians of the others.
growth_many_times() {
	local out i
	out=$(for i in 0 1 2 3 4 5; do
		psql_do "$database_name" -c '\timing on' -c "$1" -c "$1" | awk '/^Time:/ { printf "%s ", $2 } END { print "" }'
	done)
	cold=$(head -n 1 <<<"$out" | cut -d ' ' -f 1)
	first=$(tail -n 5 <<<"$out" | cut -d ' ' -f 1 | sort -g | sed -n 3p)
	again=$(tail -n 5 <<<"$out" | cut -d ' ' -f 2 | sort -g | sed -n 3p)
}

# growth_many_latency CASE VARIANT RATE SECONDS SCRIPT
growth_many_latency() {
	local sent client_ms effect_ms lost p
	latency_user=postgres latency_followed "$3" "$4" "$5" 60 || die "nobody handles the events of $1 $2"
	[ "$lost" = 0 ] || skip "WRONG: growth $1 $2: $lost effects of $sent have not come"
	read -ra p <<<"$effect_ms"
	sample growth "$1" "$2" p50 "${p[0]}"
	sample growth "$1" "$2" p95 "${p[1]}"
	sample growth "$1" "$2" p99 "${p[2]}"
}

growth_many_idle() {
	local cpu_ns switches before
	nap 3
	idle_look; before=$cpu_ns
	nap 4
	idle_look
	sample growth many "$1" idle_cpu "$(awk -v ns=$((cpu_ns - before)) 'BEGIN { printf "%.2f", ns / 4e7 }')"
}

growth_many_views() {
	local view cold first again
	for view in status stat blocker; do
		# The whole row, so that all columns are computed.
		growth_many_times "SELECT count(v::text) FROM pm.$view v"
		sample growth many "$1" "${view}_cold" "$cold"
		sample growth many "$1" "${view}_first" "$first"
		sample growth many "$1" "$view" "$again"
	done
}

growth_many_restart() {
	local tries
	tell "TRUNCATE bench.seen"
	tell CHECKPOINT
	session_close
	pg_ctl -D "$BENCH_WORK/data" -l "$BENCH_WORK/server.log" -m fast -s -w restart || die "the server does not start again"
	session_open "$database_name"
	tell "SELECT pm.append('bench.log_' || $1 / 2, 's', 'placed', jsonb_build_object('amount', 17, 'sent_at', clock_timestamp()))"
	for ((tries = 0; tries < 600; tries++)); do
		ask "SELECT count(*) FROM bench.seen"
		[ "$answer" = 0 ] || break
		nap 0.1
	done
	ask "SELECT round(extract(epoch FROM pg_xact_commit_timestamp(xmin) - sent_at) * 1000) FROM bench.seen"
	sample growth many "$1" restart "${answer:-nan}"
}

growth_many_case() {
	local logs=$1 managers=$2 i
	database growth
	for ((i = 1; i <= logs; i += 100)); do
		as_bench "SELECT count(pm.create_log('bench.log_' || i)) FROM generate_series($i, least($i + 99, $logs)) i"
	done
	say "   $logs logs: until $SECONDS s"
	as_bench "SELECT pm.register('all', 'bench.see', array_agg('bench.log_' || i)) FROM generate_series(1, $logs) i"
	for ((i = 1; i <= managers; i += 100)); do
		as_bench "SELECT count(pm.register('m' || i, 'bench.noop_plpgsql', ARRAY['bench.log_' || 1 + i % $logs]))
			FROM generate_series($i, least($i + 99, $managers)) i"
	done
	tell "VACUUM ANALYZE"
	say "   $managers process managers: until $SECONDS s"
	cat >"$BENCH_WORK/many.sql" <<-SQL
	\set l random(1, $logs)
	SELECT pm.append('bench.log_' || :l, 's', 'placed', jsonb_build_object('amount', 17, 'sent_at', clock_timestamp()));
	SQL
	growth_many_latency many "$logs" 50 "$(pick 1 10)" "$BENCH_WORK/many.sql"
	growth_many_idle "$logs"
	growth_many_views "$logs"
	growth_many_restart "$logs"
}

growth_many() {
	local logs managers
	managers=$(pick 20 2000)
	ROUND=1
	for logs in ${PM_BENCH_LOGS:-$(pick 100 '1000 5000 20000')}; do growth_many_case "$logs" "$managers"; done
}

# ---- roles ----

growth_roles() {
	local roles started
	roles=$(pick 20 200)
	database growth
	tell "GRANT USAGE ON SCHEMA bench TO PUBLIC; GRANT INSERT ON bench.seen TO PUBLIC"
	tell "DO \$\$ DECLARE r text; BEGIN FOR i IN 1 .. $roles LOOP
		r := 'bench_' || i;
		EXECUTE format('CREATE ROLE %1\$I LOGIN; GRANT USAGE ON SCHEMA pm TO %1\$I; CREATE SCHEMA AUTHORIZATION %1\$I; SET ROLE %1\$I;
			CREATE FUNCTION %1\$I.see(e pm.event) RETURNS void LANGUAGE plpgsql AS
				''BEGIN INSERT INTO bench.seen (position, sent_at) VALUES (e.position, (e.data ->> ''''sent_at'''')::timestamptz); END''', r);
		PERFORM pm.create_log(r || '.log'), pm.register(r, r || '.see', ARRAY[r || '.log']);
		RESET ROLE;
		END LOOP; END \$\$"
	cat >"$BENCH_WORK/roles.sql" <<-SQL
	\set r random(1, $roles)
	SELECT pm.append('bench_' || :r || '.log', 's', 'placed', jsonb_build_object('sent_at', clock_timestamp()));
	SQL
	ROUND=1
	nap 5
	growth_many_latency roles "$roles" 10 "$(pick 4 30)" "$BENCH_WORK/roles.sql"
	# Roles belong to the whole server.
	tell "SELECT count(pm.unregister(name)) FROM pm.process_manager"
	session_close
	dropdb --force "$database_name"
	export PGDATABASE=postgres
	psql_do postgres -c "DO \$\$ BEGIN FOR i IN 1 .. $roles LOOP EXECUTE 'DROP ROLE bench_' || i; END LOOP; END \$\$"
	database_name=
}
