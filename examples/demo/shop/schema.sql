-- The shop: three event logs, and the tables of its process managers and of the demo.
SELECT pm.create_log('orders');
SELECT pm.create_log('payments');
SELECT pm.create_log('warehouse');

-- turnover: a row for each account.
CREATE TABLE turnover (
    account text PRIMARY KEY,
    entries bigint NOT NULL,
    amount  numeric NOT NULL
);

-- For the checks: the events for which order-fulfilment was called, in the order of the calls (timers have no log
-- and position). There is no key, so that an event that was handled twice would be here twice.
CREATE TABLE handled (
    call     bigint GENERATED ALWAYS AS IDENTITY,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    order_id text NOT NULL,
    type     text NOT NULL,
    log      text,
    position bigint
);

-- What demo.sh found in pm.parked, in that order.
CREATE TABLE was_parked (
    n        bigint GENERATED ALWAYS AS IDENTITY,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    order_id text NOT NULL,
    log      text,
    position bigint
);

-- For the comparison: what a naive cursor saw (services.sql).
CREATE TABLE naive_seen (log text NOT NULL, position bigint NOT NULL);

-- A row tells the sessions of the services (services.sql) to answer what is left and end.
CREATE TABLE closing_time (who text PRIMARY KEY);
