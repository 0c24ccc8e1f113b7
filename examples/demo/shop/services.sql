-- The world outside: a warehouse and a bank that do what the process manager asks for, and a naive
-- consumer to compare with. Each is a procedure that runs in a session of its own until the shop
-- closes and nothing is left to do.

-- Answers every request in a log: reads with pm.read, appends the answer, one transaction each.
CREATE PROCEDURE serve(log text, answers jsonb)
LANGUAGE plpgsql AS $$
DECLARE
    last bigint := 0;
    e pm.event;
    asked bigint;
    answered bigint;
    closing boolean;
BEGIN
    LOOP
        FOR e IN SELECT * FROM pm.read(serve.log, last) LOOP
            IF answers ? e.type THEN
                PERFORM pm.append(serve.log, e.stream, answers ->> e.type, e.data);
                COMMIT;
            END IF;
            last := e.position;
        END LOOP;
        COMMIT;

        closing := EXISTS (SELECT FROM shop.closing_time WHERE who = 'services');
        EXECUTE format('SELECT count(*) FILTER (WHERE $1 ? type),
                               count(*) FILTER (WHERE type IN (SELECT value FROM jsonb_each_text($1))) FROM %I', serve.log)
            INTO asked, answered USING answers;
        COMMIT;
        EXIT WHEN closing AND asked = answered;
        PERFORM pg_sleep(0.02);
    END LOOP;
END
$$;

-- What many a consumer loop does: everything after the last position that I saw. It never comes
-- back for an event whose transaction commits after a later one's.
CREATE PROCEDURE read_naively()
LANGUAGE plpgsql AS $$
DECLARE
    last bigint[] := '{0,0,0}';
    closing boolean;
BEGIN
    LOOP
        closing := EXISTS (SELECT FROM shop.closing_time WHERE who = 'readers');
        WITH orders   AS (INSERT INTO shop.naive_seen SELECT 'orders', position FROM shop.orders
                          WHERE position > last[1] RETURNING position),
             payments AS (INSERT INTO shop.naive_seen SELECT 'payments', position FROM shop.payments
                          WHERE position > last[2] RETURNING position),
             shipping AS (INSERT INTO shop.naive_seen SELECT 'shipping', position FROM shop.shipping
                          WHERE position > last[3] RETURNING position)
        SELECT ARRAY[greatest(last[1], (SELECT max(position) FROM orders)),
                     greatest(last[2], (SELECT max(position) FROM payments)),
                     greatest(last[3], (SELECT max(position) FROM shipping))] INTO last;
        COMMIT;
        EXIT WHEN closing;
        PERFORM pg_sleep(0.01);
    END LOOP;
END
$$;
