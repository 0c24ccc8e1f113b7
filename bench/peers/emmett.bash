# shellcheck shell=bash
# Emmett's event store on PostgreSQL, from npm, with its consumer.
emmett_missing() { cat "$BENCH_WORK/npm/emmett.missing" 2>/dev/null || true; }
emmett_size() { pick 2000 10000; }
emmett_url() { printf 'postgresql://postgres@localhost/%s?host=%s' "$database_name" "$PGHOST"; }
emmett_setup() {
	cp "$BENCH_DIR/peers/emmett.mjs" "$BENCH_WORK/npm/emmett/"
	(cd "$BENCH_WORK/npm/emmett" && node emmett.mjs migrate "$(emmett_url)")
}
# Each consumer starts at the beginning, so earlier events are deleted.
emmett_fill() {
	tell "TRUNCATE emt_messages, emt_streams"
	tell "SELECT count(*) FROM generate_series(1, $1 / 20) s, LATERAL
		(SELECT a.* FROM (SELECT array_agg(gen_random_uuid()::text) ids, array_agg(jsonb_build_object('amount', i, 'note', repeat('x', 100))) datas,
			array_agg('{}'::jsonb) metas, array_agg('1'::text) versions, array_agg('placed'::text) types, array_agg('E'::text) kinds
			FROM generate_series(1, 20) i) x,
			emt_append_to_stream(ids, datas, metas, versions, types, kinds, 'stream-' || s || gen_random_uuid(), 'stream', NULL, 'emt:default') a) y"
}
emmett_start() {
	[ "$1" = drain ] || tell "TRUNCATE emt_messages, emt_streams"
	peer_run node "$BENCH_WORK/npm/emmett/emmett.mjs" "$1" "$(emmett_url)"
}
emmett_stop() { :; }
# pgbench would take :default for a variable.
emmett_send() {
	echo "SELECT * FROM emt_append_to_stream(ARRAY[gen_random_uuid()::text], ARRAY[jsonb_build_object('amount', 17, 'sent_at', clock_timestamp())], ARRAY['{}'::jsonb], ARRAY['1'::text], ARRAY['placed'::text], ARRAY['E'::text], 'stream-' || gen_random_uuid(), 'stream', NULL, 'emt' || chr(58) || 'default');"
}
