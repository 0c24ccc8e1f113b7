-- The process managers of the shop, and their registration.

-- Which order an event belongs to: the key of the instance. A payment is a stream of its own and
-- names its order; in the other logs the order is the stream. The function depends only on the event.
-- IMMUTABLE allows pm to compute the keys of a whole batch first, and to read their instances at once.
CREATE FUNCTION order_of(e pm.event) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(e.data ->> 'order', e.stream)
$$;

-- The number of pieces. It does not expect "2 pcs", which is what one order says; see fix.sql.
CREATE FUNCTION quantity_of(e pm.event) RETURNS int
LANGUAGE sql AS $$
    SELECT (e.data ->> 'quantity')::int
$$;

-- order-fulfilment: one instance for each order. "o" is what is known about the order so far, or NULL
-- if the order is not known or has ended. The handler returns what is known from now on.
--
-- Within one log events come in order; events of different logs may come in any order. A payment can
-- come before its order. Notes, commands, timers and the new position of the cursor commit together.
CREATE FUNCTION fulfil_order(e pm.event, o jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    id text := shop.order_of(e);
BEGIN
    INSERT INTO shop.handled (order_id, type, log, position) VALUES (id, e.type, e.log, e.position);

    CASE e.type
    WHEN 'order placed' THEN
        PERFORM pm.append('warehouse', id, 'reservation requested',
                          jsonb_build_object('quantity', shop.quantity_of(e)));
        IF o ? 'paid' THEN
            PERFORM pm.cancel_timer('order missing');
        ELSE
            -- Two seconds more, for a payment whose transaction is still open at the deadline.
            PERFORM pm.set_timer('payment overdue',
                                 e.recorded_at + (e.data ->> 'pay_within')::interval + '2 s');
        END IF;
        o := coalesce(o, '{}') || '{"placed": true}';

    WHEN 'payment received' THEN
        IF o ? 'placed' THEN
            PERFORM pm.cancel_timer('payment overdue');
        ELSE
            PERFORM pm.set_timer('order missing',
                                 e.recorded_at + (e.data ->> 'valid_for')::interval + '2 s');
        END IF;
        o := coalesce(o, '{}') || jsonb_build_object('paid', e.data, 'payment', e.stream);

    WHEN 'stock reserved' THEN
        o := o || '{"reserved": true}';         -- NULL stays NULL: cancelled meanwhile

    WHEN 'parcel sent' THEN
        PERFORM pm.append('orders', id, 'order shipped');
        RETURN pm.done();

    WHEN 'payment overdue' THEN                 -- a timer
        PERFORM pm.append('orders', id, 'order cancelled');
        PERFORM pm.append('warehouse', id, 'release requested');
        RETURN pm.done();

    WHEN 'order missing' THEN                   -- a timer: no such order, or it was cancelled
        PERFORM pm.append('payments', o ->> 'payment', 'refund requested', o -> 'paid');
        RETURN pm.done();
    END CASE;

    IF o ?& '{placed,paid,reserved}' THEN
        PERFORM pm.append('warehouse', id, 'shipment requested');
    END IF;
    RETURN o;
END
$$;

SELECT pm.register('order-fulfilment', 'shop.fulfil_order', '{orders,payments,warehouse}',
                   correlate => 'shop.order_of',
                   types => '{order placed,payment received,stock reserved,parcel sent}',
                   max_attempts => 3, backoff => '0.5 s');

-- turnover, called with an array of events, which it processes as a set.
CREATE FUNCTION keep_books(events pm.event[]) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO shop.turnover AS t (account, entries, amount)
    SELECT e.type, count(*), sum((e.data ->> 'amount')::numeric)
    FROM unnest(events) AS e
    GROUP BY e.type
    ON CONFLICT (account) DO UPDATE SET
        entries = t.entries + excluded.entries,
        amount  = t.amount  + excluded.amount
$$;

SELECT pm.register('turnover', 'shop.keep_books', '{orders,payments}',
                   types => '{order placed,payment received,payment refunded}');
