-- failures.sql: a handler that fails for some events, a log that has such events, and a loop that has an exception block for
-- each event.
SET ROLE bench;
CREATE TABLE bench.failed (position bigint, message text);

CREATE FUNCTION bench.failing(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF e.type = 'bad' THEN
    RAISE EXCEPTION 'a bad event';
  END IF;
  INSERT INTO bench.effect (position, stream, amount) VALUES (e.position, e.stream, (e.data ->> 'amount')::int);
END $$;

-- Every hundredth event fails, or every tenth.
CREATE PROCEDURE bench.fill_failures(log text, events int, percent int) LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format($sql$
    INSERT INTO %s (stream, type, data)
    SELECT 's' || i, CASE WHEN (i %% 100) * %s %% 100 < %s AND %s > 0 THEN 'bad' ELSE 'good' END, jsonb_build_object('amount', i)
    FROM generate_series(1, %s) i$sql$, log, percent, percent, percent, events);
END $$;

CREATE PROCEDURE bench.make_failures_loop(log text, batch int) LANGUAGE plpgsql AS $make$
BEGIN
  EXECUTE format($sql$
    CREATE OR REPLACE PROCEDURE bench.failures_loop() LANGUAGE plpgsql AS $do$
    DECLARE
      e pm.event;
      at bigint := 0;
      n int;
    BEGIN
      LOOP
        n := 0;
        FOR e IN SELECT %1$L::text, position, stream, version, type, data, metadata, recorded_at
                 FROM %1$s WHERE position > at ORDER BY position LIMIT %2$s
        LOOP
          BEGIN
            PERFORM bench.failing(e);
          EXCEPTION WHEN OTHERS THEN
            INSERT INTO bench.failed VALUES (e.position, SQLERRM);
          END;
          n := n + 1;
        END LOOP;
        EXIT WHEN n = 0;
        at := e.position;
        UPDATE bench.cursor SET position = at WHERE name = 'do';
        COMMIT;
      END LOOP;
    END $do$$sql$, log, batch);
END $make$;
