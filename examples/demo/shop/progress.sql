-- One line of progress: events in the logs, handled, lag a log, and how far the orders are.
SELECT format('%7s %8s   %6s %8s %8s   %9s %9s %8s', coalesce(sum(e.n), 0), coalesce(sum(s.handled), 0),
              max(s.lag) FILTER (WHERE s.log = 'orders'), max(s.lag) FILTER (WHERE s.log = 'payments'),
              max(s.lag) FILTER (WHERE s.log = 'shipping'),
              (SELECT count(*) FROM order_progress WHERE state = 'fulfilled'),
              (SELECT count(*) FROM order_progress WHERE state = 'cancelled'),
              (SELECT count(*) FROM order_progress WHERE state = 'refunded'))
FROM pm.status s
JOIN (SELECT 'orders', count(*) FROM orders UNION ALL SELECT 'payments', count(*) FROM payments
      UNION ALL SELECT 'shipping', count(*) FROM shipping) AS e(log, n) USING (log)
WHERE s.process_manager = 'order-fulfilment';
