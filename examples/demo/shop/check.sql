-- Checks, from the raw logs and with none of the handler's logic, that everything came out right.
-- Prints one line a check, which starts with "ok" or "FAILED".

CREATE TEMP VIEW events AS
    SELECT 'orders' AS log, position, stream, type, data FROM orders
    UNION ALL
    SELECT 'payments', position, stream, type, data FROM payments
    UNION ALL
    SELECT 'shipping', position, stream, type, data FROM shipping;

-- What each order's events amount to, whatever the order they came in.
CREATE TEMP VIEW facts AS
    SELECT stream AS order_id,
           count(*) FILTER (WHERE type = 'order placed')       AS placed,
           count(*) FILTER (WHERE type = 'order cancelled')    AS cancelled,
           count(*) FILTER (WHERE type = 'payment received')   AS paid,
           count(*) FILTER (WHERE type = 'shipment requested') AS shipment_requested,
           count(*) FILTER (WHERE type = 'shipment recalled')  AS shipment_recalled,
           count(*) FILTER (WHERE type = 'refund requested')   AS refund_requested,
           count(*) FILTER (WHERE type = 'parcel sent')        AS sent,
           count(*) FILTER (WHERE type = 'parcel returned')    AS returned,
           count(*) FILTER (WHERE type = 'payment refunded')   AS refunded,
           sum((data ->> 'amount')::numeric) FILTER (WHERE type = 'payment received') AS amount_paid,
           sum((data ->> 'amount')::numeric) FILTER (WHERE type = 'payment refunded') AS amount_refunded
    FROM events
    GROUP BY stream;

CREATE TEMP VIEW due AS
    SELECT *, CASE
                  WHEN cancelled > 0 AND paid > 0 THEN 'refunded'
                  WHEN cancelled > 0 THEN 'cancelled'
                  WHEN paid > 0 THEN 'fulfilled'
                  ELSE 'unpaid'
              END AS outcome
    FROM facts;

CREATE TEMP TABLE checks (n int GENERATED ALWAYS AS IDENTITY, what text, wrong bigint, detail text);

-- 1. The simulator did what its seed says.
INSERT INTO checks (what, wrong, detail)
SELECT 'the logs hold what the seed plans', count(*) FILTER (WHERE NOT right_), format('%s orders, different %s',
       count(*) FILTER (WHERE d.order_id IS NOT NULL), count(*) FILTER (WHERE NOT right_))
FROM (SELECT * FROM plan WHERE outcome <> 'lost') p FULL JOIN due d USING (order_id),
     LATERAL (SELECT p.outcome IS NOT DISTINCT FROM d.outcome AND d.placed = 1) AS r(right_);

-- 2. Every event handled, once, in the order of its log.
INSERT INTO checks (what, wrong, detail)
SELECT 'each event handled exactly once', missing + twice + unknown + disordered,
       format('%s events, missing %s, twice %s, unknown %s, out of order %s', total, missing, twice, unknown, disordered)
FROM (SELECT count(*) FROM events) AS a(total),
     (SELECT count(*) FROM (SELECT log, position FROM events EXCEPT SELECT log, position FROM handled) x) AS b(missing),
     (SELECT count(*) - count(DISTINCT (log, position)) FROM handled) AS c(twice),
     (SELECT count(*) FROM (SELECT log, position FROM handled EXCEPT SELECT log, position FROM events) x) AS d(unknown),
     (SELECT count(*) FROM (SELECT position < lag(position) OVER (PARTITION BY log ORDER BY call) AS back
                            FROM handled) x WHERE back) AS e(disordered);

-- 3. Every order came to what its events say.
INSERT INTO checks (what, wrong, detail)
SELECT 'each order came to what its events say', wrong, format('%s, wrong %s', outcomes, wrong)
FROM (SELECT count(*) FROM due d FULL JOIN order_progress p USING (order_id)
      WHERE p.state IS DISTINCT FROM d.outcome) AS a(wrong),
     (SELECT string_agg(format('%s %s', n, outcome), ', ' ORDER BY n DESC)
      FROM (SELECT outcome, count(*) AS n FROM due GROUP BY outcome) x) AS b(outcomes);

-- 4. Every command that an order needs was given once, and no other. Whether the parcel of a
--    cancelled and paid order was asked for is a matter of who came first; if so, it came back.
INSERT INTO checks (what, wrong, detail)
SELECT 'each command given exactly once', count(*) FILTER (WHERE NOT right_),
       format('%s shipments (%s recalled), %s refunds, wrong %s', sum(shipment_requested), sum(shipment_recalled),
              sum(refund_requested), count(*) FILTER (WHERE NOT right_))
FROM due,
     LATERAL (SELECT (shipment_requested = 1 OR (shipment_requested = 0 AND outcome <> 'fulfilled'))
                 AND (shipment_requested = 0 OR outcome IN ('fulfilled', 'refunded'))
                 AND shipment_recalled = CASE WHEN outcome = 'refunded' THEN shipment_requested ELSE 0 END
                 AND refund_requested  = CASE WHEN outcome = 'refunded' THEN 1 ELSE 0 END
                 AND sent = shipment_requested AND returned = shipment_recalled AND refunded = refund_requested
                 AND (refunded = 0 OR amount_refunded = amount_paid)) AS r(right_);

-- 5. The other process manager's books agree with the logs.
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
