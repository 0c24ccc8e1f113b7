-- pm.rehearse: a handler over events; everything is undone.
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all
SET client_min_messages = error;
SET timezone = 'UTC';
SELECT pm.create_log('orders'), pm.create_log('effects');
CREATE FUNCTION h(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	CASE e.type
	WHEN 'placed' THEN PERFORM pm.set_timer('late', e.recorded_at + '1 h'); PERFORM pm.append('effects', e.stream, 'ack', jsonb_build_object('at', pm.now())); RETURN '{"n": 1}';
	WHEN 'paid' THEN IF s IS NULL THEN RETURN NULL; END IF; RETURN pm.done();
	WHEN 'bad' THEN RAISE 'bad event';
	WHEN 'later' THEN PERFORM pm.defer('1 h', 'not now');
	WHEN 'late' THEN PERFORM pm.append('effects', e.stream, 'reminded'); RETURN s || '{"late": true}';
	ELSE RETURN s;
	END CASE;
	RETURN s;
END $$;
CREATE FUNCTION k(e pm.event) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT CASE WHEN e.type <> 'none' THEN e.stream END $$;
SELECT pm.register('m', 'h', '{orders}', correlate => 'k');
INSERT INTO orders (stream, type, recorded_at) VALUES ('a','placed','2026-01-01 10:00'),('b','placed','2026-01-01 10:10'),('a','bad','2026-01-01 10:20'),('a','none','2026-01-01 10:21'),
 ('b','paid','2026-01-01 10:30'),('b','later','2026-01-01 12:00'),('c','paid','2026-01-01 13:00');
SELECT event_log, CASE WHEN event_log IS NOT NULL THEN pos END AS pos, key, outcome, error, appended -> 0 ->> 'type' AS type, appended -> 0 -> 'data' AS data, jsonb_array_length(appended) AS n, state FROM pm.rehearse('m');
SELECT count(*) FROM effects; SELECT count(*) FROM pm_catalog.timer; SELECT process_manager, lane, state FROM pm_catalog.lane; SELECT process_manager, position FROM pm_catalog.cursor;
SELECT event_log, CASE WHEN event_log IS NOT NULL THEN pos END AS pos, key, outcome, error, state FROM pm.rehearse('m', after => NULL, max_count => 3);
SELECT pm.catch_up('m', max_count => 2);
SELECT event_log, CASE WHEN event_log IS NOT NULL THEN pos END AS pos, key, outcome, error, state FROM pm.rehearse('m', after => NULL);
SELECT event_log, CASE WHEN event_log IS NOT NULL THEN pos END AS pos, key, outcome, error, state FROM pm.rehearse('m', log => 'orders', after => 4);
SELECT key, state FROM pm.instance ORDER BY 1; SELECT key, due FROM pm.timer ORDER BY 1;
SELECT * FROM pm.rehearse('m', after => 3);
SELECT * FROM pm.rehearse('m', log => 'orders', after => 9223372036854775807);
SELECT * FROM pm.rehearse('m', max_count => 0);
SELECT * FROM pm.rehearse('x');
DO $$ BEGIN PERFORM pm.rehearse('m', 'nosuch'); EXCEPTION WHEN OTHERS THEN RAISE WARNING '%', SQLERRM; END $$;
CREATE FUNCTION h2(e pm.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM 1/0; END $$;
CREATE FUNCTION h3(e pm.event[]) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pm.append('effects', 'x', 'y'); END $$;
SELECT * FROM pm.rehearse('m', 'h2', max_count => 2);
SELECT pos, key, outcome, appended -> 0 ->> 'type' AS type FROM pm.rehearse('m', 'h3', max_count => 2);
SELECT count(*) FROM effects;
-- which roles may call it
CREATE ROLE regress_pm_alice LOGIN;
CREATE ROLE regress_pm_bob LOGIN;
GRANT USAGE ON SCHEMA pm TO regress_pm_alice, regress_pm_bob;
CREATE SCHEMA alice AUTHORIZATION regress_pm_alice;
GRANT SELECT, INSERT ON orders, effects TO regress_pm_alice, regress_pm_bob;
-- appends to a log that alice may not read
SELECT pm.create_log('secrets');
CREATE FUNCTION tell(e pm.event) RETURNS void LANGUAGE sql SECURITY DEFINER AS $$ SELECT pm.append('secrets', e.stream, 'told', '{"word": "hush"}') $$;
SELECT current_user AS super \gset
SET ROLE regress_pm_alice;
SELECT pm.rehearse('m');
RESET ROLE;
\c - regress_pm_alice
SET client_min_messages = error;
CREATE FUNCTION alice.who(e pm.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE '%', current_user; END $$;
SELECT pm.register('a', 'alice.who', '{orders}', start_at => 'beginning');
SELECT outcome, error FROM pm.rehearse('a', max_count => 1);
-- of events that she may not read, only the log and the position are shown
SELECT outcome, error, appended -> 0 ->> 'log' AS log, jsonb_object_keys(appended -> 0) AS shown FROM pm.rehearse('a', 'tell', max_count => 1);
SELECT pm.rehearse('m');
\c - regress_pm_bob
SELECT pm.rehearse('a');
\c - :super
SET client_min_messages = error;
-- a superuser runs no code of others
-- terse: the hint names the superuser, who has another name on each server
\set VERBOSITY terse
SELECT pm.rehearse('a');
SELECT pm.rehearse('m', 'alice.who');
\set VERBOSITY default
GRANT regress_pm_alice TO regress_pm_bob;
GRANT USAGE ON SCHEMA alice TO regress_pm_bob;
\c - regress_pm_bob
SELECT outcome, error FROM pm.rehearse('a', max_count => 1);
SET ROLE regress_pm_alice;
SELECT pm.rehearse('a');
\c - :super
SET client_min_messages = error;
-- nothing is left behind, in whatever way it ends
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pm.rehearse('m');
ROLLBACK;
CREATE FUNCTION inside(e pm.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pm.rehearse('m'); END $$;
SELECT outcome, error FROM pm.rehearse('m', 'inside', max_count => 1);
DO $$ BEGIN
	BEGIN
		PERFORM pm.rehearse('m', log => 'effects', after => NULL);
	EXCEPTION WHEN OTHERS THEN RAISE WARNING '%', SQLERRM; END;
	PERFORM pm.append('effects', 'after', 'x');
END $$;
SELECT recorded_at > now() - interval '1 min' AS by_the_clock, pm.now() = now() AS now FROM effects WHERE stream = 'after';
SELECT count(*) FROM pm_catalog.lane WHERE process_manager = '';
SELECT pm.unregister('m'), pm.unregister('a');
DROP TABLE orders, effects, secrets;
DROP FUNCTION h(pm.event, jsonb), h2, h3, inside, k, tell;
DROP SCHEMA alice CASCADE;
DROP OWNED BY regress_pm_alice, regress_pm_bob;
DROP ROLE regress_pm_alice, regress_pm_bob;
