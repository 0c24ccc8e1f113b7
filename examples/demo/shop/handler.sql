-- The process managers of the shop, and their registration.

-- order-fulfilment, called once for each event of the three logs.
--
-- Inside one log events come in order; across logs they may come in any. A payment can be here
-- before its order, a cancellation after the parcel has left. So the function notes what the event
-- says, and then asks for whatever follows from all that is known by now and was not asked for yet.
-- The note, the commands and the move of the cursor commit together or not at all.
CREATE FUNCTION fulfil_order(e pm.event) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    o shop.order_progress;
BEGIN
    INSERT INTO shop.handled (log, position) VALUES (e.log, e.position);

    INSERT INTO shop.order_progress AS p (order_id, amount, placed, paid, cancelled, sent, returned, refunded)
    VALUES (e.stream,
            CASE WHEN e.type = 'payment received' THEN (e.data ->> 'amount')::numeric END,
            e.type = 'order placed',
            e.type = 'payment received',
            e.type = 'order cancelled',
            e.type = 'parcel sent',
            e.type = 'parcel returned',
            e.type = 'payment refunded')
    ON CONFLICT (order_id) DO UPDATE SET
        amount    = coalesce(excluded.amount, p.amount),
        placed    = p.placed    OR excluded.placed,
        paid      = p.paid      OR excluded.paid,
        cancelled = p.cancelled OR excluded.cancelled,
        sent      = p.sent      OR excluded.sent,
        returned  = p.returned  OR excluded.returned,
        refunded  = p.refunded  OR excluded.refunded
    RETURNING * INTO o;

    IF o.placed AND o.paid AND NOT o.cancelled AND NOT o.shipment_requested THEN
        PERFORM pm.append('shipping', o.order_id, 'shipment requested');
        UPDATE shop.order_progress SET shipment_requested = true WHERE order_id = o.order_id;
    END IF;

    IF o.cancelled AND o.shipment_requested AND NOT o.shipment_recalled THEN
        PERFORM pm.append('shipping', o.order_id, 'shipment recalled');
        UPDATE shop.order_progress SET shipment_recalled = true WHERE order_id = o.order_id;
    END IF;

    IF o.cancelled AND o.paid AND NOT o.refund_requested THEN
        PERFORM pm.append('payments', o.order_id, 'refund requested', jsonb_build_object('amount', o.amount));
        UPDATE shop.order_progress SET refund_requested = true WHERE order_id = o.order_id;
    END IF;
END
$$;

-- turnover, called with a batch of events at a time: set-based work.
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

SELECT pm.register('order-fulfilment', 'shop.fulfil_order(pm.event)', '{orders,payments,shipping}');

SELECT pm.register('turnover', 'shop.keep_books(pm.event[])', '{orders,payments}',
                   types => '{order placed,payment received,payment refunded}');
