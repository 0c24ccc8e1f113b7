# shellcheck shell=bash
# A PL/pgSQL loop that polls, in a session on the server.
by_hand_missing() { :; }
by_hand_size() { pick 20000 100000; }
by_hand_setup() {
	tell "CALL bench.create_bare('bench.sent')"
	tell "INSERT INTO bench.cursor VALUES ('by_hand', 0)"
	psql_do "$database_name" <<-'SQL'
	CREATE FUNCTION bench.see(e bench.sent) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
	  INSERT INTO bench.seen (position, sent_at) VALUES (e.position, (e.data ->> 'sent_at')::timestamptz);
	END $$;
	CREATE PROCEDURE bench.by_hand() LANGUAGE plpgsql AS $$
	DECLARE
	  e bench.sent;
	  at bigint := (SELECT position FROM bench.cursor WHERE name = 'by_hand');
	  n int;
	BEGIN
	  LOOP
	    n := 0;
	    FOR e IN SELECT * FROM bench.sent WHERE position > at ORDER BY position LIMIT 1000 LOOP
	      PERFORM bench.see(e);
	      n := n + 1;
	    END LOOP;
	    IF n > 0 THEN
	      at := e.position;
	      UPDATE bench.cursor SET position = at WHERE name = 'by_hand';
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
by_hand_fill() { tell "CALL bench.fill('bench.sent', $1)"; }
by_hand_start() { peer_loop "CALL bench.by_hand()"; }
by_hand_stop() { :; }
by_hand_send() { pm_send; }
