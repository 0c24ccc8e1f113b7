-- Appends the file's events from several sessions at once. Each stream belongs to one session, so its
-- events keep the order of the file; the order of events of different streams is left to chance. A
-- transaction appends one event or more. Some commit late, and one in ten is rolled back and repeated.
-- Half of the streams are written with pm.append, the other half with plain INSERTs.
CREATE PROCEDURE replay.run(session int, sessions int)
LANGUAGE plpgsql AS $$
DECLARE
    lines bigint[];
    i int := 1;
    begun int := 1;
    r record;
BEGIN
    PERFORM setseed(session::float8 / sessions);
    lines := ARRAY(SELECT line FROM replay.file
                   WHERE abs(hashtext(log || '/' || stream) % sessions) = session
                   ORDER BY line);

    WHILE i <= cardinality(lines) LOOP
        SELECT c.log, f.stream, f.version, f.type, coalesce(f.data, '{}') AS data,
               jsonb_build_object('line', f.line, 'occurred_at', f.occurred_at) AS metadata
        INTO r
        FROM replay.file f JOIN replay.context c ON c.in_file = f.log
        WHERE f.line = lines[i];

        IF hashtext(r.stream) % 2 = 0 THEN
            PERFORM pm.append(r.log, r.stream, r.type, r.data, r.metadata);
        ELSE
            EXECUTE format('INSERT INTO logs.%I (stream, version, type, data, metadata) VALUES ($1, $2, $3, $4, $5)', r.log)
                USING r.stream, r.version, r.type, r.data, r.metadata;
        END IF;
        i := i + 1;

        IF random() < 0.3 OR i > cardinality(lines) THEN
            PERFORM pg_sleep(random() * 0.05) WHERE random() < 0.2;
            IF random() < 0.1 THEN
                ROLLBACK;
                i := begun;
            ELSE
                COMMIT;
                begun := i;
            END IF;
        END IF;
    END LOOP;
END
$$;
