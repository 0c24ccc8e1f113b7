# shellcheck shell=bash
# consumers.sh: programs outside of the database that handle events, for the same task as in peers.sh: one INSERT into bench.seen
# for each event.
#
#   node         clients/node: 1000 events at a time, the INSERTs in the transaction that advances
#   python       clients/python, likewise
#   graphile     graphile-worker, tuned as in peers.sh: a transaction for each job, because it offers no other
#   pgboss       pg-boss: 1000 jobs are fetched at a time; the INSERTs, and the completion of the jobs, are one transaction; it polls
#                every 10 ms
#   emmett       Emmett's consumer, as in peers.sh: batches of 1000, each a transaction
#   pgq          PgQ as in peers.sh. Its consumer is a session in the server, not a program outside, so the bounds leave it out
#
# The server, the backlogs (100k events; graphile and pg-boss 20k, emmett 10k) and the measurements are those of peers.sh.

source "$BENCH_DIR/peers.sh"
peer_section=consumers

run_consumers() {
	local rates seconds n=$ROUNDS
	rates=$(pick 100 '100 1000')
	seconds=$(pick 2 3)
	if quick; then
		n=1
		skip "consumers: 1 round, smaller backlogs, latency at 100/s only (QUICK)"
	fi
	peers_measure node python graphile pgboss emmett pgq
}
