-- The shop: three event logs, and the tables that its process managers keep.
SELECT pm.create_log('orders');
SELECT pm.create_log('payments');
SELECT pm.create_log('shipping');

-- order-fulfilment: one row an order, with what is known about it so far.
CREATE TABLE order_progress (
    order_id           text PRIMARY KEY,
    amount             numeric,
    -- what others told us
    placed             boolean NOT NULL DEFAULT false,
    paid               boolean NOT NULL DEFAULT false,
    cancelled          boolean NOT NULL DEFAULT false,
    sent               boolean NOT NULL DEFAULT false,
    returned           boolean NOT NULL DEFAULT false,
    refunded           boolean NOT NULL DEFAULT false,
    -- what we asked of others
    shipment_requested boolean NOT NULL DEFAULT false,
    shipment_recalled  boolean NOT NULL DEFAULT false,
    refund_requested   boolean NOT NULL DEFAULT false,

    state text GENERATED ALWAYS AS (
        CASE
            WHEN cancelled AND NOT paid AND NOT shipment_requested THEN 'cancelled'
            WHEN cancelled AND refunded AND shipment_requested = returned THEN 'refunded'
            WHEN cancelled THEN 'being cancelled'
            WHEN placed AND paid AND sent THEN 'fulfilled'
            WHEN placed AND paid THEN 'being shipped'
            WHEN placed THEN 'unpaid'
            ELSE 'not placed yet'
        END) STORED
);

-- turnover: a row an account.
CREATE TABLE turnover (
    account text PRIMARY KEY,
    entries bigint NOT NULL,
    amount  numeric NOT NULL
);

-- The oracle: what order-fulfilment was called for, in the order of the calls. No key, so that an
-- event handled twice would stand here twice.
CREATE TABLE handled (
    call     bigint GENERATED ALWAYS AS IDENTITY,
    log      text NOT NULL,
    position bigint NOT NULL
);

-- For the comparison: what a naive cursor saw (services.sql).
CREATE TABLE naive_seen (log text NOT NULL, position bigint NOT NULL);

-- What the simulator means to come of each order (simulate.pl plan), for check.sql.
CREATE TABLE plan (order_id text PRIMARY KEY, outcome text NOT NULL);

-- A row tells those sessions outside (services.sql) to finish what is there and go.
CREATE TABLE closing_time (who text PRIMARY KEY);
