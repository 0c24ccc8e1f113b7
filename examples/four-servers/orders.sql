-- Orders: takes them, and confirms or cancels them as the fulfilment process says.
\set ON_ERROR_STOP on
BEGIN;
CREATE SCHEMA orders;
CREATE SCHEMA fulfilment;
SELECT pm.create_log('orders.events');                     -- placed, confirmed, cancelled
CREATE PUBLICATION events FOR TABLE orders.events WITH (publish = 'insert');
SELECT pm.create_replica_log('fulfilment.commands');       -- confirm, cancel

-- What an application calls. A repeated call places no second order.
CREATE FUNCTION orders.place(id text, amount numeric, address text) RETURNS bigint LANGUAGE sql
RETURN pm.append('orders.events', id, 'placed', jsonb_build_object('amount', amount, 'address', address), id => id);

CREATE FUNCTION orders.obey(e pm.event) RETURNS void LANGUAGE sql
RETURN pm.append('orders.events', e.stream, CASE e.type WHEN 'confirm' THEN 'confirmed' ELSE 'cancelled' END, e.data);

SELECT pm.register('orders', 'orders.obey', ARRAY['fulfilment.commands']);
COMMIT;
