# shellcheck shell=bash
# pm itself, as one of the peers.
pm_missing() { :; }
pm_size() { pick 20000 100000; }
pm_setup() {
	psql_do "$database_name" -f "$BENCH_DIR/sql/setup.sql" -f "$BENCH_DIR/sql/handlers.sql"
	as_bench "SELECT pm.create_log('bench.sent')"
	pm_register bench.see
	tell "SELECT pm.pause('see')"
}
pm_register() { as_bench "SELECT pm.register('see', '$1', ARRAY['bench.sent'], batch_size => 1000)"; }
pm_fill() { as_bench "CALL bench.fill('bench.sent', $1)"; }
pm_start() {
	if [ "$1" = sets ]; then pm_register bench.see_batch; else pm_register bench.see; fi
	tell "SELECT pm.resume('see')"
}
pm_stop() { tell "SELECT pm.pause('see')"; }
pm_send() {
	echo "INSERT INTO bench.sent (stream, type, data) VALUES ('stream-' || :n, 'placed', jsonb_build_object('amount', 17, 'sent_at', clock_timestamp()));"
}
