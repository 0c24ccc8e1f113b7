-- Causation: pm.append in a handler stores what caused the event, and pm.trace returns the tree.
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all
SELECT pm.create_log('orders'), pm.create_log('payments');
CREATE FUNCTION react(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	CASE e.type
		WHEN 'placed' THEN
			PERFORM pm.append('payments', e.stream, 'requested');
			PERFORM pm.append_all('payments', e.stream, '[{"type": "noted", "metadata": {"correlation": "its own", "by": "react"}}]');
		WHEN 'requested' THEN
			PERFORM pm.append('orders', e.stream, 'paid', '{}', '{"causation": "forged"}');
		ELSE NULL;
	END CASE;
END $$;
CREATE FUNCTION react_all(e pm.event[]) RETURNS void LANGUAGE sql AS $$ SELECT pm.append('payments', 'all', 'counted') $$;
SELECT pm.register('react', 'react', '{orders,payments}');

SELECT pm.append('orders', 'o-1', 'placed', '{}', '{"correlation": {"request": 7}}');
INSERT INTO orders (stream, type, metadata) VALUES ('o-2', 'placed', '["correlation"]'), ('o-3', 'placed', '5');
SELECT pm.catch_up('react');
SELECT stream, type, metadata FROM payments ORDER BY position;
SELECT stream, type, metadata FROM orders ORDER BY position;

SELECT depth, event_log, "position", stream, type, cause_log, cause_position FROM pm.trace('orders', 1);
SELECT depth, event_log, "position", type FROM pm.trace('payments', (SELECT min(position) FROM payments WHERE type = 'requested'));
-- a handler of arrays does not say which event is the cause; outside of a handler there is no cause
SELECT pm.register('all', 'react_all', '{orders}', start_at => 'beginning', types => '{placed}');
SELECT pm.catch_up('all');
SELECT metadata FROM payments WHERE stream = 'all';
-- events that cannot be traced
SELECT * FROM pm.trace('orders', 999);
SELECT * FROM pm.trace('nosuch', 1);
-- forged metadata: no endless loop, no error
INSERT INTO orders (stream, type, metadata) VALUES ('forged', 'a', '{"causation": {"log": "payments", "position": "soon"}}');
INSERT INTO payments (stream, type, metadata) SELECT 'forged', 'b', jsonb_build_object('causation', jsonb_build_object('log', 'orders', 'position', position)) FROM orders WHERE stream = 'forged';
UPDATE orders o SET metadata = jsonb_build_object('causation', jsonb_build_object('log', 'payments', 'position', p.position)) FROM payments p WHERE o.stream = 'forged' AND p.stream = 'forged' AND o.type = 'a';
INSERT INTO orders (stream, type, metadata) VALUES ('odd', 'c', '{"causation": {"log": "payments", "position": "soon"}}');
SELECT depth, event_log, type FROM pm.trace('orders', (SELECT position FROM orders WHERE stream = 'forged'));
SELECT depth, event_log, type, cause_log, cause_position FROM pm.trace('orders', (SELECT position FROM orders WHERE stream = 'odd'));
-- only logs that the caller may read
CREATE ROLE regress_pm_tracer;
GRANT USAGE ON SCHEMA pm TO regress_pm_tracer;
GRANT SELECT ON orders TO regress_pm_tracer;
SET ROLE regress_pm_tracer;
SELECT depth, event_log, type FROM pm.trace('orders', 1);
SELECT * FROM pm.trace('payments', 1);
RESET ROLE;

SELECT pm.unregister('react'), pm.unregister('all');
SELECT pm.drop_log('orders'), pm.drop_log('payments');
DROP TABLE orders, payments;
DROP FUNCTION react(pm.event), react_all(pm.event[]);
REVOKE USAGE ON SCHEMA pm FROM regress_pm_tracer;
DROP ROLE regress_pm_tracer;
