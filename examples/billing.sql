-- billing: contracts are invoiced every month, customers are reminded of unpaid invoices, and revenue is
-- summed up.
--
--     psql -f examples/billing.sql
--
-- in a database with pm, as a role that may create schemas in it. It creates the schema "billing";
-- run it again to start over. Things to notice:
--
--   * There is no nightly job. Each contract has a timer for its next invoice. If the server was
--     down, what is due fires when it is back, in the order of time.
--   * Three process managers form a chain: "billing" writes invoices; "dunning" follows them, and
--     the payments; "revenue" is a table that is computed from both.
--   * One call of pm.catch_up with as_of goes through a year, each step at its own time.
--   * pm.rehearse says what a new version of a handler would have done, before it is used.
--   * carry: each invoice and each reminder has the tenant of its contract in its metadata.
\set ON_ERROR_STOP on
\o /dev/null
SET client_min_messages = warning;
SELECT EXISTS (SELECT FROM pm.process_manager WHERE name = 'billing') AS again \gset

BEGIN;
\if :again
SELECT pm.unregister(name) FROM unnest(ARRAY['billing', 'dunning', 'revenue']) name;
DROP SCHEMA billing CASCADE;
\endif
CREATE SCHEMA billing;
SELECT pm.create_log('billing.contracts');      -- signed, repriced, cancelled; each contract is a stream
SELECT pm.create_log('billing.invoices');       -- issued, reminded, collected; each invoice is a stream: c-1/3
SELECT pm.create_log('billing.payments');       -- paid; each payment is a stream, and names its invoice

ALTER TABLE billing.contracts ADD CONSTRAINT has_a_price CHECK (
  type NOT IN ('signed', 'repriced') OR coalesce((data -> 'price')::numeric, 0) > 0);
ALTER TABLE billing.contracts ADD CONSTRAINT is_signed_first CHECK (
  (type = 'signed') = (version IS NOT DISTINCT FROM 1));

-- ---- a contract: an invoice every month ---------------------------------------------------------

-- When invoice n of a contract is due. It counts from the first day, so what began on 31 January is
-- invoiced on 28 February and on 31 March. Months begin in UTC, whatever the time zone of a session
-- is.
CREATE FUNCTION billing.due(began timestamptz, n int) RETURNS timestamptz LANGUAGE sql IMMUTABLE
RETURN (began AT TIME ZONE 'UTC' + n * interval '1 month') AT TIME ZONE 'UTC';

-- c: price, began, and n, the number of the next invoice
CREATE FUNCTION billing.bill(e pm.event, c jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  IF e.type = 'signed' THEN
    c := e.data || jsonb_build_object('began', e.recorded_at, 'n', 1);
  ELSIF c IS NULL THEN                          -- cancelled
    RETURN NULL;
  ELSIF e.type = 'repriced' THEN                -- from the next invoice on
    RETURN c || e.data;
  ELSIF e.type = 'cancelled' THEN
    RETURN pm.done(jsonb_build_object('invoices', (c -> 'n')::int - 1));
  ELSIF e.type = 'month' THEN                   -- the timer
    PERFORM pm.append('billing.invoices', format('%s/%s', e.stream, c -> 'n'), 'issued',
                      jsonb_build_object('amount', c -> 'price',
                                         'due', (e.recorded_at AT TIME ZONE 'UTC')::date));
    c := c || jsonb_build_object('n', (c -> 'n')::int + 1);
  END IF;
  PERFORM pm.set_timer('month', billing.due((c ->> 'began')::timestamptz, (c -> 'n')::int));
  RETURN c;
END $$;

SELECT pm.register('billing', 'billing.bill', ARRAY['billing.contracts'],
                   keep_ended => '10 years', carry => ARRAY['tenant']);

-- ---- an invoice: two reminders, and then the bailiff --------------------------------------------

-- A payment names its invoice; otherwise the invoice is the stream.
CREATE FUNCTION billing.invoice_of(e pm.event) RETURNS text LANGUAGE sql IMMUTABLE
RETURN coalesce(e.data ->> 'invoice', e.stream);

-- i: the number of reminders, until the invoice is paid. Events of two logs come in any order: -1 if the
-- payment has come before the invoice.
CREATE FUNCTION billing.dun(e pm.event, i jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  IF e.type = 'paid' AND i IS NULL THEN
    RETURN '-1';
  ELSIF e.type = 'paid' OR i = '-1' THEN
    RETURN pm.done(jsonb_build_object('reminders', greatest(i::int, 0)));
  ELSIF e.type = 'issued' THEN
    i := '0';
    PERFORM pm.set_timer('overdue', e.recorded_at + '14 days');
  ELSIF i < '2' THEN                            -- overdue
    i := to_jsonb(i::int + 1);
    PERFORM pm.append('billing.invoices', e.stream, 'reminded', jsonb_build_object('times', i));
    PERFORM pm.set_timer('overdue', e.recorded_at + '7 days');
  ELSE
    PERFORM pm.append('billing.invoices', e.stream, 'collected');
  END IF;
  RETURN i;
END $$;

SELECT pm.register('dunning', 'billing.dun', ARRAY['billing.invoices', 'billing.payments'],
                   correlate => 'billing.invoice_of', types => ARRAY['issued', 'paid'],
                   lanes => 2, keep_ended => '10 years', carry => ARRAY['tenant']);

-- ---- a table: what is invoiced and paid in each month -------------------------------------------

CREATE TABLE billing.revenue (month date PRIMARY KEY, invoiced numeric NOT NULL, paid numeric NOT NULL);

CREATE FUNCTION billing.sum_up(e pm.event) RETURNS void LANGUAGE sql AS $$
  INSERT INTO billing.revenue AS r
  SELECT date_trunc('month', coalesce((e.data ->> 'due')::timestamp, e.recorded_at AT TIME ZONE 'UTC')),
         CASE e.type WHEN 'issued' THEN amount ELSE 0 END, CASE e.type WHEN 'paid' THEN amount ELSE 0 END
    FROM (SELECT (e.data -> 'amount')::numeric) x(amount)
  ON CONFLICT (month) DO UPDATE SET invoiced = r.invoiced + excluded.invoiced, paid = r.paid + excluded.paid
$$;

SELECT pm.register('revenue', 'billing.sum_up', ARRAY['billing.invoices', 'billing.payments'],
                   types => ARRAY['issued', 'paid']);
COMMIT;

-- ---- what happens -------------------------------------------------------------------------------

-- The events of last year, inserted at once and handled by one call. (In daily use, the workers handle
-- them as time passes. The transaction hides the events from the workers until all are handled.)
SELECT extract(year FROM now()) - 1 AS y \gset

BEGIN;
INSERT INTO billing.contracts (stream, version, type, data, metadata, recorded_at) VALUES
  ('c-1', 1, 'signed', '{"price": 10}', '{"tenant": "north"}', make_timestamptz(:y, 1, 31, 9, 0, 0, 'UTC')),
  ('c-2', 1, 'signed', '{"price": 25}', '{"tenant": "south"}', make_timestamptz(:y, 2, 10, 9, 0, 0, 'UTC')),
  ('c-2', 2, 'repriced', '{"price": 30}', '{}', make_timestamptz(:y, 5, 1, 9, 0, 0, 'UTC')),
  ('c-2', 3, 'cancelled', '{}', '{}', make_timestamptz(:y, 8, 1, 9, 0, 0, 'UTC')),
  ('c-1', 2, 'cancelled', '{}', '{}', make_timestamptz(:y, 12, 31, 12, 0, 0, 'UTC'));

-- c-1 pays all but two of its invoices after three days; one of these two late, and one never.
INSERT INTO billing.payments (stream, version, type, data, recorded_at)
  SELECT 'p-' || n, 1, 'paid', jsonb_build_object('invoice', 'c-1/' || n, 'amount', 10),
         billing.due(make_timestamptz(:y, 1, 31, 9, 0, 0, 'UTC'), n)
           + CASE n WHEN 4 THEN interval '20 days' ELSE interval '3 days' END
    FROM generate_series(1, 10) n WHERE n <> 7;

SELECT pm.catch_up(as_of => make_timestamptz(:y + 1, 1, 31, 0, 0, 0, 'UTC'));
COMMIT;

\o
\echo The invoices of c-1, with the day of each step:
SELECT stream AS invoice, metadata ->> 'tenant' AS tenant,
       string_agg(type || to_char(recorded_at AT TIME ZONE 'UTC', ' DD Mon'), ', ' ORDER BY version) AS steps
  FROM billing.invoices WHERE stream LIKE 'c-1/%' GROUP BY 1, 2 ORDER BY min(position);

\echo Contracts that have ended:
SELECT key AS contract, result -> 'invoices' AS invoices, state -> 'price' AS price,
       to_char(ended_at AT TIME ZONE 'UTC', 'DD Mon') AS ended
  FROM pm.ended WHERE process_manager = 'billing' ORDER BY key;

\echo Revenue:
SELECT to_char(month, 'Mon') AS month, invoiced, paid FROM billing.revenue ORDER BY billing.revenue.month;

\echo Invoices that are not paid:
SELECT key AS invoice, state AS reminders FROM pm.instance WHERE process_manager = 'dunning' ORDER BY key;

-- A new version: from the seventh invoice on, a customer pays ten per cent less.
CREATE FUNCTION billing.bill_2(e pm.event, c jsonb) RETURNS jsonb LANGUAGE sql AS $$
  SELECT billing.bill(e, CASE WHEN e.type = 'month' AND c -> 'n' = '7'
                              THEN c || jsonb_build_object('price', (c -> 'price')::numeric * 0.9) ELSE c END)
$$;

\echo What each contract has paid for, and what it would be with the new version:
SELECT key AS contract,
       sum((appended -> 0 -> 'data' -> 'amount')::numeric) FILTER (WHERE handler = 'billing.bill') AS now,
       sum((appended -> 0 -> 'data' -> 'amount')::numeric) FILTER (WHERE handler = 'billing.bill_2') AS new
  FROM unnest(ARRAY['billing.bill', 'billing.bill_2']) handler, pm.rehearse('billing', handler)
 GROUP BY key ORDER BY key;
