# shellcheck shell=bash
# PgQ from Debian: postgresql-NN-pgq3 and pgqd.
pgq_missing() {
	[ -e "$(pg_config --sharedir 2>/dev/null || "$PG_CONFIG" --sharedir)/extension/pgq.control" ] || echo "there is no package postgresql-pgq3 for this server"
	command -v pgqd >/dev/null || echo "there is no pgqd"
}
pgq_size() { pick 20000 100000; }
pgq_setup() {
	tell "CREATE EXTENSION pgq"
	tell "SELECT pgq.create_queue('q')"
	tell "SELECT pgq.set_queue_config('q', 'ticker_max_lag', '0'), pgq.set_queue_config('q', 'ticker_max_count', '1'),
		pgq.set_queue_config('q', 'ticker_idle_period', '1 s')"
	tell "SELECT pgq.register_consumer('q', 'c')"
	psql_do "$database_name" <<-'SQL'
	CREATE FUNCTION bench.see(id bigint, data text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
	  INSERT INTO bench.seen (position, sent_at) VALUES (id, (data::jsonb ->> 'sent_at')::timestamptz);
	END $$;
	CREATE PROCEDURE bench.consume(sets boolean) LANGUAGE plpgsql AS $$
	DECLARE
	  b bigint;
	  e record;
	BEGIN
	  LOOP
	    b := pgq.next_batch('q', 'c');
	    IF b IS NULL THEN
	      COMMIT;
	      PERFORM pg_sleep(0.01);
	      COMMIT;
	      CONTINUE;
	    END IF;
	    IF sets THEN
	      INSERT INTO bench.seen (position, sent_at)
	      SELECT ev_id, (ev_data::jsonb ->> 'sent_at')::timestamptz FROM pgq.get_batch_events(b);
	    ELSE
	      FOR e IN SELECT ev_id, ev_data FROM pgq.get_batch_events(b) LOOP
	        PERFORM bench.see(e.ev_id, e.ev_data);
	      END LOOP;
	    END IF;
	    PERFORM pgq.finish_batch(b);
	    COMMIT;
	  END LOOP;
	END $$;
	CREATE PROCEDURE bench.fill_pgq(n int) LANGUAGE plpgsql AS $$
	BEGIN
	  FOR i IN 0 .. (n - 1) / 1000 LOOP
	    PERFORM pgq.insert_event('q', 'placed', jsonb_build_object('amount', j % 100, 'note', repeat('x', 100))::text)
	    FROM generate_series(i * 1000 + 1, least((i + 1) * 1000, n)) j;
	    COMMIT;
	    PERFORM pgq.ticker('q');
	    COMMIT;
	  END LOOP;
	END $$;
	SQL
	cat >"$BENCH_WORK/pgqd.ini" <<-INI
	[pgqd]
	base_connstr = host=$PGHOST user=postgres
	initial_database = $database_name
	database_list = $database_name
	ticker_period = 0.01
	syslog = 0
	logfile = $BENCH_WORK/pgqd.log
	pidfile = $BENCH_WORK/pgqd.pid
	INI
}
pgq_fill() { tell "CALL bench.fill_pgq($1)"; }
pgq_start() {
	[ "$1" != latency ] || peer_run pgqd -q "$BENCH_WORK/pgqd.ini"
	peer_loop "CALL bench.consume('$1' = 'sets')"
}
pgq_stop() { :; }
pgq_send() {
	echo "SELECT pgq.insert_event('q', 'placed', jsonb_build_object('amount', 17, 'sent_at', clock_timestamp())::text);"
}
