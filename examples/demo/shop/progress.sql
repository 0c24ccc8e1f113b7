-- One line of progress: events in the logs, handled, lag, the instances of order-fulfilment, and the results of the orders.
SELECT format('%7s %8s %5s   %9s %6s %6s   %7s %9s',
              (SELECT count(*) FROM orders) + (SELECT count(*) FROM payments) + (SELECT count(*) FROM warehouse),
              (SELECT sum(handled) FROM pm.status WHERE process_manager = 'order-fulfilment'),
              (SELECT sum(lag) FROM pm.status WHERE process_manager = 'order-fulfilment'),
              (SELECT count(*) FROM pm.instance), (SELECT count(*) FROM pm.timer), (SELECT count(*) FROM pm.parked),
              (SELECT count(*) FROM orders WHERE type = 'order shipped'),
              (SELECT count(*) FROM orders WHERE type = 'order cancelled'));
