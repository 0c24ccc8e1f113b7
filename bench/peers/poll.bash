# shellcheck shell=bash
# A client that polls: poll.c.
poll_missing() { [ -x "$BENCH_WORK/poll" ] || poll_build || echo "poll.c cannot be compiled (see poll.log)"; }
poll_build() {
	gcc -O2 -Wall -I"$("$PG_CONFIG" --includedir)" -o "$BENCH_WORK/poll" "$BENCH_DIR/peers/poll.c" \
		-L"$("$PG_CONFIG" --libdir)" -lpq >"$BENCH_WORK/poll.log" 2>&1
}
poll_size() { pick 10000 50000; }
poll_setup() {
	tell "CALL bench.create_bare('bench.sent')"
	tell "INSERT INTO bench.cursor VALUES ('poll', 0)"
}
poll_fill() { tell "CALL bench.fill('bench.sent', $1)"; }
poll_start() {
	export PGDATABASE=$database_name
	peer_run "$BENCH_WORK/poll"
}
poll_stop() { :; }
poll_send() { pm_send; }
