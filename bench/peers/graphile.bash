# shellcheck shell=bash
# graphile-worker, from npm: a job for each event. It does not guarantee the order; effects happen at
# least once.
graphile_missing() { cat "$BENCH_WORK/npm/graphile.missing" 2>/dev/null || true; }
graphile_size() { pick 2000 20000; }
graphile_node() { (cd "$BENCH_WORK/npm/graphile" && exec node "$BENCH_WORK/npm/graphile/graphile.cjs" "$@"); }
graphile_setup() {
	cp "$BENCH_DIR/peers/graphile.cjs" "$BENCH_WORK/npm/graphile/"
	PGDATABASE=$database_name graphile_node migrate
}
graphile_fill() {
	tell "SELECT count(graphile_worker.add_job('see', json_build_object('position', i, 'amount', i % 100, 'note', repeat('x', 100)))) FROM generate_series(1, $1) i"
}
graphile_start() {
	export PGDATABASE=$database_name
	peer_run node "$BENCH_WORK/npm/graphile/graphile.cjs" "$1"
}
graphile_stop() { :; }
graphile_send() {
	echo "SELECT graphile_worker.add_job('see', json_build_object('position', :n::int, 'sent_at', clock_timestamp()));"
}
