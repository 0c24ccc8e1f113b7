-- Payments: takes and returns money when the fulfilment process asks for it. Amounts above 1000 are refused.
\set ON_ERROR_STOP on
BEGIN;
CREATE SCHEMA payments;
CREATE SCHEMA fulfilment;
SELECT pm.create_log('payments.events');                   -- payment_taken, payment_refused, payment_returned
CREATE PUBLICATION events FOR TABLE payments.events WITH (publish = 'insert');
SELECT pm.create_replica_log('fulfilment.commands');       -- take_payment, return_payment

CREATE FUNCTION payments.obey(e pm.event) RETURNS void LANGUAGE sql
RETURN pm.append('payments.events', e.stream,
                 CASE WHEN e.type = 'return_payment' THEN 'payment_returned'
                      WHEN (e.data -> 'amount')::numeric > 1000 THEN 'payment_refused'
                      ELSE 'payment_taken' END,
                 e.data);

SELECT pm.register('payments', 'payments.obey', ARRAY['fulfilment.commands']);
COMMIT;
