-- The services: a warehouse and a bank that do what the process manager requests, and a naive
-- consumer for comparison.

-- Answers the requests in a log after the position "last": reads them with pm.read and appends each
-- answer in a transaction. A session of its own calls it again and again, until the shop closes and
-- nothing is left to do. The metadata of an answer names the request, as pm.append does in a
-- handler; pm.trace follows them.
CREATE PROCEDURE serve(log text, answers jsonb, INOUT last bigint, INOUT closed boolean)
LANGUAGE plpgsql AS $$
DECLARE
    e pm.event;
    asked bigint;
    answered bigint;
BEGIN
    FOR e IN SELECT * FROM pm.read(serve.log, last) LOOP
        IF answers ? e.type THEN
            PERFORM pm.append(serve.log, e.stream, answers ->> e.type, e.data, jsonb_build_object('causation',
                              jsonb_build_object('log', e.log, 'position', e.position)));
            COMMIT;
        END IF;
        last := e.position;
    END LOOP;
    COMMIT;

    closed := EXISTS (SELECT FROM shop.closing_time WHERE who = 'services');
    IF closed THEN
        EXECUTE format('SELECT count(*) FILTER (WHERE $1 ? type),
                               count(*) FILTER (WHERE type IN (SELECT value FROM jsonb_each_text($1))) FROM %I', serve.log)
            INTO asked, answered USING answers;
        closed := asked = answered;
    END IF;
END
$$;

-- What many consumers do: read everything after the last position seen. It misses an event whose
-- transaction commits after that of a later position. It runs until the shop closes.
CREATE PROCEDURE read_naively()
LANGUAGE plpgsql AS $$
DECLARE
    last bigint[] := '{0,0,0}';
    closing boolean;
BEGIN
    LOOP
        closing := EXISTS (SELECT FROM shop.closing_time WHERE who = 'readers');
        WITH orders    AS (INSERT INTO shop.naive_seen SELECT 'orders', position FROM shop.orders
                           WHERE position > last[1] RETURNING position),
             payments  AS (INSERT INTO shop.naive_seen SELECT 'payments', position FROM shop.payments
                           WHERE position > last[2] RETURNING position),
             warehouse AS (INSERT INTO shop.naive_seen SELECT 'warehouse', position FROM shop.warehouse
                           WHERE position > last[3] RETURNING position)
        SELECT ARRAY[greatest(last[1], (SELECT max(position) FROM orders)),
                     greatest(last[2], (SELECT max(position) FROM payments)),
                     greatest(last[3], (SELECT max(position) FROM warehouse))] INTO last;
        COMMIT;
        EXIT WHEN closing;
        PERFORM pg_sleep(0.01);
    END LOOP;
END
$$;
