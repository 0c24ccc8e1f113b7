# shellcheck shell=bash
# append.sh: what it costs to write events.
#
# pgbench, prepared statements, a transaction a statement, for a few seconds each:
#   insert    plain INSERT of one event without a version
#   version   an INSERT with stream and version, streams of ten events: fills the same indexes as
#   append    pm.append without expected version, and
#   expected  pm.append with the expected version
#   rows100   an INSERT of 100 rows
#   copy      COPY of 1000 rows from a file
# into
#   bare      a table with the same columns and indexes, without pm
#   log       a log that nobody follows
#   paused-N  a log with N followers that are paused: what the writer itself pays
#   follow-N  a log with N followers that run, with a no-op handler in C: they and the writers share the processors
# Each run gets a table of its own, freshly made. The rate is in events a second.

append_scripts() {
	local dir=$BENCH_WORK/append note
	note=$(printf 'x%.0s' {1..100})
	mkdir -p "$dir"
	cat >"$dir/insert.sql" <<-SQL
	\set n random(1, 1000)
	INSERT INTO bench.t (stream, type, data) VALUES ('stream-' || :n, 'placed', '{"amount": 17, "note": "$note"}');
	SQL
	# Streams of ten events for each client; v is the version of the next event.
	local next='\set v (:v % 10) + 1
\set s case when :v = 1 then :s + 1 else :s end'
	{ echo "$next"; echo "INSERT INTO bench.t (stream, version, type, data) VALUES ('stream-' || :client_id || '-' || :s, :v, 'placed', '{\"amount\": 17, \"note\": \"$note\"}');"; } >"$dir/version.sql"
	{ echo "$next"; echo "SELECT pm.append('bench.t', 'stream-' || :client_id || '-' || :s, 'placed', '{\"amount\": 17, \"note\": \"$note\"}');"; } >"$dir/append.sql"
	{ echo "$next"; echo "SELECT pm.append('bench.t', 'stream-' || :client_id || '-' || :s, 'placed', '{\"amount\": 17, \"note\": \"$note\"}', expected_version => :v - 1);"; } >"$dir/expected.sql"
	echo "INSERT INTO bench.t (stream, type, data) SELECT 'stream-' || i, 'placed', '{\"amount\": 17, \"note\": \"$note\"}' FROM generate_series(1, 100) i;" >"$dir/rows100.sql"
	for ((i = 1; i <= 1000; i++)); do printf 'stream-%s\tplaced\t{"amount": 17, "note": "%s"}\n' "$i" "$note"; done >"$dir/copy.data"
	echo "COPY bench.t (stream, type, data) FROM '$dir/copy.data';" >"$dir/copy.sql"
}

append_target() {
	local i n=${1##*-}
	if [ "$1" = bare ]; then
		as_bench "CALL bench.create_bare('bench.t')"
		return
	fi
	as_bench "SELECT pm.create_log('bench.t')"
	[[ $1 != log ]] || return 0
	for ((i = 1; i <= n; i++)); do
		as_bench "SELECT pm.register('f$i', 'bench.noop_c', ARRAY['bench.t'])"
		[[ $1 != paused-* ]] || tell "SELECT pm.pause('f$i')"
	done
}

append_target_gone() {
	tell "SELECT pm.unregister(name) FROM pm.process_manager"
	[ "$1" = bare ] || tell "SELECT pm.drop_log('bench.t')"
	tell "DROP TABLE bench.t"
}

# append_run COMMIT CLIENTS OPERATION TARGET
append_run() {
	local commit=$1 clients=$2 op=$3 target=$4 rows=1 tps out
	case $op in rows100) rows=100 ;; copy) rows=1000 ;; esac
	append_target "$target"
	out=$(PGOPTIONS="-c synchronous_commit=$commit" pgbench -U bench -n -M prepared -c "$clients" -j 2 -T "$seconds" \
		-D v=0 -D s=0 -f "$BENCH_WORK/append/$op.sql" "$database_name" 2>"$BENCH_WORK/pgbench.err") ||
		{ cat "$BENCH_WORK/pgbench.err" >&2; die "pgbench failed: $op into $target"; }
	tps=$(sed -n 's/^tps = \([0-9.]*\).*/\1/p' <<<"$out")
	sample append "$([ "$commit" = on ] && echo sync || echo async)-$clients" "$op:$target" rate \
		"$(awk -v t="$tps" -v r="$rows" 'BEGIN { printf "%.1f", t * r }')"
	append_target_gone "$target"
}

append_round() {
	local commit clients t
	tell CHECKPOINT
	for commit in $commits; do
		for clients in $client_counts; do
			for t in bare $followed; do append_run "$commit" "$clients" insert "$t"; done
			append_run "$commit" "$clients" version bare
			for t in $appended; do
				append_run "$commit" "$clients" append "$t"
				append_run "$commit" "$clients" expected "$t"
			done
			[[ " $bulk_counts " == *" $clients "* ]] || continue
			for t in bare $bulk; do
				append_run "$commit" "$clients" rows100 "$t"
				append_run "$commit" "$clients" copy "$t"
			done
		done
	done
}

run_append() {
	local commits='off on' client_counts='1 4 16' bulk_counts='1 4' seconds=2 i n
	local followed='log paused-1 paused-10 follow-1 follow-10' appended='log paused-1 follow-1 follow-10' bulk='log follow-1 follow-10'
	if quick; then
		commits=off client_counts=4 bulk_counts='' seconds=1 followed='log paused-1' appended='log'
		n=$((ROUNDS < 2 ? ROUNDS : 2))
		skip "append: synchronous commits, 1 and 16 clients, running and 10 followers, 100 rows, COPY (QUICK); $n rounds of 1 s"
	else
		n=$ROUNDS
		skip "append: 100 rows and COPY with 16 clients (the disk would be all that is measured)"
	fi
	database append
	append_scripts
	rounds "$n" append_round
}
