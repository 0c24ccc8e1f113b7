-- An outbox, and a process manager whose events webhook-sender sends.
--
--     psql -d DATABASE -f outbox.sql
--
-- Run it in a database with pm, as a role that may create tables in it. README.md lists the fields of an event.
\set ON_ERROR_STOP on

SELECT pm.create_log('outbox');

-- 12 attempts, the second after 5 s, then twice as long each time, at most an hour: about 3 hours. Events
-- that a killed sender had fetched are fetched again when its lease has run out. However many keys fail,
-- the others continue.
SELECT pm.register('sender', NULL, ARRAY['outbox'], max_attempts => 12, backoff => '5 s', lease => '30 s',
                   park_limit => 1000000);

-- The calls of a stream are made in order. This one has two calls for one order.
SELECT pm.append('outbox', 'order-1', 'charge', '{
  "url": "https://payments.example.com/charges",
  "headers": {"X-Tenant": "north"},
  "body": {"order": 1, "amount": "19.90"}
}');
SELECT pm.append('outbox', 'order-1', 'ship', '{
  "url": "https://shipping.example.com/orders/1",
  "method": "PUT",
  "body": {"to": "Lisbon"}
}');

-- This process manager appends an event to the outbox and asks for the answer with "reply". With "accept" it says that
-- status 402 is an answer, not a failure.
SELECT pm.create_log('orders');

CREATE FUNCTION charge(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  CASE e.type
    WHEN 'placed' THEN
      PERFORM pm.append('outbox', e.stream, 'charge', jsonb_build_object(
        'url', 'https://payments.example.com/charges', 'body', e.data,
        'accept', '[402]'::jsonb, 'reply', 'charged'));
      RETURN '{"charged": null}';
    WHEN 'charged' THEN           -- the answer: {"event": {...}, "status": 201, "body": {...}}
      RETURN jsonb_build_object('charged', e.data -> 'status' <> '402', 'answer', e.data -> 'body');
  END CASE;
END $$;

SELECT pm.register('charging', 'charge', ARRAY['orders'], types => ARRAY['placed']);
SELECT pm.append('orders', 'order-2', 'placed', '{"order": 2, "amount": "5.00"}');
