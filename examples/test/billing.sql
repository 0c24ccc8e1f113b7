-- The test of billing.sql. Run that first, in a database with pgTAP; then, as the same role:
--
--     pg_prove -d DATABASE examples/test/billing.sql
BEGIN;
SELECT plan(6);
SET LOCAL timezone = 'UTC';

CREATE TEMP VIEW issued AS
  SELECT stream AS invoice, position, recorded_at::date AS day, data -> 'amount' AS amount,
         metadata ->> 'tenant' AS tenant
    FROM billing.invoices WHERE stream LIKE 'test/%' AND type = 'issued';

-- given a contract that is signed on the last day of January
INSERT INTO billing.contracts (stream, version, type, data, metadata, recorded_at)
  VALUES ('test', 1, 'signed', '{"price": 10}', '{"tenant": "test"}', '2040-01-31 09:00');

-- when a year passes
SELECT pm.catch_up(as_of => '2041-02-01') \gset

-- then there are twelve invoices, and a customer who does not pay
SELECT results_eq(
  $$SELECT invoice, day FROM issued ORDER BY position$$,
  $$SELECT 'test/' || n, ('2040-01-31'::date + n * interval '1 month')::date FROM generate_series(1, 12) n$$,
  'twelve invoices, each at its date');
SELECT set_eq($$SELECT tenant FROM issued$$, ARRAY['test'], 'each has the tenant of the contract');
SELECT results_eq(
  $$SELECT type, recorded_at FROM pm.read_stream('billing.invoices', 'test/1')$$,
  $$VALUES ('issued', '2040-02-29 09:00'::timestamptz), ('reminded', '2040-03-14 09:00'),
           ('reminded', '2040-03-21 09:00'), ('collected', '2040-03-28 09:00')$$,
  'not paid: reminded after two and three weeks, collected after four');

-- given a payment, a new price, and the end of the contract
INSERT INTO billing.payments (stream, version, type, data, recorded_at)
  VALUES ('test', 1, 'paid', '{"invoice": "test/12", "amount": 10}', '2041-02-10');
INSERT INTO billing.contracts (stream, version, type, data, recorded_at)
  VALUES ('test', 2, 'repriced', '{"price": 12}', '2041-03-15'), ('test', 3, 'cancelled', '{}', '2041-04-10');

-- when another year passes
SELECT pm.catch_up(as_of => '2042-02-01') \gset

-- then
SELECT results_eq($$SELECT type FROM pm.read_stream('billing.invoices', 'test/12')$$,
                  ARRAY['issued'], 'paid in time: no reminder');
SELECT results_eq($$SELECT invoice, amount FROM issued ORDER BY position OFFSET 12$$,
                  $$VALUES ('test/13', '10'::jsonb), ('test/14', '12')$$,
                  'a new price from the next invoice on, and no invoice after the end');
SELECT results_eq($$SELECT invoiced, paid FROM billing.revenue WHERE month = '2041-02-01'$$,
                  $$VALUES (10::numeric, 10::numeric)$$, 'the revenue of a month');

SELECT * FROM finish();
ROLLBACK;
