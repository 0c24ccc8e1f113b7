-- projection: a read model. Two tables are computed from the events of orders, and again when their
-- definition changes.
--
--     psql -f examples/projection.sql
--
-- in a database with pm, as a role that may create schemas in it. It creates the schema "shelf";
-- run it again to start over. Things to notice:
--
--   * The handler gets an array of events and runs a few statements for all of them, so an event
--     costs a fraction of a call.
--   * The tables commit together with the cursor. Each event counts once, without a table of those
--     that have been seen.
--   * To rebuild the tables, empty them and set the cursor back. Readers see the old content until
--     the commit.
--   * A client that has placed an order can wait until the tables have it: pm.wait_for.
\set ON_ERROR_STOP on
\o /dev/null
SET client_min_messages = warning;
SELECT EXISTS (SELECT FROM pm.process_manager WHERE name = 'shelf') AS again \gset

BEGIN;
\if :again
SELECT pm.unregister('shelf');
DROP SCHEMA shelf CASCADE;
\endif
CREATE SCHEMA shelf;
SELECT pm.create_log('shelf.orders');       -- placed, delivered, cancelled; each order is a stream

-- The read model. Give others SELECT on these tables; only the owner of the process manager
-- needs to write to them.
CREATE TABLE shelf.order_list (
  order_id text PRIMARY KEY, customer text, status text, lines jsonb, changed_at timestamptz);
CREATE INDEX ON shelf.order_list (customer, changed_at);
CREATE TABLE shelf.sales (product text PRIMARY KEY, sold bigint NOT NULL, revenue numeric NOT NULL);

CREATE FUNCTION shelf.amount(line jsonb) RETURNS numeric LANGUAGE sql IMMUTABLE
RETURN (line -> 'quantity')::numeric * (line -> 'price')::numeric;

-- The statements of an SQL function see what the ones before have done.
CREATE FUNCTION shelf.project(events pm.event[]) RETURNS void LANGUAGE sql AS $$
  INSERT INTO shelf.order_list
  SELECT stream, data ->> 'customer', type, data -> 'lines', recorded_at
    FROM unnest(events) WHERE type = 'placed';

  UPDATE shelf.order_list o SET status = e.type, changed_at = e.recorded_at
    FROM (SELECT DISTINCT ON (stream) * FROM unnest(events) ORDER BY stream, version DESC) e
   WHERE o.order_id = e.stream AND e.type <> 'placed';

  -- What is placed counts as sold; what is canceled does not count after all.
  INSERT INTO shelf.sales AS s
  SELECT line ->> 'product', sum(sign * (line -> 'quantity')::bigint), sum(sign * shelf.amount(line))
    FROM (SELECT stream, CASE type WHEN 'placed' THEN 1 ELSE -1 END
            FROM unnest(events) WHERE type IN ('placed', 'cancelled')) e(order_id, sign)
    JOIN shelf.order_list USING (order_id), jsonb_array_elements(lines) line
   GROUP BY 1 ORDER BY 1
  ON CONFLICT (product) DO UPDATE SET sold = s.sold + excluded.sold, revenue = s.revenue + excluded.revenue;
$$;

SELECT pm.register('shelf', 'shelf.project', ARRAY['shelf.orders'], batch_size => 1000);
COMMIT;

-- ---- what happens -------------------------------------------------------------------------------

SELECT pm.append('shelf.orders', 'o-1', 'placed', '{"customer": "ada", "lines": [
  {"product": "lamp", "quantity": 2, "price": 40}, {"product": "chair", "quantity": 1, "price": 90}]}');
SELECT pm.append('shelf.orders', 'o-2', 'placed', '{"customer": "bob", "lines": [
  {"product": "lamp", "quantity": 1, "price": 40}]}');
SELECT pm.append('shelf.orders', 'o-2', 'cancelled');
SELECT pm.append('shelf.orders', 'o-1', 'delivered');
SELECT pm.append('shelf.orders', 'o-3', 'placed', '{"customer": "ada", "lines": [
  {"product": "chair", "quantity": 4, "price": 90, "discount": 0.25}]}') AS written \gset

-- Wait until the read model has what was written.
SELECT pm.wait_for('shelf', 'shelf.orders', :written);

\o
\echo Orders of ada:
SELECT order_id, status, jsonb_array_length(lines) AS lines
  FROM shelf.order_list WHERE customer = 'ada' ORDER BY order_id;
\echo Sales:
SELECT * FROM shelf.sales ORDER BY product;
\o /dev/null

-- A discount was forgotten. With a new definition, the tables are computed from the beginning.
-- "reset" also discards parked events, because they come again too.
BEGIN;
SELECT pm.seek('shelf', 'shelf.orders', 0, reset => true);
DELETE FROM shelf.order_list;
DELETE FROM shelf.sales;
CREATE OR REPLACE FUNCTION shelf.amount(line jsonb) RETURNS numeric LANGUAGE sql IMMUTABLE
RETURN (line -> 'quantity')::numeric * (line -> 'price')::numeric
       * (1 - coalesce((line -> 'discount')::numeric, 0));
SELECT pm.catch_up('shelf');    -- For a large log, leave this out: the worker then fills the tables after the commit.
COMMIT;

\o
\echo Sales, with discounts:
SELECT * FROM shelf.sales ORDER BY product;
