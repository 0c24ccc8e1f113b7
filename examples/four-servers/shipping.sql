-- Shipping: sends parcels when the fulfilment process asks for it. Nothing can be sent to the moon.
\set ON_ERROR_STOP on
BEGIN;
CREATE SCHEMA shipping;
CREATE SCHEMA fulfilment;
SELECT pm.create_log('shipping.events');                   -- parcel_sent, parcel_impossible
CREATE PUBLICATION events FOR TABLE shipping.events WITH (publish = 'insert');
SELECT pm.create_replica_log('fulfilment.commands');       -- send_parcel

CREATE FUNCTION shipping.obey(e pm.event) RETURNS void LANGUAGE sql
RETURN pm.append('shipping.events', e.stream,
                 CASE e.data ->> 'address' WHEN 'moon' THEN 'parcel_impossible' ELSE 'parcel_sent' END);

SELECT pm.register('shipping', 'shipping.obey', ARRAY['fulfilment.commands']);
COMMIT;
