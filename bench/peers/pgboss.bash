# shellcheck shell=bash
# pg-boss, from npm: a job for each event, fetched and completed 1000 at a time. It does not guarantee the order.
pgboss_missing() { cat "$BENCH_WORK/npm/pgboss.missing" 2>/dev/null || true; }
pgboss_size() { pick 2000 20000; }
pgboss_node() { (cd "$BENCH_WORK/npm/pgboss" && exec node pgboss.cjs "$@"); }
pgboss_setup() {
	cp "$BENCH_DIR/peers/pgboss.cjs" "$BENCH_WORK/npm/pgboss/"
	PGDATABASE=$database_name pgboss_node migrate
}
pgboss_fill() {
	tell "INSERT INTO pgboss.job (name, data) SELECT 'see', jsonb_build_object('position', i, 'amount', i % 100, 'note', repeat('x', 100)) FROM generate_series(1, $1) i"
}
pgboss_start() {
	[ "$1" = drain ] || tell "DELETE FROM pgboss.job"
	export PGDATABASE=$database_name
	peer_run env -C "$BENCH_WORK/npm/pgboss" node pgboss.cjs "$1"
}
pgboss_stop() { :; }
pgboss_send() {
	echo "INSERT INTO pgboss.job (name, data) VALUES ('see', jsonb_build_object('position', :n::int, 'sent_at', clock_timestamp()));"
}
