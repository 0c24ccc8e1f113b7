# shellcheck shell=bash
# message-db, from npm, with a consumer like that of its clients, but inside the server.
message_db_missing() { cat "$BENCH_WORK/npm/message_db.missing" 2>/dev/null || true; }
message_db_size() { pick 20000 100000; }
message_db_setup() {
	(cd "$BENCH_WORK/npm/message_db/node_modules/@eventide/message-db/database" &&
		DATABASE_NAME=$database_name CREATE_DATABASE=off PGDATABASE=$database_name bash ./install.sh) || return 1
	tell "ALTER DATABASE $database_name SET search_path = message_store, public"
	tell "INSERT INTO bench.cursor VALUES ('message_db', 1)"
	psql_do "$database_name" <<-'SQL'
	CREATE FUNCTION bench.see(m message_store.message) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
	  INSERT INTO bench.seen (position, sent_at) VALUES (m.global_position, (m.data::jsonb ->> 'sent_at')::timestamptz);
	END $$;
	CREATE PROCEDURE bench.consume(sets boolean) LANGUAGE plpgsql AS $$
	DECLARE
	  m message_store.message;
	  at bigint := (SELECT position FROM bench.cursor WHERE name = 'message_db');
	  last bigint;
	  n int;
	BEGIN
	  LOOP
	    n := 0;
	    IF sets THEN
	      WITH s AS (
	        INSERT INTO bench.seen (position, sent_at)
	        SELECT global_position, (data::jsonb ->> 'sent_at')::timestamptz
	        FROM message_store.get_category_messages('stream', at, 1000) RETURNING position)
	      SELECT max(position), count(*) INTO last, n FROM s;
	    ELSE
	      FOR m IN SELECT * FROM message_store.get_category_messages('stream', at, 1000) LOOP
	        PERFORM bench.see(m);
	        last := m.global_position;
	        n := n + 1;
	      END LOOP;
	    END IF;
	    IF n > 0 THEN
	      at := last + 1;
	      UPDATE bench.cursor SET position = at WHERE name = 'message_db';
	    END IF;
	    COMMIT;
	    IF n = 0 THEN
	      PERFORM pg_sleep(0.01);
	      COMMIT;
	    END IF;
	  END LOOP;
	END $$;
	SQL
}
# Does the same as write_message, but in one statement.
message_db_fill() {
	tell "INSERT INTO message_store.messages (id, stream_name, position, type, data)
		SELECT gen_random_uuid(), 'stream-' || gen_random_uuid(), 0, 'placed', jsonb_build_object('amount', i % 100, 'note', repeat('x', 100))
		FROM generate_series(1, $1) i"
}
message_db_start() { peer_loop "CALL bench.consume('$1' = 'sets')"; }
message_db_stop() { :; }
message_db_send() {
	echo "SELECT write_message(gen_random_uuid()::varchar, 'stream-' || gen_random_uuid(), 'placed', jsonb_build_object('amount', 17, 'sent_at', clock_timestamp()));"
}
