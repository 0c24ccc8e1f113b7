-- Checks the result by SQL over the raw logs, without the code of the handlers.
-- Prints a line for each check, which begins with "ok" or "FAILED".

CREATE TEMP TABLE events AS
    SELECT *, coalesce(data ->> 'order', stream) AS order_id,
           metadata #>> '{causation,log}' AS cause_log, (metadata #>> '{causation,position}')::bigint AS cause_position
    FROM (SELECT 'orders' AS log, * FROM orders
          UNION ALL SELECT 'payments', * FROM payments
          UNION ALL SELECT 'warehouse', * FROM warehouse) x;
CREATE INDEX ON events (cause_log, cause_position);
ANALYZE events;

-- The result of each order, computed from its events in any sequence.
CREATE TEMP TABLE facts AS
    SELECT *, CASE WHEN cancelled = 0 THEN 'shipped' WHEN paid = 0 THEN 'cancelled' ELSE 'cancelled and refunded' END AS outcome
    FROM (SELECT order_id,
                 count(*) FILTER (WHERE type = 'order placed')          AS placed,
                 count(*) FILTER (WHERE type = 'order shipped')         AS shipped,
                 count(*) FILTER (WHERE type = 'order cancelled')       AS cancelled,
                 count(*) FILTER (WHERE type = 'payment received')      AS paid,
                 count(*) FILTER (WHERE type = 'refund requested')      AS refund_requested,
                 count(*) FILTER (WHERE type = 'payment refunded')      AS refunded,
                 count(*) FILTER (WHERE type = 'reservation requested') AS reservation_requested,
                 count(*) FILTER (WHERE type = 'stock reserved')        AS reserved,
                 count(*) FILTER (WHERE type = 'release requested')     AS release_requested,
                 count(*) FILTER (WHERE type = 'stock released')        AS released,
                 count(*) FILTER (WHERE type = 'shipment requested')    AS shipment_requested,
                 count(*) FILTER (WHERE type = 'parcel sent')           AS sent,
                 sum((data ->> 'amount')::numeric) FILTER (WHERE type = 'payment received') AS amount_paid,
                 sum((data ->> 'amount')::numeric) FILTER (WHERE type = 'payment refunded') AS amount_refunded,
                 min(recorded_at) FILTER (WHERE type = 'payment received') AS paid_at,
                 min(recorded_at + (data ->> 'valid_for')::interval) FILTER (WHERE type = 'payment received') AS valid_until,
                 min(recorded_at) FILTER (WHERE type = 'order placed') AS placed_at,
                 min(recorded_at + (data ->> 'pay_within')::interval) FILTER (WHERE type = 'order placed') AS deadline
          FROM events
          GROUP BY order_id) x;

-- The order that the handler could not process at first.
CREATE TEMP TABLE poisoned AS
    SELECT order_id, position, recorded_at FROM events
    WHERE type = 'order placed' AND jsonb_typeof(data -> 'quantity') <> 'number';

-- The events that order-fulfilment handles.
CREATE TEMP VIEW taken AS
    SELECT log, position FROM events
    WHERE type = ANY ((SELECT types FROM pm.process_manager WHERE name = 'order-fulfilment')::text[]);

CREATE TEMP TABLE checks (n int GENERATED ALWAYS AS IDENTITY, what text, wrong bigint, detail text);

-- 1. Every event that it follows was handled once, in the order of its log. The poisoned order
--    is left out; check 7 is about it.
INSERT INTO checks (what, wrong, detail)
SELECT 'each event handled exactly once', missing + twice + unknown + disordered,
       format('%s events, missing %s, twice %s, unknown %s, out of order %s', total, missing, twice, unknown, disordered)
FROM (SELECT count(*) FROM taken) AS a(total),
     (SELECT count(*) FROM (TABLE taken EXCEPT SELECT log, position FROM handled) x) AS b(missing),
     (SELECT count(*) - count(DISTINCT (log, position)) FROM handled WHERE log IS NOT NULL) AS c(twice),
     (SELECT count(*) FROM (SELECT log, position FROM handled WHERE log IS NOT NULL EXCEPT TABLE taken) x) AS d(unknown),
     (SELECT count(*) FROM (SELECT position < lag(position) OVER (PARTITION BY log ORDER BY call) AS back
                            FROM handled WHERE log IS NOT NULL AND order_id NOT IN (SELECT order_id FROM poisoned)) x
      WHERE back) AS e(disordered);

-- 2. Every order ended once, in one of two ways.
INSERT INTO checks (what, wrong, detail)
SELECT 'each order ended exactly once', count(*) FILTER (WHERE placed <> 1 OR shipped + cancelled <> 1),
       format('%s orders: %s shipped, %s cancelled, neither %s, both or twice %s', count(*), sum(shipped), sum(cancelled),
              count(*) FILTER (WHERE shipped + cancelled = 0), count(*) FILTER (WHERE shipped + cancelled > 1))
FROM facts;

-- 3. The deadline: no order that was paid in time was cancelled, and none that was not paid was shipped. (On a slow machine
--    a payment can come so long before its order that it is no longer valid when the order is placed.)
INSERT INTO checks (what, wrong, detail)
SELECT 'cancelled: only orders not paid in time',
       count(*) FILTER (WHERE cancelled > 0 AND in_time OR shipped > 0 AND paid = 0),
       format('%s cancelled: never paid %s, paid too late or too early %s, paid in time %s; shipped without payment %s',
              count(*) FILTER (WHERE cancelled > 0), count(*) FILTER (WHERE cancelled > 0 AND paid = 0),
              count(*) FILTER (WHERE cancelled > 0 AND NOT in_time), count(*) FILTER (WHERE cancelled > 0 AND in_time),
              count(*) FILTER (WHERE shipped > 0 AND paid = 0))
FROM facts, LATERAL (SELECT paid_at <= deadline AND valid_until >= placed_at) AS t(in_time);

-- 4. Every command that an order needs was given and answered once, and no other; each timer fired once.
INSERT INTO checks (what, wrong, detail)
SELECT 'each command given exactly once', count(*) FILTER (WHERE NOT right_),
       format('%s reservations (%s released), %s shipments, %s refunds, wrong %s', sum(reservation_requested),
              sum(release_requested), sum(shipment_requested), sum(refund_requested), count(*) FILTER (WHERE NOT right_))
FROM facts,
     LATERAL (SELECT reservation_requested = 1 AND reserved = 1
                 AND release_requested = cancelled AND released = cancelled
                 AND shipment_requested = shipped AND sent = shipped
                 AND refund_requested = CASE WHEN cancelled > 0 THEN paid ELSE 0 END AND refunded = refund_requested
                 AND (refunded = 0 OR amount_refunded = amount_paid)) AS r(right_);

INSERT INTO checks (what, wrong, detail)
SELECT 'each timer came exactly once', count(*) FILTER (WHERE overdue <> cancelled OR missing <> refund_requested),
       format('%s payments overdue, %s without an order, wrong %s', sum(overdue), sum(missing),
              count(*) FILTER (WHERE overdue <> cancelled OR missing <> refund_requested))
FROM (SELECT f.cancelled, f.refund_requested, count(*) FILTER (WHERE h.type = 'payment overdue') AS overdue,
             count(*) FILTER (WHERE h.type = 'order missing') AS missing
      FROM facts f LEFT JOIN handled h ON h.order_id = f.order_id AND h.log IS NULL
      GROUP BY f.order_id, f.cancelled, f.refund_requested) x;

-- 5. Each appended event names its cause. That has the same order and the right type, and an earlier position if it is in the same log.
INSERT INTO checks (what, wrong, detail)
SELECT 'each command names its cause', count(*) FILTER (WHERE NOT coalesce(right_, false)),
       format('%s commands and ends, wrong %s', count(*), count(*) FILTER (WHERE NOT coalesce(right_, false)))
FROM (VALUES ('reservation requested', '{order placed}'::text[]), ('shipment requested', '{stock reserved,payment received}'),
             ('order shipped', '{parcel sent}'), ('order cancelled', '{order placed}'), ('release requested', '{order placed}'),
             ('refund requested', '{payment received}')) AS may(type, causes)
JOIN events e USING (type)
LEFT JOIN events c ON c.log = e.cause_log AND c.position = e.cause_position,
     LATERAL (SELECT c.order_id = e.order_id AND c.type = ANY (causes) AND (c.log <> e.log OR c.position < e.position)) AS r(right_);

-- 6. pm.trace finds the same, from the first event of the poisoned order and of one order of each result.
INSERT INTO checks (what, wrong, detail)
WITH RECURSIVE root AS (
    (SELECT DISTINCT ON (f.outcome) e.position FROM facts f JOIN events e USING (order_id)
     WHERE e.type = 'order placed' ORDER BY f.outcome, e.position)
    UNION SELECT position FROM poisoned
), tree AS (
    SELECT position AS root, 'orders' AS log, position, 0 AS depth FROM root
    UNION ALL
    SELECT t.root, e.log, e.position, t.depth + 1
    FROM tree t JOIN events e ON e.cause_log = t.log AND e.cause_position = t.position
), trace AS (
    SELECT r.position AS root, t.event_log AS log, t.position, t.depth FROM root r, pm.trace('orders', r.position) t
)
SELECT 'pm.trace tells what came of an order', wrong, format('%s orders, %s events, different %s', roots, traced, wrong)
FROM (SELECT count(*) FROM root) AS a(roots), (SELECT count(*) FROM trace) AS b(traced),
     (SELECT count(*) FROM ((TABLE tree EXCEPT TABLE trace) UNION ALL (TABLE trace EXCEPT TABLE tree)) x) AS c(wrong);

-- 7. The poisoned order failed, the others continued, and its parked events were handled later, in
-- order.
INSERT INTO checks (what, wrong, detail)
SELECT 'the poisoned order was handled in order', count(*) FILTER (WHERE NOT right_) + (count(*) = 0)::int,
       string_agg(format('%s failed %s times while %s events of others were handled; then %s', order_id, errors, others, types), '; ')
FROM poisoned p,
     LATERAL (SELECT max(errors) FROM pm.status WHERE process_manager = 'order-fulfilment') AS s(errors),
     LATERAL (SELECT min(at), count(*) FROM was_parked w WHERE w.order_id = p.order_id AND log IS NOT NULL) AS w(seen_at, parked),
     LATERAL (SELECT string_agg(type, ', ' ORDER BY call), min(at), count(n), bool_and(forward) IS NOT FALSE
              FROM (SELECT h.*, n, n > lag(n) OVER (ORDER BY call) AS forward
                    FROM handled h LEFT JOIN was_parked USING (log, position)
                    WHERE h.order_id = p.order_id AND h.at > seen_at) x) AS h(types, at, handled, in_order),
     LATERAL (SELECT log = 'orders' AND position = p.position FROM handled f
              WHERE f.order_id = p.order_id AND f.at = h.at) AS f(head_first),
     LATERAL (SELECT count(*) FROM handled o WHERE o.order_id <> p.order_id AND o.at BETWEEN p.recorded_at AND h.at) AS o(others),
     LATERAL (SELECT errors > 0 AND parked > 0 AND handled = parked AND in_order AND head_first
                 AND (others > 0 OR (SELECT count(*) FROM facts) = 1)) AS r(right_);

-- 8. Nothing is left.
INSERT INTO checks (what, wrong, detail)
SELECT 'nothing is left', instances + timers + parked, format('%s instances, %s timers, %s parked', instances, timers, parked)
FROM (SELECT count(*) FROM pm.instance) AS i(instances), (SELECT count(*) FROM pm.timer) AS t(timers),
     (SELECT count(*) FROM pm.parked) AS p(parked);

-- 9. The table of the other process manager agrees with the logs.
INSERT INTO checks (what, wrong, detail)
SELECT 'the books of turnover agree with the logs', count(*) FILTER (WHERE t IS DISTINCT FROM e),
       string_agg(format('%s %s', account, t.amount), ', ' ORDER BY account)
FROM turnover t
FULL JOIN (SELECT type AS account, count(*) AS entries, sum((data ->> 'amount')::numeric) AS amount
           FROM events WHERE type IN ('order placed', 'payment received', 'payment refunded')
           GROUP BY type) e USING (account);

SELECT format('  %s  %s: %s', CASE wrong WHEN 0 THEN 'ok    ' ELSE 'FAILED' END, what, detail) FROM checks ORDER BY n;

SELECT format('  (A naive cursor, "position > the last one I saw", read the same logs beside them and lost %s events of %s.)', lost, total)
FROM (SELECT count(*) FROM (SELECT log, position FROM events EXCEPT SELECT log, position FROM naive_seen) x) AS a(lost),
     (SELECT count(*) FROM events) AS b(total);
