-- One event, many instances: a correlate function that returns several keys
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set reload :abs_srcdir '/sql/reload.inc'
\set ECHO none
ALTER SYSTEM SET pm.batch_duration = '1h';
\i :no_workers
\set ECHO all

SELECT pm.create_log('orders');
CREATE TABLE handled (n serial, key text, type text, pos bigint);
CREATE TABLE poison (type text, key text);
CREATE FUNCTION keys(e pm.event) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$ SELECT array_agg(k) FROM jsonb_array_elements_text(e.data -> 'keys') k $$;
CREATE FUNCTION keep(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO handled (key, type, pos) VALUES (pm.key(), e.type, e.position);
	IF EXISTS (SELECT FROM poison p WHERE p.type = e.type AND p.key = pm.key()) THEN RAISE 'no % for %', e.type, pm.key(); END IF;
	IF e.data ? 'due' THEN PERFORM pm.set_timer('ring', (e.data ->> 'due')::timestamptz); END IF;
	RETURN CASE WHEN e.type = 'end' THEN pm.done() ELSE coalesce(state, '[]') || to_jsonb(e.type) END;
END $$;
CREATE FUNCTION reset_handled() RETURNS void LANGUAGE sql AS $$ TRUNCATE handled; ALTER SEQUENCE handled_n_seq RESTART $$;
CREATE FUNCTION make_due() RETURNS void LANGUAGE sql AS $$ UPDATE pm_catalog.lane SET lane = lane; UPDATE pm_catalog.parked SET retry_at = clock_timestamp() WHERE retry_at IS NOT NULL $$;
CREATE FUNCTION event(type text, VARIADIC keys text[] DEFAULT '{}') RETURNS bigint LANGUAGE sql AS $$ SELECT pm.append('orders', 's', type, jsonb_build_object('keys', keys)) $$;
CREATE VIEW i AS SELECT left(key, 20) AS key, state FROM pm.instance ORDER BY process_manager, key COLLATE "C";
CREATE VIEW h AS SELECT string_agg(format('%s:%s', type, left(key, 20)), ' ' ORDER BY n) AS handled FROM handled;
CREATE VIEW aside AS SELECT (v.event).type, left(v.key, 20) AS key, v.state, v.attempts, v.message, v.retry_at > clock_timestamp() AS later
	FROM pm.parked v ORDER BY v.key COLLATE "C", v.position;

-- ---- each key once, in the order of the array; NULL is no key ----------------

SELECT pm.register('m', 'keep', '{orders}', correlate => 'keys', max_attempts => 3, backoff => '10 min');
SELECT event('a', 'x', 'y', 'x', NULL, 'z'), event('b', 'y'), event('c'), event('d', NULL), event('e', 'z', 'x') \g /dev/null
SELECT pm.append('orders', 's', 'none') \g /dev/null
SELECT pm.catch_up('m');
SELECT * FROM h;
SELECT * FROM i;
SELECT lag, handled, parked FROM pm.status;
SELECT reset_handled();
-- with a state each, an end each, and timers of their own
SELECT event('end', 'x', 'nobody', 'y') \g /dev/null
SELECT pm.append('orders', 's', 'arm', '{"keys": ["z", "w"], "due": "2020-01-01 10:00Z"}') \g /dev/null
SELECT pm.catch_up('m');
SELECT * FROM h;
SELECT * FROM i;
SELECT reset_handled();
-- an array of any shape
CREATE OR REPLACE FUNCTION keys(e pm.event) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$ SELECT '{{p,q},{q,r}}'::text[] $$;
SELECT event('shape') \g /dev/null
SELECT pm.catch_up('m');
SELECT * FROM h;
CREATE OR REPLACE FUNCTION keys(e pm.event) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$ SELECT array_agg(k) FROM jsonb_array_elements_text(e.data -> 'keys') k $$;
SELECT pm.seek('m', 'orders', pm.high_water_mark('orders'), reset => true);
SELECT reset_handled();

-- ---- long keys, and keys of the same stored name ----------------------------

SELECT pm.append('orders', 's', 'long', jsonb_build_object('keys', ARRAY[repeat('k', 1001), repeat('k', 1000), repeat('k', 1001), 'sha256:x'])) AS long \gset
SELECT pm.catch_up('m');
SELECT length(key), left(key, 7) AS begins FROM pm.instance ORDER BY key COLLATE "C";
SELECT pm.seek('m', 'orders', pm.high_water_mark('orders'), reset => true);
SELECT reset_handled();

-- ---- it fails for one key ---------------------------------------------------

INSERT INTO poison VALUES ('a', 'y');
SELECT event('first', 'x', 'y', 'z') \g /dev/null
SELECT event('a', 'x', 'y', 'z') AS a \gset
SELECT event('b', 'y', 'z') AS b \gset
SELECT event('c', 'x') \g /dev/null
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT * FROM aside;
SELECT * FROM i;
-- each key got the events of the log in order, and of the calls for an event the last one counted
SELECT key, string_agg(type, ' ' ORDER BY n) FROM (SELECT DISTINCT ON (key, type) * FROM handled ORDER BY key, type, n DESC) x GROUP BY key ORDER BY key;
SELECT handled, parked, errors FROM pm.status;
-- the event is named with its key; a key for which it is not parked
SELECT pm.retry('m', 'orders', :a, 'x');
SELECT pm.discard('m', 'orders', :a, 'x');
SELECT pm.retry('m', 'orders', :b, 'y');
SELECT reset_handled();
SELECT pm.retry('m', 'orders', :a, 'y');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT * FROM aside;
DELETE FROM poison;
SELECT pm.retry('m', 'orders', :a);
SELECT pm.catch_up('m');
SELECT * FROM h;
SELECT * FROM i;
SELECT count(*) FROM pm.parked;
SELECT reset_handled();

-- ---- it fails for several keys, the first one among them --------------------

INSERT INTO poison VALUES ('d', 'x'), ('d', 'z'), ('d', 'w');
SELECT event('d', 'x', 'y', 'z', 'w') AS d \gset
SELECT event('e', 'w', 'x', 'y', 'z') AS e \gset
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT * FROM aside;
SELECT * FROM i;
-- one of them is discarded, the others are corrected
SELECT pm.discard('m', 'orders', :d, 'w');
DELETE FROM poison WHERE key <> 'z';
SELECT pm.retry('m', 'orders', :d);
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT * FROM aside;
SELECT * FROM i;
-- the event for all keys for which it is still parked
SELECT pm.discard('m', 'orders', :d);
SELECT pm.catch_up('m');
SELECT * FROM i;
SELECT count(*) FROM pm.parked;
DELETE FROM poison;
-- a key whose stored name is a hash
INSERT INTO poison SELECT 'f', key FROM (SELECT 'sha256:' || encode(sha256(convert_to(repeat('k', 2000), 'UTF8')), 'hex') AS key) k;
SELECT pm.append('orders', 's', 'f', jsonb_build_object('keys', ARRAY['x', repeat('k', 2000)])) AS f \gset
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT * FROM aside;
SELECT pm.discard('m', 'orders', :f, repeat('k', 2000));
SELECT count(*) FROM pm.parked;
DELETE FROM poison;
SELECT reset_handled();

-- ---- the result does not depend on the size of the batches ------------------

CREATE FUNCTION run(size int, script text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	PERFORM reset_handled();
	PERFORM pm.register('r', 'keep', '{orders}', start_at => 'end', correlate => 'keys', batch_size => size, backoff => '1 hour');
	EXECUTE script;
	PERFORM pm.catch_up('r', on_failure => 'policy');
	result := concat_ws(' | ', (SELECT string_agg(format('%s %s', key, state), ', ' ORDER BY key) FROM pm.instance WHERE process_manager = 'r'),
		(SELECT string_agg(format('%s:%s %s %s', (event).type, key, state, attempts), ', ' ORDER BY key, position) FROM pm.parked WHERE process_manager = 'r'),
		(SELECT format('%s %s', state, lag) FROM pm.status WHERE process_manager = 'r'));
	PERFORM pm.unregister('r');
	RETURN result;
END $$;
SET client_min_messages = error;
INSERT INTO poison VALUES ('bad', 'y'), ('bad', 'z'), ('worse', 'x');
SELECT count(DISTINCT r), min(r) FROM unnest('{1,2,3,4,100}'::int[]) size, run(size, $$
	SELECT event('a', 'x', 'y', 'z'), event('bad', 'x', 'y', 'z'), event('b', 'w', 'z'), event('worse', 'w', 'x'), event('bad', 'z'), event('c', 'x', 'w', 'y') $$) r;
DELETE FROM poison;

-- ---- halting: all keys of the event wait ------------------------------------

SELECT pm.register('h', 'keep', '{orders}', start_at => 'end', correlate => 'keys', on_failure => 'halt', max_attempts => 1);
INSERT INTO poison VALUES ('bad', 'y');
SELECT event('a', 'x') \g /dev/null
SELECT event('bad', 'x', 'y', 'z') AS bad \gset
SELECT reset_handled();
SELECT pm.catch_up('h', on_failure => 'policy');
SELECT key, state FROM pm.instance WHERE process_manager = 'h' ORDER BY key;
SELECT state, regexp_replace(reason, '\d+', 'N'), lag, parked FROM pm.status WHERE process_manager = 'h';
SELECT l.position = :bad AS at_it, l.key FROM pm_catalog.lane l WHERE process_manager = 'h';
DELETE FROM poison;
SELECT pm.resume('h');
SELECT pm.catch_up('h');
SELECT key, state FROM pm.instance WHERE process_manager = 'h' ORDER BY key;
SELECT pm.unregister('h');

-- ---- with on_failure => 'raise': the error, and nothing is parked ------------

SELECT pm.seek('m', 'orders', pm.high_water_mark('orders'), reset => true);
INSERT INTO poison VALUES ('bad', 'y');
SELECT event('bad', 'x', 'y', 'z') AS bad \gset
\set SHOW_CONTEXT always
\set VERBOSITY terse
SELECT pm.catch_up('m');
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT count(*) FROM pm.parked;
SELECT pm.seek('m', 'orders', pm.high_water_mark('orders'), reset => true);
DELETE FROM poison;

-- ---- it takes too long: what is left of the event is handled by key ---------

ALTER SYSTEM SET pm.batch_duration = '1ms';
\set ECHO none
\set setting pm.batch_duration
\set value 1ms
\i :reload
\set ECHO all
SELECT event('slow', 'x', 'y', 'z', 'w') \g /dev/null
SELECT event('next', 'w', 'x') \g /dev/null
CREATE OR REPLACE FUNCTION keep_slowly(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_sleep(0.003);
	RETURN coalesce(state, '[]') || to_jsonb(e.type);
END $$;
SELECT pm.register('m', 'keep_slowly', '{orders}', correlate => 'keys', max_attempts => 3, backoff => '10 min');
SELECT pm.catch_up('m', max_count => 1);
SELECT * FROM i;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT * FROM i;
SELECT event('slow', 'x', 'y', 'z', 'w') \g /dev/null
SELECT pm.catch_up('m', max_count => 1, on_failure => 'policy');
SELECT * FROM aside;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT * FROM i;
SELECT count(*) FROM pm.parked;
ALTER SYSTEM SET pm.batch_duration = '1h';
\set ECHO none
\set value 1h
\i :reload
\set ECHO all
SELECT pm.register('m', 'keep', '{orders}', correlate => 'keys', max_attempts => 3, backoff => '10 min');
SELECT pm.seek('m', 'orders', pm.high_water_mark('orders'), reset => true);

-- ---- a thousand keys --------------------------------------------------------

SELECT reset_handled();
SELECT pm.append('orders', 's', 'many', jsonb_build_object('keys', (SELECT jsonb_agg('k' || n) FROM generate_series(1, 1000) n))) \g /dev/null
SELECT pm.catch_up('m');
SELECT count(*), count(DISTINCT key) FROM handled;
SELECT count(*) FROM pm.instance;
SELECT pm.append('orders', 's', 'many', jsonb_build_object('keys', (SELECT jsonb_agg('k' || n) FROM generate_series(1, 1001) n))) \g /dev/null
SELECT pm.catch_up('m');
SELECT pm.seek('m', 'orders', pm.high_water_mark('orders'), reset => true);

-- ---- lanes: each handles its own keys of an event ---------------------------

SELECT reset_handled();
SELECT pm.register('m', 'keep', '{orders}', correlate => 'keys', lanes => 3, max_attempts => 3, backoff => '10 min');
SELECT event('a', VARIADIC (SELECT array_agg('k' || n) FROM generate_series(1, 9) n)) \g /dev/null
SELECT event('b', VARIADIC (SELECT array_agg('k' || n) FROM generate_series(1, 9) n)) AS b \gset
SELECT pm.catch_up('m', max_count => 1);
SELECT pm.register('m', 'keep', '{orders}', correlate => 'keys', lanes => 2, max_attempts => 3, backoff => '10 min');
SELECT pm.catch_up('m', max_count => 1);
SELECT pm.register('m', 'keep', '{orders}', correlate => 'keys', lanes => 4, max_attempts => 3, backoff => '10 min');
INSERT INTO poison VALUES ('c', 'k3'), ('c', 'k4');
SELECT event('c', VARIADIC (SELECT array_agg('k' || n) FROM generate_series(1, 9) n)) AS c \gset
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT * FROM i;
SELECT * FROM aside;
SELECT count(*) FROM pm_catalog.parked WHERE lane <> pm_catalog.lane_of(key, 4);
-- parked events move with their keys
SELECT pm.register('m', 'keep', '{orders}', correlate => 'keys', lanes => 3, max_attempts => 3, backoff => '10 min');
DELETE FROM poison;
SELECT pm.retry('m', 'orders', :c);
SELECT pm.catch_up('m');
SELECT count(*) FILTER (WHERE state = '["a", "b", "c"]') AS complete, count(*) FROM pm.instance;
SELECT pm.unregister('m');

-- ---- handlers without a state, and pm.key -----------------------------------

CREATE FUNCTION note(e pm.event) RETURNS void LANGUAGE sql AS $$ INSERT INTO handled (key, type) VALUES (pm.key(), e.type) $$;
CREATE FUNCTION note_all(e pm.event[]) RETURNS void LANGUAGE sql AS $$ INSERT INTO handled (key, type) SELECT pm.key(), x.type FROM unnest(e) x $$;
CREATE FUNCTION its_key(e pm.event) RETURNS text LANGUAGE sql STABLE AS $$ SELECT coalesce(pm.key(), 'the ' || e.stream) $$;
CREATE FUNCTION number(e pm.event) RETURNS int[] LANGUAGE sql IMMUTABLE AS $$ SELECT '{1}'::int[] $$;
SELECT pm.key();
SELECT note(NULL);
SELECT reset_handled();
SELECT pm.register('p', 'note', '{orders}', correlate => 'keys', start_at => 'end');
SELECT pm.register('q', 'note', '{orders}', start_at => 'end');
SELECT pm.register('r', 'note_all', '{orders}', start_at => 'end');
SELECT pm.register('s', 'note', '{orders}', correlate => 'its_key', start_at => 'end');
SELECT event('a', 'x', 'y'), pm.append('orders', repeat('s', 1001), 'b', '{"keys": ["x"]}') \g /dev/null
SELECT pm.catch_up(pm) FROM unnest('{p,q,r,s}'::text[]) pm;
SELECT string_agg(concat_ws(':', type, left(key, 15)), ' ' ORDER BY n) FROM handled;
-- an array of events has no single key
SELECT pm.register('x', 'note_all', '{orders}', correlate => 'keys');
SELECT pm.register('x', 'note', '{orders}', correlate => 'number');
DROP FUNCTION keys;
CREATE FUNCTION keys(e pm.event) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT e.data -> 'keys' ->> 0 $$;
SELECT pm.register('r', 'note_all', '{orders}', correlate => 'keys', start_at => 'end');
DROP FUNCTION keys;
CREATE FUNCTION keys(e pm.event) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$ SELECT ARRAY[e.data -> 'keys' ->> 0] $$;
SELECT event('a', 'x', 'y') \g /dev/null
SELECT pm.catch_up('r');

SELECT pm.unregister(name) FROM pm.process_manager ORDER BY name;
DROP TABLE orders;
DROP TABLE handled, poison CASCADE;
DROP FUNCTION keys, keep, keep_slowly, note, note_all, its_key, number, reset_handled, make_due, event, run;
DROP VIEW i, aside;
ALTER SYSTEM RESET pm.batch_duration;
SELECT pg_reload_conf();
