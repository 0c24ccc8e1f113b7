-- pm.catch_up and pm.now: events are handled in the caller's session and transaction
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all

SELECT pm.create_log('orders'), pm.create_log('payments');
CREATE TABLE handled (n serial, who text, log text, "position" bigint, stream text, type text);
CREATE FUNCTION note(e pm.event) RETURNS void LANGUAGE sql AS
$$ INSERT INTO handled (who, log, "position", stream, type) VALUES ('note', e.log, e."position", e.stream, e.type) $$;
CREATE FUNCTION reset_handled() RETURNS void LANGUAGE sql AS $$ TRUNCATE handled; ALTER SEQUENCE handled_n_seq RESTART $$;
CREATE VIEW seen AS SELECT who, log, array_agg("position" ORDER BY n) AS positions FROM handled GROUP BY who, log ORDER BY who, log;

-- ---- in BEGIN ... ROLLBACK --------------------------------------------------

BEGIN;
SELECT pm.register('m', 'note', '{orders,payments}');
SELECT pm.append('orders', 'o-1', 'Placed');
INSERT INTO payments (stream, type) VALUES ('o-1', 'Paid');
SELECT pm.catch_up('m');
SELECT pm.append('orders', 'o-1', 'Sent');
SELECT pm.catch_up();
SELECT pm.catch_up();
SELECT * FROM seen;
SELECT process_manager, log, "position" FROM pm.cursor ORDER BY log;
ROLLBACK;
SELECT count(*) FROM handled;
SELECT count(*) FROM pm.process_manager;
SELECT pm.catch_up();
SELECT pm.catch_up('m');

SELECT pm.register('m', 'note', '{orders,payments}', start_at => 'end');
BEGIN;
SELECT pm.append('orders', 'o-1', 'Placed') > 0 AS appended;
SAVEPOINT s;
SELECT pm.append('orders', 'o-1', 'Undone') > 0 AS appended;
SELECT pm.catch_up();
ROLLBACK TO s;
SELECT pm.catch_up();
SELECT type FROM handled ORDER BY n;
COMMIT;
SELECT pm.catch_up();
SELECT type FROM handled ORDER BY n;
SELECT pm.unregister('m');
SELECT reset_handled();

-- ---- order, types, and what the handler receives ----------------------------

CREATE FUNCTION tell(e pm.event) RETURNS text LANGUAGE plpgsql AS
$$ BEGIN RAISE NOTICE '% % % v% % % %', e.log, e.stream, e.type, e.version, e.data, e.metadata, e.recorded_at = '2026-01-01 UTC'; RETURN 'ignored'; END $$;
SELECT pm.register('teller', 'tell', '{orders,payments}', types => '{A,C}', start_at => 'end');
INSERT INTO orders (stream, version, type, data, metadata, recorded_at) VALUES
	('s', 10, 'A', '{"n": 1}', '{"m": 1}', '2026-01-01 UTC'), ('s', NULL, 'B', '2', DEFAULT, '2026-01-01 UTC'), ('t', NULL, 'C', '[3]', DEFAULT, '2026-01-01 UTC');
SET client_min_messages = notice;
SELECT pm.catch_up('teller');
SET client_min_messages = error;
-- events of other types are skipped, and the cursor advances
SELECT c."position" = pm.high_water_mark('orders') AS at_the_mark, handled FROM pm.cursor c JOIN pm.status USING (process_manager, log) WHERE log = 'orders';
INSERT INTO orders (stream, type) VALUES ('s', 'B');
SELECT pm.catch_up('teller');
SELECT c."position" = pm.high_water_mark('orders') AS at_the_mark FROM pm.cursor c WHERE log = 'orders';
SELECT pm.unregister('teller');
-- with several logs the oldest event goes first, and each log keeps its own order
SELECT pm.register('m', 'note', '{orders,payments}', start_at => 'end', batch_size => 3);
INSERT INTO orders (stream, type, recorded_at) SELECT 'o', 'o' || i, '2026-01-01 UTC'::timestamptz + i * interval '2 min' FROM generate_series(1, 5) i;
INSERT INTO payments (stream, type, recorded_at) SELECT 'p', 'p' || i, '2026-01-01 UTC'::timestamptz + i * interval '3 min' FROM generate_series(1, 4) i;
SELECT pm.catch_up('m');
SELECT string_agg(type, ' ' ORDER BY n) FROM handled;
-- within a log the positions decide, not the times
SELECT reset_handled();
INSERT INTO orders (stream, type, recorded_at) SELECT 'o', 'o' || i, '2026-01-01 UTC'::timestamptz - i * interval '2 min' FROM generate_series(1, 5) i;
SELECT pm.catch_up('m');
SELECT string_agg(type, ' ' ORDER BY n) FROM handled;
SELECT pm.unregister('m');
SELECT reset_handled();

-- ---- the log is read without a plan, whatever indexes it has -----------------

CREATE FUNCTION of_user(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN upper($1); END $$;
CREATE FUNCTION note_some(e pm.event) RETURNS void LANGUAGE sql AS
$$ INSERT INTO handled (who, log, "position", stream, type) VALUES ('some', e.log, e."position", e.stream, e.type) $$;
SELECT pm.create_log('odd');
INSERT INTO odd (stream, type) SELECT 's' || i, chr(96 + 1 + i % 3) FROM generate_series(1, 30) i;
SELECT pm.register('all', 'note', '{odd}', start_at => 'beginning', batch_size => 4),
	pm.register('some', 'note_some', '{odd}', types => '{a,c}', start_at => 'beginning', batch_size => 4),
	pm.register('in lanes', 'note_some', '{odd}', types => '{b}', start_at => 'beginning', batch_size => 4, lanes => 3);
CREATE PROCEDURE again() LANGUAGE plpgsql AS $$
DECLARE
	r record;
BEGIN
	PERFORM reset_handled();
	PERFORM pm.pause(name), pm.seek(name, 'odd', 0), pm.resume(name) FROM pm.process_manager;
	PERFORM pm.catch_up();
	FOR r IN SELECT who, type, count(*) AS events, count(DISTINCT "position") AS positions,
		array_agg("position" ORDER BY n) = array_agg("position" ORDER BY "position") AS in_order FROM handled GROUP BY 1, 2 ORDER BY 1, 2
	LOOP
		RAISE INFO '% % %', r.who, r.type, CASE WHEN r.events = r.positions AND (r.in_order OR r.type = 'b') THEN r.events::text ELSE r::text END;
	END LOOP;
END $$;
-- along the index on the position, also with types
CALL again();
-- an index on a user's function, which the planner would call
CREATE INDEX odd_of_user ON odd (of_user(stream));
CALL again();
ALTER TABLE odd DROP CONSTRAINT odd_pkey;
-- without the primary key no usable index is left
CALL again();
DROP INDEX odd_of_user;
CREATE INDEX odd_partly ON odd (type) WHERE stream > 's2';
CREATE INDEX odd_down ON odd (position DESC) WHERE position > 0;
-- indexes and statistics whose expressions the planner would evaluate: nothing is planned
CALL again();
CREATE STATISTICS odd_statistics ON (of_user(stream)), type FROM odd;
CALL again();
DROP STATISTICS odd_statistics;
SET constraint_exclusion = on;
CALL again();
RESET constraint_exclusion;
ALTER TABLE odd ADD PRIMARY KEY (position);
CALL again();
SELECT pm.unregister('all'), pm.unregister('some'), pm.unregister('in lanes'), pm.drop_log('odd');
DROP TABLE odd;
DROP PROCEDURE again();
DROP FUNCTION of_user(text), note_some(pm.event);
SELECT reset_handled();

-- ---- max_count --------------------------------------------------------------

SELECT pm.register('m', 'note', '{orders}', start_at => 'end', batch_size => 2);
INSERT INTO orders (stream, type) SELECT 'o', 'e' || i FROM generate_series(1, 7) i;
SELECT pm.catch_up('m', max_count => 0);
SELECT pm.catch_up('m', max_count => 1);
SELECT pm.catch_up('m', max_count => 3);
SELECT string_agg(type, ' ' ORDER BY n) FROM handled;
SELECT pm.catch_up('m', max_count => -1);
SELECT pm.catch_up(max_count => 9223372036854775807);
SELECT string_agg(type, ' ' ORDER BY n) FROM handled;
SELECT pm.unregister('m');
SELECT reset_handled();

-- ---- until no event is left -------------------------------------------------

CREATE FUNCTION countdown(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO handled (who, log, type) VALUES ('countdown', e.log, e.type || (e.data->>'n'));
	IF (e.data->>'n')::int > 0 THEN
		PERFORM pm.append(CASE e.log WHEN 'orders' THEN 'payments' ELSE 'orders' END, e.stream, e.type, jsonb_build_object('n', (e.data->>'n')::int - 1));
	END IF;
END $$;
CREATE FUNCTION note_all(e pm.event[]) RETURNS void LANGUAGE sql AS
$$ INSERT INTO handled (who, log, type) SELECT 'all ' || cardinality(e), x.log, x.type || (x.data->>'n') FROM unnest(e) WITH ORDINALITY x(log, pos, stream, version, type, data, metadata, recorded_at, n) ORDER BY n $$;
SELECT pm.register('last', 'note_all', '{payments}', start_at => 'end');
SELECT pm.register('counter', 'countdown', '{orders,payments}', start_at => 'end', batch_size => 2);
SELECT pm.append('orders', 'c', 'c', '{"n": 4}') > 0 AS appended, pm.append('orders', 'd', 'd', '{"n": 1}') > 0 AS appended;
SELECT pm.catch_up();
SELECT log, string_agg(type, ' ' ORDER BY n) FROM handled WHERE who = 'countdown' GROUP BY log ORDER BY log;
SELECT string_agg(type, ' ' ORDER BY n) FROM handled WHERE who LIKE 'all %';
-- only max_count ends it
SELECT pm.append('orders', 'c', 'x', '{"n": 1000000}') > 0 AS appended;
SELECT pm.catch_up('counter', max_count => 50);
SELECT pm.unregister('counter'), pm.unregister('last');
SELECT reset_handled();

-- ---- batch handlers ---------------------------------------------------------

CREATE FUNCTION all_or_none(e pm.event[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO handled (who, type) SELECT 'batch of ' || cardinality(e), x.type FROM unnest(e) x;
	IF EXISTS (SELECT FROM unnest(e) x WHERE x.data ? 'poison') THEN RAISE 'poison'; END IF;
END $$;
SELECT pm.register('b', 'all_or_none', '{orders}', start_at => 'end', batch_size => 4, on_failure => 'halt', max_attempts => 2, backoff => '1 hour');
INSERT INTO orders (stream, type, data) SELECT 'b', 'b' || i, CASE WHEN i = 6 THEN '{"poison": 1}' ELSE '{}' END::jsonb FROM generate_series(1, 9) i;
\set VERBOSITY sqlstate
SELECT pm.catch_up('b');
\set VERBOSITY default
SELECT count(*) FROM handled;
-- after a failure the handler gets arrays of one event, up to the event that fails
SELECT pm.catch_up('b', on_failure => 'policy');
SELECT who, string_agg(type, ' ' ORDER BY n) FROM handled GROUP BY who ORDER BY who;
SELECT state, attempts FROM pm_catalog.lane;
UPDATE orders SET data = '{}' WHERE type = 'b6';
UPDATE pm_catalog.lane SET retry_at = clock_timestamp();
SELECT pm.catch_up('b', on_failure => 'policy');
SELECT string_agg(type, ' ' ORDER BY n) FROM handled;
SELECT state, attempts FROM pm_catalog.lane;
SELECT pm.unregister('b');
SELECT reset_handled();

-- ---- a failure at each position of a batch ----------------------------------

-- Whichever event fails, and however it fails, the effects of the others are there exactly once.
CREATE TABLE deferred (type text UNIQUE DEFERRABLE INITIALLY DEFERRED);
CREATE FUNCTION risky(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO handled (who, type) VALUES ('risky', e.type);
	PERFORM pm.append('payments', e.type, 'Consequence');
	CASE e.data->>'fails'
		WHEN 'raise' THEN RAISE 'poison %', e.type;
		WHEN 'constraint' THEN INSERT INTO handled (n) VALUES ('not a number');
		WHEN 'deadlock' THEN RAISE 'victim' USING ERRCODE = 'deadlock_detected';
		WHEN 'cancel' THEN RAISE 'canceled' USING ERRCODE = 'query_canceled';
		WHEN 'assert' THEN ASSERT false, 'asserted';
		ELSE NULL;
	END CASE;
END $$;
CREATE FUNCTION fail_at(failing int, how text, batch_size int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	first text;
	result text;
BEGIN
	DELETE FROM handled;
	PERFORM pm.register('r', 'risky', '{orders}', start_at => 'end', batch_size => fail_at.batch_size, on_failure => 'halt', max_attempts => 1);
	INSERT INTO orders (stream, type, data)
		SELECT 'r', 'r' || i, CASE WHEN i = failing THEN jsonb_build_object('fails', how) ELSE '{}' END FROM generate_series(1, 5) i;
	first := pm.catch_up('r', on_failure => 'policy');
	SELECT format('%s: %s [%s]', first, state, coalesce((SELECT string_agg(type, ' ' ORDER BY n) FROM handled), '')) INTO result FROM pm_catalog.lane;
	UPDATE orders SET data = '{}' WHERE data ? 'fails';
	PERFORM pm.resume('r');
	first := pm.catch_up('r', on_failure => 'policy');
	result := format('%s, fixed: %s [%s] [%s]', result, first, (SELECT string_agg(type, ' ' ORDER BY n) FROM handled),
		(SELECT string_agg(stream, ' ' ORDER BY "position") FROM payments));
	PERFORM pm.unregister('r');
	DELETE FROM payments;
	RETURN result;
END $$;
DELETE FROM payments;
SELECT i AS failing, b AS batch_size, fail_at(i, 'raise', b) FROM generate_series(1, 5) i, unnest('{1,2,5,100}'::int[]) b ORDER BY i, b;
SELECT how, fail_at(3, how, 5) FROM unnest('{constraint,deadlock,assert}'::text[]) how;
-- without a policy everything is undone, and the error names the event
SELECT pm.register('r', 'risky', '{orders}', start_at => 'end', batch_size => 5);
INSERT INTO orders (stream, type, data) SELECT 'r', 'r' || i, CASE WHEN i = 3 THEN '{"fails": "raise"}' ELSE '{}' END::jsonb FROM generate_series(1, 5) i;
SELECT reset_handled();
SET client_min_messages = warning;
DO $$
DECLARE context text;
BEGIN
	PERFORM pm.catch_up('r');
EXCEPTION WHEN raise_exception THEN
	GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
	RAISE WARNING '% / %', SQLERRM, substring(context FROM 'process manager[^\n]*') ~ '^process manager "r", position \d+ of log "orders", type "[^"]*", stream "[^"]*"$';
END $$;
SET client_min_messages = error;
SELECT count(*) FROM handled;
SELECT state, attempts FROM pm_catalog.lane;
SELECT lag FROM pm.status;
SELECT pm.unregister('r');
-- a deferred constraint fails when the caller's transaction ends: everything is undone
CREATE FUNCTION defers(e pm.event) RETURNS void LANGUAGE sql AS $$ INSERT INTO deferred VALUES (e.stream) $$;
SELECT pm.register('d', 'defers', '{orders}', start_at => 'end');
INSERT INTO orders (stream, type) VALUES ('same', 'd'), ('same', 'd');
SELECT pm.catch_up('d');
SELECT count(*) FROM deferred;
SELECT lag FROM pm.status;
SELECT pm.unregister('d');

-- ---- after on_failure => 'policy' the transaction can continue ---------------

SELECT pm.register('r', 'risky', '{orders}', start_at => 'end', on_failure => 'halt', max_attempts => 1);
SELECT pm.register('m', 'note', '{orders}', start_at => 'end');
SELECT reset_handled();
BEGIN;
INSERT INTO orders (stream, type, data) VALUES ('x', 'x1', '{}'), ('x', 'x2', '{"fails": "raise"}'), ('x', 'x3', '{}');
SELECT pm.catch_up(on_failure => 'policy');
INSERT INTO orders (stream, type) VALUES ('x', 'x4');
SELECT pm.catch_up(on_failure => 'policy');
COMMIT;
SELECT who, string_agg(type, ' ' ORDER BY n) FROM handled GROUP BY who ORDER BY who;
SELECT process_manager, state FROM pm_catalog.lane ORDER BY process_manager;
SELECT pm.unregister('r'), pm.unregister('m');
SELECT reset_handled();

-- ---- what handlers must not do ----------------------------------------------

CREATE FUNCTION meddle(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE e.data->>'do';
	RAISE WARNING '%: accepted', e.data->>'do';
EXCEPTION WHEN OTHERS THEN
	RAISE WARNING '%: %', e.data->>'do', SQLERRM;
END $$;
SELECT pm.register('meddler', 'meddle', '{orders}', start_at => 'end');
SELECT pm.register('m', 'note', '{orders}', start_at => 'end');
INSERT INTO orders (stream, type, data) SELECT 'x', 'Do', jsonb_build_object('do', d) FROM unnest(ARRAY[
	'SELECT pm.catch_up()', 'SELECT pm.catch_up(''m'')', 'SELECT pm.pause(''meddler'')', 'SELECT pm.unregister(''meddler'')',
	'SELECT pm.seek(''meddler'', ''orders'', 0)', 'SELECT pm.unfollow(''meddler'', ''orders'')', 'SELECT pm.resume(''meddler'')',
	'SELECT pm.register(''meddler'', ''note'', ''{orders}'')', 'SELECT pm.wait_for(''meddler'')', 'SELECT pm.pause(''m'')',
	'COMMIT', 'ROLLBACK', 'SET TRANSACTION ISOLATION LEVEL SERIALIZABLE']) d;
SET client_min_messages = warning;
SELECT pm.catch_up('meddler');
SET client_min_messages = error;
SELECT name, paused FROM pm.process_manager ORDER BY name;
SELECT pm.unregister('m');
-- settings of a handler end with the batch, and its role is reset to the caller's
CREATE FUNCTION sets(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	RAISE WARNING '% %', current_setting('my.key', true), current_user = session_user;
	PERFORM set_config('my.key', e.type, false);
	PERFORM set_config('search_path', 'nowhere', false);
END $$;
SELECT pm.register('meddler', 'sets', '{orders}');
SET my.key = 'mine';
INSERT INTO orders (stream, type) VALUES ('x', 'theirs'), ('x', 'theirs');
SET client_min_messages = warning;
SELECT pm.catch_up('meddler');
SET client_min_messages = error;
SHOW my.key;
SHOW search_path;
SELECT pm.unregister('meddler');

-- ---- handler_timeout --------------------------------------------------------

CREATE FUNCTION slow(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	SET statement_timeout = 0;
	INSERT INTO handled (type) VALUES (e.type);
	IF e.data ? 'slow' THEN PERFORM pg_sleep(60); END IF;
END $$;
SELECT pm.register('slow', 'slow', '{orders}', start_at => 'end', handler_timeout => '200 ms', on_failure => 'halt', max_attempts => 1);
INSERT INTO orders (stream, type, data) VALUES ('x', 's1', '{}'), ('x', 's2', '{"slow": 1}'), ('x', 's3', '{}');
\set VERBOSITY terse
SELECT pm.catch_up('slow');
\set VERBOSITY default
SELECT pm.catch_up('slow', on_failure => 'policy');
SELECT string_agg(type, ' ' ORDER BY n) FROM handled;
SELECT state, regexp_replace(reason, '\d+', 'N') AS reason, sqlstate FROM pm_catalog.lane;
-- the caller's own timeout is not counted as a failure of the handler
SELECT pm.register('slow', 'slow', '{orders}', handler_timeout => '60 s', on_failure => 'halt', max_attempts => 1);
SELECT pm.resume('slow');
CREATE OR REPLACE FUNCTION slow(e pm.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); END $$;
SET statement_timeout = '300 ms';
SELECT pm.catch_up('slow', on_failure => 'policy');
RESET statement_timeout;
SELECT state, attempts FROM pm_catalog.lane;
SELECT pm.unregister('slow');
SELECT reset_handled();

-- ---- as_of and pm.now() -----------------------------------------------------

CREATE FUNCTION tell_time(e pm.event) RETURNS void LANGUAGE sql AS $$ INSERT INTO handled (type) VALUES (CASE WHEN pm.now() = now() THEN 'now' ELSE to_char(pm.now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') END) $$;
SELECT pm.register('clock', 'tell_time', '{orders}', start_at => 'end');
INSERT INTO orders (stream, type, recorded_at) VALUES ('x', 't', '2029-12-31 10:00 UTC');
SELECT pm.catch_up('clock', as_of => '2030-01-01 12:00 UTC');
SELECT pm.now() = now() AS now_outside;
SELECT pm.append('orders', 'x', 't') > 0 AS appended;
SELECT pm.catch_up('clock');
SELECT type FROM handled ORDER BY n;
CREATE OR REPLACE FUNCTION tell_time(e pm.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'no time'; END $$;
SELECT pm.append('orders', 'x', 't') > 0 AS appended;
\set VERBOSITY sqlstate
SELECT pm.catch_up('clock', as_of => '2030-01-01 12:00 UTC');
\set VERBOSITY default
SELECT pm.now() = now() AS now_outside;
SELECT pm.unregister('clock');
SELECT reset_handled();

-- ---- which roles may call it, and in which transactions ---------------------

-- each role connects as itself
SELECT current_user AS super \gset
CREATE ROLE regress_pm_alice LOGIN;
GRANT USAGE ON SCHEMA pm TO regress_pm_alice;
GRANT SELECT ON orders TO regress_pm_alice;
GRANT INSERT ON handled TO regress_pm_alice;
GRANT USAGE ON SEQUENCE handled_n_seq TO regress_pm_alice;
CREATE FUNCTION who(e pm.event) RETURNS void LANGUAGE sql AS $$ INSERT INTO handled (who, type) VALUES (current_user || ' ' || session_user, e.type) $$;
SET ROLE regress_pm_alice;
SELECT pm.register('a', 'who', '{orders}', start_at => 'end');
RESET ROLE;
SELECT pm.append('orders', 'x', 't') > 0 AS appended;
SELECT pm.catch_up('a');											-- a superuser cannot run alice's process manager
SELECT pm.catch_up();
SET ROLE regress_pm_alice;
SELECT pm.catch_up('a');											-- not even after SET ROLE
SELECT pm.catch_up();
RESET ROLE;
SET SESSION AUTHORIZATION regress_pm_alice;
SELECT pm.catch_up('a');											-- nor after SET SESSION AUTHORIZATION, which a handler could reset
SELECT pm.catch_up();
RESET SESSION AUTHORIZATION;
\c - regress_pm_alice
SET client_min_messages = error;
SELECT pm.catch_up('a');
-- not in a SECURITY DEFINER function either
\c - :super
SET client_min_messages = error;
CREATE FUNCTION definer() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT pm.catch_up()';
\c - regress_pm_alice
SET client_min_messages = error;
SELECT definer();
\c - :super
SET client_min_messages = error;
SELECT who FROM handled;
-- rights are checked when a handler runs, not only at registration
SELECT pm.append('orders', 'x', 't') > 0 AS appended;
REVOKE SELECT ON orders FROM regress_pm_alice;
\c - regress_pm_alice
SET client_min_messages = error;
SELECT pm.catch_up('a');
\c - :super
SET client_min_messages = error;
GRANT SELECT ON orders TO regress_pm_alice;
REVOKE EXECUTE ON FUNCTION who(pm.event) FROM PUBLIC;
\c - regress_pm_alice
SET client_min_messages = error;
SELECT pm.catch_up('a');
\c - :super
SET client_min_messages = error;
GRANT EXECUTE ON FUNCTION who(pm.event) TO PUBLIC;
REVOKE INSERT ON handled FROM regress_pm_alice;
\c - regress_pm_alice
SET client_min_messages = error;
SELECT pm.catch_up('a');
\c - :super
SET client_min_messages = error;
GRANT INSERT ON handled TO regress_pm_alice;
\c - regress_pm_alice
SET client_min_messages = error;
SELECT pm.catch_up('a');
\c - :super
SET client_min_messages = error;
-- the handler of a superuser's process manager must still belong to a superuser
SELECT pm.register('s', 'who', '{orders}', start_at => 'end');
ALTER FUNCTION who(pm.event) OWNER TO regress_pm_alice;
SELECT pm.append('orders', 'x', 't') > 0 AS appended;
-- terse: the hint names the superuser, who has another name on each server
\set VERBOSITY terse
SELECT pm.catch_up('s');
\set VERBOSITY default
ALTER FUNCTION who(pm.event) OWNER TO CURRENT_USER;
SELECT pm.catch_up('s');
SELECT pm.unregister('s');

-- transactions in which it cannot be used, and invalid arguments
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pm.catch_up();
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT pm.catch_up();
ROLLBACK;
SELECT pm.register('m', 'note', '{orders}', start_at => 'end');
SELECT pm.append('orders', 'x', 't') > 0 AS appended;
BEGIN READ ONLY;
SELECT pm.catch_up('m');
ROLLBACK;
SELECT pm.catch_up('m', on_failure => 'skip');
SELECT pm.catch_up('m', on_failure => NULL);
SELECT pm.catch_up('nobody');
-- events that a savepoint has undone are not kept for another process manager
SELECT pm.register('first', 'note', '{orders}', start_at => 'end'), pm.register('second', 'note', '{orders}', start_at => 'end');
BEGIN;
SAVEPOINT s;
INSERT INTO orders (stream, type) VALUES ('o-9', 'Undone');
SELECT pm.catch_up('first');
ROLLBACK TO s;
INSERT INTO orders (stream, type) VALUES ('o-9', 'Real');
SELECT pm.catch_up();
SELECT type, count(*) FROM handled WHERE stream = 'o-9' GROUP BY type;
ROLLBACK;
SELECT pm.unregister('first'), pm.unregister('second');
-- in a procedure that commits
CREATE PROCEDURE handle_each() LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 3 LOOP
		PERFORM pm.append('orders', 'x', 'p' || i);
		PERFORM pm.catch_up('m');
		COMMIT;
	END LOOP;
END $$;
CALL handle_each();
SELECT count(*), count(DISTINCT "position") FROM handled WHERE type LIKE 'p_';
SELECT pm.unregister('m');
\c - regress_pm_alice
SET client_min_messages = error;
SELECT pm.unregister('a');
\c - :super
SET client_min_messages = error;

DROP OWNED BY regress_pm_alice;
DROP ROLE regress_pm_alice;
SELECT pm.drop_log('orders'), pm.drop_log('payments');
DROP VIEW seen;
DROP TABLE orders, payments, handled, deferred;
DROP PROCEDURE handle_each();
DROP FUNCTION note(pm.event), reset_handled(), tell(pm.event), countdown(pm.event), note_all(pm.event[]), all_or_none(pm.event[]),
	risky(pm.event), fail_at(int, text, int), defers(pm.event), meddle(pm.event), sets(pm.event), slow(pm.event), tell_time(pm.event), who(pm.event), definer();
