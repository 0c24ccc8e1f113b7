-- The test of projection.sql. Run that first, in a database with pgTAP; then, as the same role:
--
--     pg_prove -d DATABASE examples/test/projection.sql
BEGIN;
SELECT plan(3);

-- given two orders
SELECT pm.append('shelf.orders', 'test-' || n, 'placed',
                 '{"customer": "test", "lines": [{"product": "test", "quantity": 3, "price": 5}]}')
  FROM generate_series(1, 2) n \g /dev/null

-- when one of them is canceled
SELECT pm.append('shelf.orders', 'test-1', 'cancelled') \gset
SELECT pm.catch_up('shelf') \gset

-- then
SELECT results_eq($$SELECT order_id, status FROM shelf.order_list WHERE customer = 'test' ORDER BY order_id$$,
                  $$VALUES ('test-1', 'cancelled'), ('test-2', 'placed')$$, 'the orders of a customer');
SELECT results_eq($$SELECT sold, revenue FROM shelf.sales WHERE product = 'test'$$,
                  $$VALUES (3::bigint, 15::numeric)$$, 'what is canceled is not sold');

-- when the tables are rebuilt, then they are the same
CREATE TEMP TABLE before AS SELECT * FROM shelf.sales;
SELECT pm.seek('shelf', 'shelf.orders', 0, reset => true) \gset
DELETE FROM shelf.order_list;
DELETE FROM shelf.sales;
SELECT pm.catch_up('shelf') \gset
SELECT set_eq('SELECT * FROM shelf.sales', 'SELECT * FROM before', 'rebuilt, the table is the same');

SELECT * FROM finish();
ROLLBACK;
