# shellcheck shell=bash
# append.sh: the cost of writing events.
#
# pgbench with prepared statements, one statement in each transaction, for one second each. Cases with a bound run twice in each
# round, the second time in the opposite order. The operations:
#   insert    plain INSERT of one event without a version
#   version   an INSERT with stream and version, for streams of ten events; it fills the same indexes as the next two
#   append    pm.append without expected version
#   expected  pm.append with the expected version
#   rows100   an INSERT of 100 rows
#   copy      COPY of 1000 rows from a file
# The targets:
#   bare      a table with the same columns and indexes, without pm
#   log       a log without followers
#   paused-N  a log with N paused followers: the cost for the writer itself
#   follow-N  a log with N running followers, with an empty handler in C, which share the processors with the writers.
#             lag: how many events the last of them was behind when the writers stopped
#   reader    the bare table with the bare reader of cloop/ and the same handler: the cost of any follower for the writers
# With 1, 4 and 16 clients (case: async-4 and so on). With 4 there are all combinations, otherwise not all with 10 followers. Each run
# gets a new table. The rate is in events per second.

append_scripts() {
	local dir=$BENCH_WORK/append note data i
	note=$(printf 'x%.0s' {1..100})
	data="'placed', '{\"amount\": 17, \"note\": \"$note\"}'"
	mkdir -p "$dir"
	cat >"$dir/insert.sql" <<-SQL
	\set n random(1, 1000)
	INSERT INTO bench.t (stream, type, data) VALUES ('stream-' || :n, $data);
	SQL
	# Streams of ten events for each client; v is the version of the next event.
	local next='\set v (:v % 10) + 1
\set s case when :v = 1 then :s + 1 else :s end' stream="'stream-' || :client_id || '-' || :s"
	printf '%s\n' "$next" "INSERT INTO bench.t (stream, version, type, data) VALUES ($stream, :v, $data);" >"$dir/version.sql"
	printf '%s\n' "$next" "SELECT pm.append('bench.t', $stream, $data);" >"$dir/append.sql"
	printf '%s\n' "$next" "SELECT pm.append('bench.t', $stream, $data, expected_version => :v - 1);" >"$dir/expected.sql"
	echo "INSERT INTO bench.t (stream, type, data) SELECT 'stream-' || i, $data FROM generate_series(1, 100) i;" >"$dir/rows100.sql"
	for ((i = 1; i <= 1000; i++)); do printf 'stream-%s\tplaced\t{"amount": 17, "note": "%s"}\n' "$i" "$note"; done >"$dir/copy.data"
	echo "COPY bench.t (stream, type, data) FROM '$dir/copy.data';" >"$dir/copy.sql"
}

append_target() {
	local n=${1##*-}
	case $1 in
	bare | reader) as_bench "CALL bench.create_bare('bench.t')" ;;
	*) as_bench "SELECT pm.create_log('bench.t')" ;;
	esac
	case $1 in
	reader) reader_start bench.t bench.noop_c ;;
	paused-* | follow-*)
		as_bench "SELECT pm.register('f' || i, 'bench.noop_c', ARRAY['bench.t']) FROM generate_series(1, $n) i"
		[[ $1 != paused-* ]] || tell "SELECT pm.pause(name) FROM pm.process_manager"
		;;
	esac
}

append_target_gone() {
	case $1 in
	bare) ;;
	reader) reader_stop ;;
	*)
		tell "SELECT pm.unregister(name) FROM pm.process_manager"
		tell "SELECT pm.drop_log('bench.t')"
		;;
	esac
	tell "DROP TABLE bench.t"
}

# append_run COMMIT CLIENTS OPERATION TARGET
append_run() {
	local commit=$1 clients=$2 op=$3 target=$4 rows=1 tps out case
	case=$([ "$commit" = on ] && echo sync || echo async)-$clients
	case $op in rows100) rows=100 ;; copy) rows=1000 ;; esac
	append_target "$target"
	out=$(PGOPTIONS="-c synchronous_commit=$commit" pgbench -U bench -n -M prepared -c "$clients" -j 2 -T 1 \
		-D v=0 -D s=0 -f "$BENCH_WORK/append/$op.sql" "$database_name" 2>"$BENCH_WORK/pgbench.err") ||
		{ cat "$BENCH_WORK/pgbench.err" >&2; die "pgbench failed: $op into $target"; }
	tps=$(sed -n 's/^tps = \([0-9.]*\).*/\1/p' <<<"$out")
	sample append "$case" "$op:$target" rate "$(awk -v t="$tps" -v r="$rows" 'BEGIN { printf "%.1f", t * r }')"
	case $target in
	follow-*) ask "SELECT max(pm.high_water_mark(log) - position) FROM pm.cursor" ;;
	reader) ask "SELECT (SELECT max(position) FROM bench.t) - position FROM bench.cursor WHERE name = 'reader'" ;;
	*) answer= ;;
	esac
	[ -z "$answer" ] || sample append "$case" "$op:$target" lag "$answer"
	append_target_gone "$target"
}

append_round() {
	local commit clients run runs
	tell CHECKPOINT
	for commit in $commits; do
		for clients in $client_counts; do
			runs=(insert:{bare,log,follow-1,follow-10} version:bare {expected,append}:{log,follow-1} {rows100,copy}:{bare,log,follow-1})
			if quick; then
				runs=(insert:{bare,paused-1,follow-1,reader} version:bare expected:log)
			elif [ "$clients" = 4 ]; then
				runs=(insert:{bare,log,paused-1,follow-1,reader,paused-10,follow-10} version:bare
					{expected,append}:{log,follow-1,follow-10} {rows100,copy}:{bare,log,follow-1,follow-10})
				# Cases with a bound run twice, in opposite orders.
				[ "$commit" = on ] || runs=(insert:{follow-1,paused-1,log,bare} expected:log version:bare "${runs[@]}")
			fi
			turn "${runs[@]}"
			for run in "${in_turn[@]}"; do append_run "$commit" "$clients" "${run%%:*}" "${run#*:}"; done
		done
	done
}

run_append() {
	local commits='off on' client_counts='1 4 16'
	if quick; then
		commits=off client_counts=4
		skip "append: synchronous commits, 1 and 16 clients, 10 followers, 100 rows, COPY (QUICK)"
	fi
	database append
	append_scripts
	rounds "$ROUNDS" append_round
}
