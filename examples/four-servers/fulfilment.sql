-- The fulfilment process: what happens between an order, its payment and its parcel, which live on
-- three other servers.
--
-- It follows their logs here, where subscriptions bring them, and appends its commands to a log of
-- its own, to which the other servers subscribe. So it needs no connection to any of them while it
-- works. Things to notice:
--
--   * What a handler does commits together with its cursor, on one server. Between servers, each
--     event is delivered once, by PostgreSQL's logical replication and the replica log.
--   * A command is named by its position in the log "fulfilment.commands". It arrives once.
--   * Events of different servers arrive in any order: the handler asks the state what is known, and
--     a payment for an order that was canceled in the meantime is returned.
\set ON_ERROR_STOP on
BEGIN;
CREATE SCHEMA orders;
CREATE SCHEMA payments;
CREATE SCHEMA shipping;
CREATE SCHEMA fulfilment;
SELECT pm.create_replica_log('orders.events');
SELECT pm.create_replica_log('payments.events');
SELECT pm.create_replica_log('shipping.events');
SELECT pm.create_log('fulfilment.commands');      -- take_payment, return_payment, send_parcel, confirm, cancel

-- Each server gets the commands that are meant for it.
CREATE PUBLICATION for_orders FOR TABLE fulfilment.commands
  WHERE (type IN ('confirm', 'cancel')) WITH (publish = 'insert');
CREATE PUBLICATION for_payments FOR TABLE fulfilment.commands
  WHERE (type IN ('take_payment', 'return_payment')) WITH (publish = 'insert');
CREATE PUBLICATION for_shipping FOR TABLE fulfilment.commands
  WHERE (type = 'send_parcel') WITH (publish = 'insert');

CREATE FUNCTION fulfilment.command(order_id text, type text, data jsonb DEFAULT '{}') RETURNS void LANGUAGE sql
RETURN pm.append('fulfilment.commands', order_id, type, data);

-- f: what is known about the order
CREATE FUNCTION fulfilment.fulfil(e pm.event, f jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  IF f IS NULL AND e.type NOT IN ('placed', 'payment_taken') THEN
    RETURN NULL;                            -- the order has been canceled
  END IF;

  CASE e.type
    WHEN 'placed' THEN
      PERFORM fulfilment.command(e.stream, 'take_payment', jsonb_build_object('amount', e.data -> 'amount'));
      PERFORM pm.set_timer('payment_overdue', pm.now() + interval '1 day');
      RETURN jsonb_build_object('address', e.data -> 'address');

    WHEN 'payment_taken' THEN
      IF f IS NULL THEN                     -- too late
        PERFORM fulfilment.command(e.stream, 'return_payment');
        RETURN NULL;
      END IF;
      PERFORM pm.cancel_timer('payment_overdue');
      PERFORM fulfilment.command(e.stream, 'send_parcel', jsonb_build_object('address', f -> 'address'));
      RETURN f;

    WHEN 'payment_refused', 'payment_overdue' THEN
      PERFORM fulfilment.command(e.stream, 'cancel', jsonb_build_object('reason', e.type));
      RETURN pm.done('{"outcome": "cancelled"}');

    WHEN 'parcel_sent' THEN
      PERFORM fulfilment.command(e.stream, 'confirm');
      RETURN pm.done('{"outcome": "confirmed"}');

    WHEN 'parcel_impossible' THEN
      PERFORM fulfilment.command(e.stream, 'return_payment');
      PERFORM fulfilment.command(e.stream, 'cancel', jsonb_build_object('reason', e.type));
      RETURN pm.done('{"outcome": "cancelled"}');
  END CASE;
END $$;

-- The order is the stream in all three logs.
SELECT pm.register('fulfilment', 'fulfilment.fulfil', ARRAY['orders.events', 'payments.events', 'shipping.events'],
                   types => ARRAY['placed', 'payment_taken', 'payment_refused', 'payment_overdue', 'parcel_sent', 'parcel_impossible'],
                   keep_ended => '90 days');
COMMIT;
