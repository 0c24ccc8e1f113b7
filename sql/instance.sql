-- Instances: handlers with a state for each key, and correlate, which computes the key
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
-- a batch ends only after batch_size events, even on a slow machine
ALTER SYSTEM SET pm.batch_duration = '1h';
\i :no_workers
\set ECHO all

SELECT pm.create_log('orders'), pm.create_log('payments');
CREATE TABLE handled (n serial, key text, type text, state jsonb);
-- Counts the events of its key; for the types 'end', 'null' and 'fail' it ends, returns NULL or fails.
CREATE FUNCTION count_events(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO handled (key, type, state) VALUES (e.stream, e.type, state);
	CASE e.type
		WHEN 'end' THEN RETURN pm.done();
		WHEN 'null' THEN RETURN NULL;
		WHEN 'fail' THEN RAISE 'failed at %', state;
		ELSE RETURN jsonb_build_object('n', coalesce((state->>'n')::int, 0) + 1, 'last', e.type);
	END CASE;
END $$;
CREATE FUNCTION write_down(e pm.event) RETURNS void LANGUAGE sql AS $$ INSERT INTO handled (key, type) VALUES (e.stream, e.type) $$;
CREATE FUNCTION write_all(e pm.event[]) RETURNS void LANGUAGE sql AS $$ INSERT INTO handled (key, type) SELECT x.stream, x.type FROM unnest(e) x $$;
CREATE FUNCTION reset_handled() RETURNS void LANGUAGE sql AS $$ TRUNCATE handled; ALTER SEQUENCE handled_n_seq RESTART $$;

-- ---- which functions can be handlers with a state ---------------------------

CREATE FUNCTION is_strict(e pm.event, state jsonb) RETURNS jsonb LANGUAGE sql STRICT AS 'SELECT state';
CREATE FUNCTION returns_json(e pm.event, state jsonb) RETURNS json LANGUAGE sql AS 'SELECT state::json';
CREATE FUNCTION returns_text(e pm.event, state jsonb) RETURNS text LANGUAGE sql AS 'SELECT state::text';
CREATE FUNCTION returns_void(e pm.event, state jsonb) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION returns_array(e pm.event, state jsonb) RETURNS jsonb[] LANGUAGE sql AS 'SELECT ARRAY[state]';
CREATE FUNCTION returns_set(e pm.event, state jsonb) RETURNS SETOF jsonb LANGUAGE sql AS 'SELECT state';
CREATE FUNCTION returns_record(e pm.event, state jsonb, OUT a jsonb, OUT b int) LANGUAGE sql AS 'SELECT state, 1';
CREATE FUNCTION takes_json(e pm.event, state json) RETURNS jsonb LANGUAGE sql AS 'SELECT state::jsonb';
CREATE FUNCTION takes_array(e pm.event[], state jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT state';
CREATE FUNCTION turned_round(state jsonb, e pm.event) RETURNS jsonb LANGUAGE sql AS 'SELECT state';
CREATE FUNCTION takes_three(e pm.event, state jsonb, i int DEFAULT 1) RETURNS jsonb LANGUAGE sql AS 'SELECT state';
CREATE FUNCTION takes_anything(e anyelement, state jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT state';
CREATE PROCEDURE a_procedure(e pm.event, INOUT state jsonb) LANGUAGE plpgsql AS 'BEGIN END';
CREATE FUNCTION in_and_out(e pm.event, INOUT state jsonb) LANGUAGE sql AS $$ SELECT '{"inout": true}'::jsonb $$;
CREATE FUNCTION defaulted(e pm.event, state jsonb DEFAULT '{"default": true}') RETURNS jsonb LANGUAGE sql AS 'SELECT state';
CREATE FUNCTION two_kinds(e pm.event) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION two_kinds(e pm.event, state jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT state';
CREATE FUNCTION one_fits(e pm.event, state json) RETURNS jsonb LANGUAGE sql AS 'SELECT state::jsonb';
CREATE FUNCTION one_fits(e pm.event, state jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT state';
CREATE FUNCTION one_fits(e text) RETURNS void LANGUAGE sql AS '';
SELECT pm.register('m', 'is_strict', '{orders}');
SELECT pm.register('m', 'is_strict(pm.event, jsonb)', '{orders}');
SELECT pm.register('m', 'returns_json', '{orders}');
SELECT pm.register('m', 'returns_text', '{orders}');
SELECT pm.register('m', 'returns_void', '{orders}');
SELECT pm.register('m', 'returns_array', '{orders}');
SELECT pm.register('m', 'returns_set', '{orders}');
SELECT pm.register('m', 'returns_record', '{orders}');
SELECT pm.register('m', 'takes_json', '{orders}');
SELECT pm.register('m', 'takes_array', '{orders}');
SELECT pm.register('m', 'turned_round', '{orders}');
SELECT pm.register('m', 'takes_three', '{orders}');
SELECT pm.register('m', 'takes_anything', '{orders}');
SELECT pm.register('m', 'a_procedure', '{orders}');
SELECT pm.register('m', 'two_kinds', '{orders}');
SELECT count(*) FROM pm.process_manager;
SELECT pm.register('m', 'two_kinds(pm.event, jsonb)', '{orders}');
SELECT handler FROM pm.process_manager;
SELECT pm.register('m', 'two_kinds(pm.event)', '{orders}');
SELECT handler FROM pm.process_manager;
SELECT pm.register('m', 'one_fits', '{orders}');
SELECT handler FROM pm.process_manager;
SELECT pm.register('m', 'in_and_out', '{orders}');
SELECT pm.append('orders', 'a', 'first');
SELECT pm.catch_up('m');
SELECT key, state FROM pm.instance;
SELECT pm.unregister('m');
-- a default of the argument is not used: state is NULL where there is no instance
SELECT pm.register('m', 'defaulted', '{orders}', start_at => 'beginning');
SELECT pm.catch_up('m');
SELECT count(*) FROM pm.instance;
SELECT pm.unregister('m');
-- the handler is made strict, or gets another result type, after registration: the lane waits and gives the reason
SELECT pm.register('m', 'defaulted', '{orders}', start_at => 'beginning');
ALTER FUNCTION defaulted(pm.event, jsonb) STRICT;
SELECT pm.catch_up('m');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT state, reason, hint FROM pm_catalog.lane;
ALTER FUNCTION defaulted(pm.event, jsonb) CALLED ON NULL INPUT;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT state FROM pm_catalog.lane;
SELECT pm.append('orders', 'a', 'second') > 0 AS appended;
DROP FUNCTION defaulted(pm.event, jsonb);
CREATE FUNCTION defaulted(e pm.event, state jsonb) RETURNS text LANGUAGE sql AS 'SELECT state::text';
SELECT pm.catch_up('m');
SELECT pm.unregister('m');

-- ---- the state is kept ------------------------------------------------------

SELECT pm.register('m', 'count_events', '{orders,payments}', start_at => 'end');
SELECT pm.append('orders', 'a', 'one') > 0, pm.append('orders', 'b', 'one') > 0, pm.append('orders', 'a', 'two') > 0;
SELECT pm.catch_up('m');
SELECT process_manager, key, state, started_at <= updated_at AND updated_at <= clock_timestamp() AS timed FROM pm.instance ORDER BY key;
-- over all its logs, and from batch to batch
SELECT pm.append('payments', 'a', 'three') > 0 AS appended;
SELECT pm.catch_up('m');
SELECT key, state FROM pm.instance ORDER BY key;
-- what the handler receives: NULL at first, then what it has returned
SELECT key, type, state FROM handled ORDER BY n;
SELECT reset_handled();
-- the instance ends
SELECT pm.append('orders', 'a', 'end') > 0 AS appended;
SELECT pm.catch_up('m');
SELECT key, state FROM pm.instance ORDER BY key;
SELECT pm.append('orders', 'a', 'end') > 0 AS appended;						-- no instance to end
SELECT pm.catch_up('m');
SELECT key FROM pm.instance ORDER BY key;
SELECT pm.append('orders', 'a', 'anew') > 0 AS appended;
SELECT pm.catch_up('m');
SELECT key, state FROM pm.instance ORDER BY key;
SELECT key, type, state FROM handled ORDER BY n;
SELECT reset_handled();
-- NULL where there is no instance creates none
SELECT pm.append('orders', 'c', 'null') > 0 AS appended;
SELECT pm.catch_up('m');
SELECT key FROM pm.instance ORDER BY key;
-- NULL for a live instance is a failure
SELECT pm.append('orders', 'b', 'null') > 0 AS appended;
SELECT pm.catch_up('m');
\set VERBOSITY sqlstate
SELECT pm.catch_up('m');
\set VERBOSITY default
SELECT key, state FROM pm.instance ORDER BY key;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT key, state, message, detail, context, sqlstate, attempts FROM pm.parked;
SELECT key, state FROM pm.instance ORDER BY key;
-- likewise if the instance was created in the same batch
SELECT pm.append('orders', 'd', 'one') > 0, pm.append('orders', 'd', 'null') > 0;
\set VERBOSITY sqlstate
SELECT pm.catch_up('m');
\set VERBOSITY default
SELECT count(*) FROM pm.instance WHERE key = 'd';
-- but not if it has ended in the same batch
SELECT pm.unregister('m');
SELECT count(*) FROM pm_catalog.instance;
SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end');
SELECT pm.append('orders', 'd', 'one') > 0, pm.append('orders', 'd', 'end') > 0, pm.append('orders', 'd', 'null') > 0;
SELECT pm.catch_up('m');
SELECT count(*) FROM pm.instance;
-- a rollback undoes the state, too
BEGIN;
SELECT pm.append('orders', 'e', 'one') > 0 AS appended;
SELECT pm.catch_up('m');
SELECT key, state FROM pm.instance;
SAVEPOINT s;
SELECT pm.append('orders', 'e', 'two') > 0 AS appended;
SELECT pm.catch_up('m');
SELECT key, state FROM pm.instance;
ROLLBACK TO s;
SELECT key, state FROM pm.instance;
SELECT pm.append('orders', 'e', 'three') > 0 AS appended;
SELECT pm.catch_up('m');
SELECT key, state FROM pm.instance;
ROLLBACK;
SELECT key, state FROM pm.instance;
SELECT pm.unregister('m');
SELECT reset_handled();

-- ---- any jsonb value is a state ---------------------------------------------

CREATE FUNCTION keep_data(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO handled (key, type, state) VALUES (e.stream, CASE WHEN state IS NULL THEN 'no state' ELSE jsonb_typeof(state) END, state);
	RETURN e.data;
END $$;
SELECT pm.register('m', 'keep_data', '{orders}', start_at => 'end');
INSERT INTO orders (stream, type, data) SELECT 's', 'x', d FROM unnest('{"null","null",true,"1.50","\"text\"","[]","[1, [2, {}]]","{}","{\"a\": null}"}'::jsonb[]) WITH ORDINALITY u(d, n) ORDER BY n;
SELECT pm.catch_up('m');
SELECT type, state FROM handled ORDER BY n;
SELECT state FROM pm.instance;
SELECT reset_handled();
-- with one event per batch
SELECT pm.seek('m', 'orders', 0);
SELECT pm.seek('m', 'orders', (SELECT min(position) - 1 FROM orders WHERE stream = 's'), reset => true);
SELECT pm.register('m', 'keep_data', '{orders}', batch_size => 1);
SELECT pm.catch_up('m');
SELECT type, state FROM handled ORDER BY n;
SELECT state FROM pm.instance;
SELECT reset_handled();
-- large states, within one batch and across batches
CREATE FUNCTION grow(e pm.event, state jsonb) RETURNS jsonb LANGUAGE sql AS
$$ SELECT coalesce(state, '[]') || to_jsonb(ARRAY(SELECT md5(e.type || i) FROM generate_series(1, 2000) i)) $$;
SELECT pm.register('m', 'grow', '{orders}', batch_size => 3);
INSERT INTO orders (stream, type) SELECT 'large', 't' || i FROM generate_series(1, 5) i;
SELECT pm.catch_up('m');
SELECT jsonb_array_length(state), md5(state::text) = md5((SELECT to_jsonb(array_agg(md5('t' || t || i) ORDER BY t, i))::text FROM generate_series(1, 5) t, generate_series(1, 2000) i)) AS complete
FROM pm.instance WHERE key = 'large';
SELECT pm.unregister('m');

-- ---- many events of the same keys in one batch: one row version for each key ---

SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end', batch_size => 1000);
CREATE VIEW written AS SELECT n_tup_ins AS inserted, n_tup_upd AS updated, n_tup_del AS deleted FROM pg_stat_xact_user_tables WHERE schemaname = 'pm_catalog' AND relname = 'instance';
BEGIN;
SELECT * FROM written \gset
INSERT INTO orders (stream, type) SELECT 'k-' || i % 3, 't' || i FROM generate_series(1, 60) i;
SELECT pm.catch_up('m');
SELECT inserted - :inserted AS inserted, updated - :updated AS updated, deleted - :deleted AS deleted FROM written;
COMMIT;
SELECT key, state FROM pm.instance ORDER BY key;
BEGIN;
SELECT * FROM written \gset
INSERT INTO orders (stream, type) SELECT 'k-' || i % 3, 't' || i FROM generate_series(1, 60) i;
SELECT pm.catch_up('m');
SELECT inserted - :inserted AS inserted, updated - :updated AS updated, deleted - :deleted AS deleted FROM written;
COMMIT;
SELECT key, state FROM pm.instance ORDER BY key;
-- ended and created again in the same batch: still one row version
SELECT key, started_at AS "before" FROM pm.instance WHERE key = 'k-0' \gset
BEGIN;
SELECT * FROM written \gset
INSERT INTO orders (stream, type) VALUES ('k-0', 't1'), ('k-0', 'end'), ('k-0', 't2'), ('k-0', 'end'), ('k-0', 't3'), ('k-0', 't4'), ('k-1', 't1');
SELECT pm.catch_up('m');
SELECT inserted - :inserted AS inserted, updated - :updated AS updated, deleted - :deleted AS deleted FROM written;
COMMIT;
SELECT key, state, started_at > :'before' AS anew, started_at <= updated_at AS timed FROM pm.instance ORDER BY key;
-- an ended instance has no row
BEGIN;
SELECT * FROM written \gset
INSERT INTO orders (stream, type) VALUES ('k-0', 't1'), ('k-0', 'end');
SELECT pm.catch_up('m');
SELECT inserted - :inserted AS inserted, updated - :updated AS updated, deleted - :deleted AS deleted FROM written;
COMMIT;
SELECT key FROM pm.instance ORDER BY key;
-- created and ended in the same batch: never written
BEGIN;
SELECT * FROM written \gset
INSERT INTO orders (stream, type) VALUES ('k-9', 't1'), ('k-9', 't2'), ('k-9', 'end');
SELECT pm.catch_up('m');
SELECT inserted - :inserted AS inserted, updated - :updated AS updated, deleted - :deleted AS deleted FROM written;
COMMIT;
SELECT key FROM pm.instance ORDER BY key;
-- unchanged instances are not written, and keep their times
SELECT started_at AS then_started, updated_at AS then_updated FROM pm.instance WHERE key = 'k-1' \gset
BEGIN;
SELECT * FROM written \gset
INSERT INTO orders (stream, type) VALUES ('k-8', 'null'), ('k-7', 'end'), ('k-2', 't1');
SELECT pm.catch_up('m');
SELECT inserted - :inserted AS inserted, updated - :updated AS updated, deleted - :deleted AS deleted FROM written;
COMMIT;
SELECT key, started_at = :'then_started' AS started_then, updated_at = :'then_updated' AS updated_then FROM pm.instance WHERE key = 'k-1';
INSERT INTO orders (stream, type) VALUES ('k-1', 't2');
SELECT pm.catch_up('m');
SELECT key, started_at = :'then_started' AS started_then, updated_at > :'then_updated' AS updated_since FROM pm.instance WHERE key = 'k-1';
-- with one event per batch: one row version per event
SELECT pm.register('m', 'count_events', '{orders}', batch_size => 1);
BEGIN;
SELECT * FROM written \gset
INSERT INTO orders (stream, type) SELECT 'k-5', 't' || i FROM generate_series(1, 4) i;
SELECT pm.catch_up('m');
SELECT inserted - :inserted AS inserted, updated - :updated AS updated, deleted - :deleted AS deleted FROM written;
COMMIT;
-- very many keys in one batch
SELECT pm.register('m', 'count_events', '{orders}', batch_size => 5000);
BEGIN;
SELECT * FROM written \gset
INSERT INTO orders (stream, type) SELECT 'many-' || i % 1000, 't' || i FROM generate_series(0, 2999) i;
SELECT pm.catch_up('m');
SELECT inserted - :inserted AS inserted, updated - :updated AS updated, deleted - :deleted AS deleted FROM written;
COMMIT;
SELECT count(*), min(state::text), count(DISTINCT state->>'n'), bool_and(state->>'last' = 't' || substr(key, 6)::int + 2000) AS its_own FROM pm.instance WHERE key LIKE 'many-%';
SELECT pm.unregister('m');
SELECT count(*) FROM pm_catalog.instance;
SELECT reset_handled();

-- ---- a failure at each position of a batch ----------------------------------

-- Whichever event fails and whatever the batch size, each event counts once.
CREATE FUNCTION fail_at(failing int, batch_size int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	PERFORM pm.register('r', 'count_events', '{orders}', start_at => 'end', batch_size => fail_at.batch_size, on_failure => 'halt', max_attempts => 1);
	INSERT INTO orders (stream, type) SELECT CASE WHEN i % 2 = 0 THEN 'even' ELSE 'odd' END, CASE WHEN i = failing THEN 'fail' ELSE 't' || i END FROM generate_series(1, 6) i;
	PERFORM pm.catch_up('r', on_failure => 'policy');
	SELECT l.state INTO result FROM pm_catalog.lane l WHERE process_manager = 'r';
	result := result || ': ' || coalesce((SELECT string_agg(format('%s %s', key, state), ', ' ORDER BY key) FROM pm.instance WHERE process_manager = 'r'), '');
	UPDATE orders SET type = 'mended' WHERE type = 'fail';
	PERFORM pm.resume('r');
	PERFORM pm.catch_up('r', on_failure => 'policy');
	result := result || ', mended: ' || (SELECT string_agg(format('%s %s', key, state->'n'), ', ' ORDER BY key) FROM pm.instance WHERE process_manager = 'r');
	PERFORM pm.unregister('r');
	RETURN result;
END $$;
SELECT i AS failing, count(DISTINCT fail_at(i, b)) AS results, min(fail_at(i, b)) FROM generate_series(1, 6) i, unnest('{1,2,3,100}'::int[]) b GROUP BY i ORDER BY i;
SELECT reset_handled();

-- ---- which functions correlate can be ---------------------------------------

CREATE SCHEMA other;
CREATE FUNCTION by_order(e pm.event) RETURNS text LANGUAGE sql STABLE AS $$ SELECT e.data->>'order' $$;
CREATE FUNCTION other.by_order(e pm.event) RETURNS text LANGUAGE sql STABLE AS $$ SELECT 'other' $$;
CREATE FUNCTION "By Type"(e pm.event) RETURNS text LANGUAGE sql AS $$ SELECT e.type $$;
CREATE FUNCTION key_int(e pm.event) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION key_name(e pm.event) RETURNS name LANGUAGE sql AS $$ SELECT 'n'::name $$;
CREATE FUNCTION key_varchar(e pm.event) RETURNS varchar LANGUAGE sql AS $$ SELECT 'v'::varchar $$;
CREATE FUNCTION key_set(e pm.event) RETURNS SETOF text LANGUAGE sql AS $$ SELECT 's'::text $$;
CREATE FUNCTION key_void(e pm.event) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION key_array(e pm.event[]) RETURNS text LANGUAGE sql AS $$ SELECT 'a'::text $$;
CREATE FUNCTION key_jsonb(e jsonb) RETURNS text LANGUAGE sql AS $$ SELECT 'j'::text $$;
CREATE FUNCTION key_two(e pm.event, state jsonb) RETURNS text LANGUAGE sql AS $$ SELECT 't'::text $$;
CREATE FUNCTION key_none() RETURNS text LANGUAGE sql AS $$ SELECT 'n'::text $$;
CREATE PROCEDURE key_procedure(e pm.event, INOUT t text) LANGUAGE plpgsql AS 'BEGIN END';
CREATE FUNCTION key_strict(e pm.event) RETURNS text LANGUAGE sql STRICT AS $$ SELECT 'strict'::text $$;
CREATE FUNCTION key_out(e pm.event, OUT key text) LANGUAGE sql AS $$ SELECT 'out'::text $$;
SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end', correlate => 'nosuch');
SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end', correlate => '');
SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end', correlate => 'By Type');
SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end', correlate => 'key_int');
SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end', correlate => 'key_name');
SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end', correlate => 'key_varchar');
SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end', correlate => 'key_set');
SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end', correlate => 'key_void');
SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end', correlate => 'key_array');
SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end', correlate => 'key_jsonb');
SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end', correlate => 'key_two');
SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end', correlate => 'key_none');
SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end', correlate => 'key_procedure');
SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end', correlate => 'key_int(pm.event)');
SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end', correlate => 'nowhere.by_order');
SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end', correlate => 'count_events');
SELECT count(*) FROM pm.process_manager;
SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end', correlate => 'key_strict');
SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end', correlate => 'key_out');
SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end', correlate => '"By Type"');
SELECT correlate FROM pm.process_manager;
-- found along the search_path, stored with its schema
SET search_path = other, public;
SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end', correlate => 'by_order');
SELECT correlate FROM pm.process_manager;
RESET search_path;
SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end', correlate => 'by_order(pm.event)');
SELECT correlate FROM pm.process_manager;
SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end');
SELECT correlate FROM pm.process_manager;
-- the owner needs EXECUTE, and a superuser's process manager needs a superuser's function
CREATE ROLE regress_pm_alice LOGIN;
GRANT USAGE ON SCHEMA pm TO regress_pm_alice;
GRANT SELECT ON orders TO regress_pm_alice;
REVOKE EXECUTE ON FUNCTION by_order(pm.event) FROM PUBLIC;
SET ROLE regress_pm_alice;
SELECT pm.register('a', 'count_events', '{orders}', start_at => 'end', correlate => 'by_order');
RESET ROLE;
GRANT EXECUTE ON FUNCTION by_order(pm.event) TO PUBLIC;
ALTER FUNCTION by_order(pm.event) OWNER TO regress_pm_alice;
-- terse: the hint names the superuser, who has another name on each server
\set VERBOSITY terse
SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end', correlate => 'by_order');
\set VERBOSITY default
ALTER FUNCTION by_order(pm.event) OWNER TO CURRENT_USER;

-- ---- what correlate does ----------------------------------------------------

SELECT pm.register('m', 'count_events', '{orders,payments}', start_at => 'end', correlate => 'by_order', batch_size => 3);
INSERT INTO orders (stream, type, data, recorded_at) VALUES ('o-1', 'placed', '{"order": "1"}', '2026-01-01 UTC'), ('o-2', 'placed', '{"order": "2"}', '2026-01-03 UTC'), ('o-3', 'not for us', '{}', '2026-01-04 UTC');
INSERT INTO payments (stream, type, data, recorded_at) VALUES ('p-1', 'paid', '{"order": "1"}', '2026-01-02 UTC'), ('p-2', 'paid', '{"order": null}', '2026-01-05 UTC'), ('p-3', 'paid', '{"order": "2"}', '2026-01-06 UTC');
SELECT pm.catch_up('m');
SELECT key, state FROM pm.instance ORDER BY key;
SELECT key, type, state FROM handled ORDER BY n;
-- events whose key is NULL: the cursor passes them, also at the end of the log
INSERT INTO payments (stream, type) SELECT 'p-' || i, 'nobody''s' FROM generate_series(1, 7) i;
SELECT pm.catch_up('m');
SELECT c.log, c.position = pm.high_water_mark(c.log) AS at_the_mark FROM pm.cursor c ORDER BY log;
SELECT log, handled, lag, errors FROM pm.status ORDER BY log;
SELECT reset_handled();
-- it is not called for events of other types
CREATE FUNCTION by_order_only(e pm.event) RETURNS text LANGUAGE plpgsql AS $$ BEGIN IF e.type <> 'placed' THEN RAISE 'not asked for: %', e.type; END IF; RETURN e.data->>'order'; END $$;
SELECT pm.register('t', 'count_events', '{orders}', start_at => 'end', correlate => 'by_order_only', types => '{placed}');
INSERT INTO orders (stream, type, data) VALUES ('o', 'placed', '{"order": "t"}'), ('o', 'other', '{"order": "t"}');
SELECT pm.catch_up('t');
SELECT key, state FROM pm.instance WHERE process_manager = 't';
SELECT pm.unregister('t'), pm.unregister('m');
-- also for handlers without a state
SELECT pm.register('e', 'write_down', '{orders}', start_at => 'end', correlate => 'by_order');
SELECT pm.register('b', 'write_all', '{orders}', start_at => 'end', correlate => 'by_order');
SELECT reset_handled();
INSERT INTO orders (stream, type, data) VALUES ('o-1', 'ours', '{"order": "1"}'), ('o-2', 'not for us', '{}'), ('o-3', 'ours', '{"order": "1"}');
SELECT pm.catch_up('e');
SELECT pm.catch_up('b');
SELECT key, type FROM handled ORDER BY n;
INSERT INTO orders (stream, type) SELECT 'o', 'not for us' FROM generate_series(1, 3);
SELECT pm.catch_up();
SELECT process_manager, lag, handled FROM pm.status ORDER BY 1;
SELECT count(*) FROM pm_catalog.instance;
SELECT pm.unregister('e'), pm.unregister('b');
SELECT reset_handled();
-- it sees what the handler wrote for an earlier event of the same batch
CREATE TABLE payment_of (payment text PRIMARY KEY, "order" text);
CREATE FUNCTION look_up(e pm.event) RETURNS text LANGUAGE sql STABLE AS $$ SELECT CASE WHEN e.log = 'orders' THEN e.stream ELSE (SELECT "order" FROM payment_of WHERE payment = e.stream) END $$;
CREATE FUNCTION look_up_volatile(e pm.event) RETURNS text LANGUAGE plpgsql VOLATILE AS $$ BEGIN RETURN CASE WHEN e.log = 'orders' THEN e.stream ELSE (SELECT "order" FROM payment_of WHERE payment = e.stream) END; END $$;
CREATE FUNCTION pay(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF e.type = 'placed' THEN INSERT INTO payment_of VALUES (e.data->>'payment', e.stream); END IF;
	IF e.type = 'settled' THEN DELETE FROM payment_of WHERE payment = e.stream; END IF;
	RETURN coalesce(state, '[]') || to_jsonb(e.type);
END $$;
CREATE FUNCTION looked_up(correlate text, batch_size int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	PERFORM pm.register('l', 'pay', '{orders,payments}', start_at => 'end', correlate => looked_up.correlate, batch_size => looked_up.batch_size);
	INSERT INTO orders (stream, type, data, recorded_at) VALUES ('o-1', 'placed', '{"payment": "p-1"}', '2026-01-01 10:00 UTC'), ('o-2', 'placed', '{"payment": "p-2"}', '2026-01-01 10:02 UTC');
	INSERT INTO payments (stream, type, recorded_at) VALUES ('p-2', 'too early', '2026-01-01 10:01 UTC'), ('p-1', 'opened', '2026-01-01 10:03 UTC'), ('p-2', 'opened', '2026-01-01 10:04 UTC'),
		('p-1', 'settled', '2026-01-01 10:05 UTC'), ('p-1', 'too late', '2026-01-01 10:06 UTC');
	PERFORM pm.catch_up('l');
	SELECT string_agg(format('%s %s', key, state), ', ' ORDER BY key) INTO result FROM pm.instance WHERE process_manager = 'l';
	PERFORM pm.unregister('l');
	DELETE FROM payment_of;
	RETURN result;
END $$;
SELECT c, b, looked_up(c, b) FROM unnest('{look_up,look_up_volatile}'::text[]) c, unnest('{1,2,3,100}'::int[]) b ORDER BY c, b;

-- ---- keys -------------------------------------------------------------------

-- a key is any text, compared by its bytes
SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end', batch_size => 7);
INSERT INTO orders (stream, type) SELECT k, 't' FROM unnest(ARRAY['', ' ', 'plain', 'Plain', 'quo''te', 'dou"ble', E'new\nline', E'tab\t', 'back\slash', '{a,"b"}', '(1,2)', '%s %n', '$1', '--', '🐟', 'Æther', E'e\u0301', E'\u00e9', 'NULL']) k,
	generate_series(1, 2);
SELECT pm.catch_up('m');
SELECT to_jsonb(key) AS key, state->'n' AS n FROM pm.instance ORDER BY key COLLATE "C";
SELECT pm.unregister('m');
-- a long key is replaced by its hash
CREATE FUNCTION long_key(e pm.event) RETURNS text LANGUAGE sql AS $$ SELECT repeat(e.data->>'of', (e.data->>'times')::int) || coalesce(e.data->>'then', '') $$;
SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end', correlate => 'long_key');
INSERT INTO orders (stream, type, data) SELECT 'long', 't', d FROM unnest(ARRAY['{"of": "x", "times": 1000}', '{"of": "x", "times": 1001}', '{"of": "x", "times": 1000, "then": "y"}',
	'{"of": "é", "times": 500}', '{"of": "é", "times": 500, "then": "x"}', '{"of": "🐟", "times": 1000000}', '{"of": "", "times": 1}']::jsonb[]) d, generate_series(1, 2);
SELECT pm.catch_up('m');
SELECT CASE WHEN length(key) > 100 THEN format('%s..., %s bytes', left(key, 10), octet_length(key)) ELSE key END AS key, state->'n' AS n FROM pm.instance ORDER BY key COLLATE "C";
SELECT bool_and(key IN (SELECT 'sha256:' || encode(sha256(convert_to(k, 'UTF8')), 'hex') FROM unnest(ARRAY[repeat('x', 1001), repeat('x', 1000) || 'y', repeat('é', 500) || 'x', repeat('🐟', 1000000)]) k)) AS hashed
FROM pm.instance WHERE key LIKE 'sha256:%';
INSERT INTO orders (stream, type, data) VALUES ('long', 't', '{"of": "x", "times": 1001}');
SELECT pm.catch_up('m');
SELECT state->'n' AS n FROM pm.instance WHERE key = 'sha256:' || encode(sha256(convert_to(repeat('x', 1001), 'UTF8')), 'hex');
SELECT pm.unregister('m');

-- ---- correlate fails: the lane halts, because there is no key to park the event under ---

CREATE FUNCTION moody(e pm.event) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF e.data ? 'raise' THEN RAISE 'no key for %', e.type USING DETAIL = 'it has none'; END IF;
	IF e.data ? 'sleep' THEN PERFORM pg_sleep(60); END IF;
	RETURN e.stream;
END $$;
SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end', correlate => 'moody', handler_timeout => '300 ms');
SELECT pm.append('orders', 'a', 'before') AS before, pm.append('orders', 'bad', 'odd', '{"raise": 1}') AS bad, pm.append('orders', 'a', 'behind') AS behind \gset
\set VERBOSITY terse
SELECT pm.catch_up('m');
\set VERBOSITY default
SELECT count(*) FROM pm.instance;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT key, state FROM pm.instance;
SELECT process_manager, log, state, replace(reason, :'bad', 'N') AS reason, replace(hint, :'bad', 'N') AS hint, "position" = :before AS before_it, parked, errors FROM pm.status;
SELECT state, message, detail, sqlstate FROM pm_catalog.lane;
SELECT count(*) FROM pm_catalog.parked;
-- it stays halted, and later events wait
\set VERBOSITY sqlstate
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT pm.catch_up('m');
\set VERBOSITY default
-- resumed without a correction it halts again
SELECT pm.resume('m');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT state FROM pm.status;
-- pm.seek passes the event
SELECT pm.seek('m', 'orders', :bad);
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT key, state FROM pm.instance;
-- the function is corrected
SELECT pm.append('orders', 'bad', 'odd', '{"raise": 1}') > 0 AS appended;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT state FROM pm.status;
CREATE OR REPLACE FUNCTION moody(e pm.event) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF e.data ? 'sleep' THEN PERFORM pg_sleep(60); END IF;
	RETURN e.stream;
END $$;
SELECT pm.resume('m');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT key, state FROM pm.instance ORDER BY key;
-- it exceeds handler_timeout
SELECT pm.append('orders', 'a', 'slow', '{"sleep": 1}') > 0 AS appended;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT state, message, sqlstate FROM pm_catalog.lane;
SELECT pm.unregister('m');
-- dropped, or with another result type: the lane waits
SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end', correlate => 'moody');
SELECT pm.append('orders', 'a', 'fine') > 0 AS appended;
DROP FUNCTION moody(pm.event);
SELECT pm.catch_up('m');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT state, reason, hint FROM pm_catalog.lane;
CREATE FUNCTION moody(e pm.event) RETURNS int LANGUAGE sql AS 'SELECT 1';
SELECT pm.catch_up('m');
DROP FUNCTION moody(pm.event);
CREATE FUNCTION moody(e pm.event) RETURNS text LANGUAGE sql AS 'SELECT e.stream';
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT key, state FROM pm.instance;
SELECT state FROM pm_catalog.lane;

-- ---- registering with other arguments while there are instances -------------

SELECT pm.register('m', 'count_events', '{orders}', correlate => 'by_order');
SELECT pm.register('m', 'count_events', '{orders}');
SELECT pm.register('m', 'write_down', '{orders}', correlate => 'moody');
SELECT pm.register('m', 'write_all', '{orders}', correlate => 'moody');
\set VERBOSITY sqlstate
SELECT pm.register('m', 'count_events', '{orders}');
\set VERBOSITY default
SELECT handler, correlate FROM pm.process_manager;
-- allowed: another handler with a state, the same correlate written differently, other settings
SELECT pm.register('m', 'keep_data', '{orders}', correlate => 'public.moody(pm.event)', batch_size => 2);
SELECT handler, correlate, batch_size FROM pm.process_manager;
-- allowed again once no instance is left
SELECT pm.register('m', 'count_events', '{orders}', correlate => 'moody');
SELECT pm.append('orders', 'a', 'end') > 0 AS appended;
SELECT pm.catch_up('m');
SELECT count(*) FROM pm.instance;
SELECT pm.register('m', 'write_down', '{orders}', correlate => 'by_order');
SELECT handler, correlate FROM pm.process_manager;
SELECT pm.register('m', 'count_events', '{orders}');
SELECT handler, correlate FROM pm.process_manager;

-- ---- pm.seek ----------------------------------------------------------------

SELECT pm.append('orders', 'a', 'one') AS one, pm.append('orders', 'a', 'two') AS two \gset
SELECT pm.catch_up('m');
SELECT key, state FROM pm.instance;
SELECT pm.seek('m', 'orders', :one);
SELECT pm.seek('m', 'orders', :one, false);
SELECT pm.seek('m', 'orders', :two);				-- to its current position
SELECT pm.append('orders', 'a', 'skipped') AS skipped \gset
SELECT pm.seek('m', 'orders', :skipped);			-- forward
SELECT key, state FROM pm.instance;
SELECT pm.seek('m', 'orders', :one, NULL) IS NULL AS strict;
SET client_min_messages = notice;
SELECT pm.seek('m', 'orders', :one - 1, reset => true);
SET client_min_messages = error;
SELECT count(*) FROM pm.instance;
SELECT pm.catch_up('m');
SELECT key, state FROM pm.instance;
SET client_min_messages = notice;
SELECT pm.seek('m', 'orders', :skipped, reset => true);
SELECT pm.seek('m', 'orders', :one - 1, reset => true);
SET client_min_messages = error;
SELECT count(*) FROM pm.instance;

-- ---- pm.done ----------------------------------------------------------------

SELECT pg_typeof(pm.done()), pm.done() IS NULL AS is_null;
-- pm.done() has an effect only when its value is returned
CREATE FUNCTION half_done(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pm.done();
	RETURN CASE e.type WHEN 'within' THEN jsonb_build_object('done', pm.done()) WHEN 'list' THEN jsonb_build_array(pm.done()) WHEN 'done' THEN pm.done() ELSE '{}' END;
END $$;
SELECT pm.register('m', 'half_done', '{orders}');
SELECT pm.seek('m', 'orders', pm.high_water_mark('orders'));
SELECT pm.append('orders', 'x', 'plain') > 0, pm.append('orders', 'y', 'within') > 0, pm.append('orders', 'z', 'list') > 0;
SELECT pm.catch_up('m');
SELECT key, state IS NOT NULL AS lives FROM pm.instance ORDER BY key;
SELECT pm.append('orders', 'x', 'done') > 0, pm.append('orders', 'y', 'done') > 0, pm.append('orders', 'z', 'done') > 0;
SELECT pm.catch_up('m');
SELECT count(*) FROM pm.instance;
-- the result of a handler without a state is ignored
CREATE FUNCTION done_for_nothing(e pm.event) RETURNS jsonb LANGUAGE sql AS 'SELECT pm.done()';
SELECT pm.register('m', 'done_for_nothing', '{orders}');
SELECT pm.append('orders', 'x', 'plain') > 0 AS appended;
SELECT pm.catch_up('m');
SELECT pm.unregister('m');

-- ---- who sees which instances -----------------------------------------------

-- each role connects as itself
SELECT current_user AS super \gset
CREATE ROLE regress_pm_bob LOGIN;
CREATE ROLE regress_pm_monitor LOGIN;
GRANT USAGE ON SCHEMA pm TO regress_pm_bob, regress_pm_monitor;
GRANT pg_monitor TO regress_pm_monitor;
GRANT INSERT ON handled TO regress_pm_alice;
GRANT USAGE ON SEQUENCE handled_n_seq TO regress_pm_alice;
\c - regress_pm_alice
SET client_min_messages = error;
SELECT pm.register('a', 'count_events', '{orders}', start_at => 'end');
\c - :super
SET client_min_messages = error;
SELECT pm.register('m', 'count_events', '{orders}', start_at => 'end');
SELECT pm.append('orders', 'shared', 'one') > 0 AS appended;
SELECT pm.catch_up('m');
\c - regress_pm_alice
SET client_min_messages = error;
SELECT pm.catch_up();
SELECT process_manager, key, state FROM pm.instance;
SELECT count(*) FROM pm_catalog.instance;
\c - :super
SET client_min_messages = error;
SELECT process_manager, key, state FROM pm.instance ORDER BY 1;
SET SESSION AUTHORIZATION regress_pm_bob;
SELECT process_manager, key, state FROM pm.instance;
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_pm_monitor;
SELECT process_manager, key, state FROM pm.instance;
SELECT process_manager FROM pm.cursor ORDER BY 1;
RESET SESSION AUTHORIZATION;
GRANT regress_pm_alice TO regress_pm_bob;
SET SESSION AUTHORIZATION regress_pm_bob;
SELECT process_manager, key, state FROM pm.instance;
RESET SESSION AUTHORIZATION;
-- each process manager has its own instance of a key
SELECT pm.append('orders', 'shared', 'end') > 0 AS appended;
SELECT pm.catch_up('m');
SELECT process_manager, key, state FROM pm.instance ORDER BY 1;

-- indexes of any kind, which a superuser may add, have the new states
CREATE INDEX by_state ON pm_catalog.instance ((state::text));
CREATE INDEX some_states ON pm_catalog.instance (process_manager) WHERE state <> '{}';
CREATE INDEX by_time ON pm_catalog.instance USING brin (updated_at);
SELECT pm.append('orders', 'shared', 'next') > 0 AS appended;
SELECT pm.catch_up('m');
SET enable_seqscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT FROM pm_catalog.instance WHERE state::text = '{}';
SELECT i.process_manager, (SELECT count(*) FROM pm_catalog.instance x WHERE x.state::text = i.state::text) AS found FROM pm.instance i ORDER BY 1;
RESET enable_seqscan;
RESET enable_bitmapscan;
DROP INDEX pm_catalog.by_state, pm_catalog.some_states, pm_catalog.by_time;
SELECT pm.unregister('a'), pm.unregister('m');
SELECT count(*) FROM pm_catalog.instance;

DROP OWNED BY regress_pm_alice, regress_pm_bob, regress_pm_monitor;
DROP ROLE regress_pm_alice, regress_pm_bob, regress_pm_monitor;
SELECT pm.drop_log('orders'), pm.drop_log('payments');
DROP VIEW written;
DROP TABLE orders, payments, handled, payment_of;
DROP SCHEMA other CASCADE;
DROP PROCEDURE a_procedure(pm.event, jsonb);
DROP PROCEDURE key_procedure(pm.event, text);
DROP FUNCTION count_events(pm.event, jsonb), write_down(pm.event), write_all(pm.event[]), reset_handled(), is_strict(pm.event, jsonb), returns_json(pm.event, jsonb),
	returns_text(pm.event, jsonb), returns_void(pm.event, jsonb), returns_array(pm.event, jsonb), returns_set(pm.event, jsonb), returns_record(pm.event, jsonb),
	takes_json(pm.event, json), takes_array(pm.event[], jsonb), turned_round(jsonb, pm.event), takes_three(pm.event, jsonb, int), takes_anything(anyelement, jsonb),
	in_and_out(pm.event, jsonb), defaulted(pm.event, jsonb), two_kinds(pm.event), two_kinds(pm.event, jsonb), one_fits(pm.event, json), one_fits(pm.event, jsonb), one_fits(text),
	keep_data(pm.event, jsonb), grow(pm.event, jsonb), fail_at(int, int), by_order(pm.event), "By Type"(pm.event), key_int(pm.event), key_name(pm.event), key_varchar(pm.event),
	key_set(pm.event), key_void(pm.event), key_array(pm.event[]), key_jsonb(jsonb), key_two(pm.event, jsonb), key_none(), key_strict(pm.event), key_out(pm.event),
	by_order_only(pm.event), look_up(pm.event), look_up_volatile(pm.event), pay(pm.event, jsonb), looked_up(text, int), long_key(pm.event), moody(pm.event),
	half_done(pm.event, jsonb), done_for_nothing(pm.event);
ALTER SYSTEM RESET pm.batch_duration;
SELECT pg_reload_conf();
