# shellcheck shell=bash
# The clients of pm: consumers in Node.js and Python, 1000 events at a time, one INSERT for each event in the transaction that
# advances. The database is that of pm itself, with a process manager that has no handler.
client_setup() {
	psql_do "$database_name" -f "$BENCH_DIR/sql/setup.sql"
	as_bench "SELECT pm.create_log('bench.sent')"
	as_bench "SELECT pm.register('see', NULL, ARRAY['bench.sent'])"
}
client_run() { PGDATABASE=$database_name PGUSER=bench peer_run "$@"; }

node_missing() {
	command -v node >/dev/null || echo "there is no node"
	[ ! -e "$BENCH_DIR/../clients/node/.npm-failed" ] || head -n 1 "$BENCH_DIR/../clients/node/.npm-failed"
}
node_size() { pick 20000 100000; }
node_setup() {
	client_setup
	cp "$BENCH_DIR/peers/client.mjs" "$BENCH_DIR/../clients/node/bench.mjs"
}
node_fill() { as_bench "CALL bench.fill('bench.sent', $1)"; }
node_start() { client_run node "$BENCH_DIR/../clients/node/bench.mjs"; }
node_stop() { :; }
node_send() { pm_send; }

python_missing() {
	[ -d "$BENCH_DIR/../clients/python" ] || echo "there is no client for Python"
	python3 -c 'import psycopg' 2>/dev/null || echo "there is no psycopg"
}
python_size() { node_size; }
python_setup() { client_setup; }
python_fill() { node_fill "$1"; }
python_start() { client_run env "PYTHONPATH=$BENCH_DIR/../clients/python" python3 "$BENCH_DIR/peers/client.py"; }
python_stop() { :; }
python_send() { pm_send; }
