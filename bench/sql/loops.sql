-- loops.sql: what a session does without pm: it reads a batch in the order of the positions, calls the handler
-- for each event, moves a cursor and commits. In PL/pgSQL, and in C (bench/cloop). These loops have no high-water
-- mark, so with concurrent writers they would lose events. They do not handle failures, and nothing restarts them.
RESET ROLE;
CREATE PROCEDURE bench.c_loop(log text, handler regprocedure, batch int, name text) LANGUAGE c
AS 'pm_bench_cloop', 'bench_c_loop';

-- The same for new events: a background worker on a table whose writers wake it. Only one at a time in the cluster.
CREATE FUNCTION bench.wake() RETURNS trigger LANGUAGE c AS 'pm_bench_cloop', 'bench_wake';
CREATE FUNCTION bench.start_reader(log text, handler regprocedure, batch int, name text) RETURNS int LANGUAGE c
AS 'pm_bench_cloop', 'bench_start_reader';
CREATE PROCEDURE bench.stop_reader() LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE backend_type = 'bench reader';
END $$;

SET ROLE bench;
-- EXECUTE would plan each call again, so the loop is generated for its log and handler.
CREATE PROCEDURE bench.make_do_loop(name text, log text, handler text, batch int) LANGUAGE plpgsql AS $make$
BEGIN
  EXECUTE format($sql$
    CREATE OR REPLACE PROCEDURE bench.%1$I() LANGUAGE plpgsql AS $do$
    DECLARE
      e pm.event;
      at bigint := (SELECT position FROM bench.cursor WHERE name = %1$L);
      n int;
    BEGIN
      LOOP
        n := 0;
        FOR e IN SELECT %2$L::text, position, stream, version, type, data, metadata, recorded_at
                 FROM %2$s WHERE position > at ORDER BY position LIMIT %4$s
        LOOP
          PERFORM %3$s(e);
          n := n + 1;
        END LOOP;
        EXIT WHEN n = 0;
        at := e.position;
        UPDATE bench.cursor SET position = at WHERE name = %1$L;
        COMMIT;
      END LOOP;
    END $do$$sql$, name, log, handler, batch);
END $make$;

-- Whole sets: INSERT ... SELECT of this number of events, and the cursor.
CREATE PROCEDURE bench.set_loop(batch int) LANGUAGE plpgsql AS $$
DECLARE
  at bigint := (SELECT position FROM bench.cursor WHERE name = 'set_loop');
  up_to bigint;
BEGIN
  LOOP
    SELECT max(position) INTO up_to FROM (SELECT position FROM bench.backlog WHERE position > at ORDER BY position LIMIT batch) b;
    EXIT WHEN up_to IS NULL;
    INSERT INTO bench.effect (position, stream, amount)
    SELECT position, stream, (data ->> 'amount')::int FROM bench.backlog WHERE position > at AND position <= up_to ORDER BY position;
    UPDATE bench.cursor SET position = up_to WHERE name = 'set_loop';
    COMMIT;
    at := up_to;
  END LOOP;
END $$;
