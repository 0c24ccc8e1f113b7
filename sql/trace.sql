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
-- and the causes of an event, the first cause first
SELECT depth, event_log, "position", type, cause_log, cause_position FROM pm.trace('orders', (SELECT min(position) FROM orders WHERE type = 'paid'));
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
SELECT depth, event_log, type, cause_log, cause_position FROM pm.trace('orders', (SELECT min(position) FROM orders WHERE type = 'paid'));
RESET ROLE;
-- causes that are gone, forged, or named by another spelling
INSERT INTO orders (stream, type, metadata) VALUES ('gone', 'd', '{"causation": {"log": "payments", "position": 9999}}'),
	('other', 'd', '{"causation": {"log": "\"payments\"", "position": 1}}'), ('none', 'd', '{"causation": {"log": "nosuch", "position": 1}}'),
	('large', 'd', '{"causation": {"log": "payments", "position": 99999999999999999999}}'), ('text', 'd', '{"causation": {"log": "payments", "position": "1"}}');
INSERT INTO orders (stream, type, metadata) SELECT 'self', 'd', jsonb_build_object('causation', jsonb_build_object('log', 'orders', 'position', max(position) + 1)) FROM orders;
SELECT o.stream, t.depth, t.event_log, t.type, t.cause_log, t.cause_position FROM orders o, pm.trace('orders', o.position) t
	WHERE o.stream IN ('gone', 'other', 'none', 'large', 'text', 'self') ORDER BY o.position, t.depth;

-- keys of metadata that the process manager carries; what the handler gives itself takes precedence; the cause cannot be forged
CREATE FUNCTION carrying(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF e.type = 'first' THEN
		PERFORM pm.append('payments', e.stream, 'given', '{}', '{"user": "handler", "causation": 1}');
		PERFORM pm.set_timer('later', pm.now() + '1 h');
		INSERT INTO payments (stream, type) VALUES (e.stream, 'inserted');
	END IF;
	PERFORM pm.append_all('payments', e.stream, jsonb_build_array(jsonb_build_object('type', e.type), jsonb_build_object('type', e.type, 'metadata', '{"tenant": null}'::jsonb)));
	RETURN '{}';
END $$;
SELECT pm.register('carry', 'carrying', '{orders}', start_at => 'end', carry => '{user,tenant,"",traceparent,causation,correlation}');
SELECT carry FROM pm.process_manager WHERE name = 'carry';
SELECT coalesce(max(position), 0) AS before FROM payments \gset
SELECT pm.append('orders', 'c-1', 'first', '{}', '{"user": "alice", "tenant": [1], "": "empty", "other": 1, "correlation": "c"}');
SELECT pm.append('orders', 'c-2', 'first', '{}', '{"user": null}');
INSERT INTO orders (stream, type, metadata) VALUES ('c-3', 'first', '["user"]');
SELECT pm.catch_up('carry', as_of => now() + '1 day');
SELECT stream, type, metadata - 'causation' AS metadata, metadata -> 'causation' ->> 'log' AS cause,
	(metadata -> 'causation' -> 'position')::bigint = (SELECT position FROM orders o WHERE o.stream = p.stream) AS causation,
	metadata -> 'correlation' = metadata -> 'causation' AS correlated FROM payments p WHERE position > :before ORDER BY p.stream, position;
SELECT DISTINCT t.depth, t.event_log, t.type FROM payments p, pm.trace('payments', p.position) t WHERE p.stream = 'c-1' AND p.type <> 'inserted' ORDER BY 1, 3;
SELECT pm.register('carry', 'carrying', '{orders}', carry => '{}');
SELECT carry FROM pm.process_manager WHERE name = 'carry';
SELECT pm.register('carry', 'carrying', '{orders}', carry => '{user,NULL}');
SELECT pm.alter('carry', carry => '{user}');
SELECT carry FROM pm.process_manager WHERE name = 'carry';
SELECT pm.alter('carry', reset => '{carry}');
SELECT carry FROM pm.process_manager WHERE name = 'carry';
-- a timer that a library before 0.2.0 has set has no correlation: its cause is used as the correlation
SELECT coalesce(max(position), 0) AS before FROM payments \gset
SELECT pm.append('orders', 'c-4', 'first');
SELECT pm.catch_up('carry');
UPDATE pm_catalog.timer SET metadata = metadata - 'correlation';
SELECT pm.catch_up('carry', as_of => now() + '1 day');
SELECT type, metadata -> 'correlation' = metadata -> 'causation' AS correlated FROM payments p WHERE position > :before AND type = 'later';
SELECT pm.unregister('carry');
DROP FUNCTION carrying;

SELECT pm.unregister('react'), pm.unregister('all');
SELECT pm.drop_log('orders'), pm.drop_log('payments');
DROP TABLE orders, payments;
DROP FUNCTION react(pm.event), react_all(pm.event[]);
REVOKE USAGE ON SCHEMA pm FROM regress_pm_tracer;
DROP ROLE regress_pm_tracer;
