-- The journals of the instances that consumers keep
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all

SELECT pm.create_log('steps');
CREATE FUNCTION keys_of(e pm.event) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$ SELECT string_to_array(e.stream, '+') $$;
SELECT pm.register('m', NULL, '{steps}', correlate => 'keys_of', journal => true, keep_ended => '1 day', lease => '1 h', backoff => '1 ms');
CREATE VIEW entries AS SELECT key, seq, log, "position", type, state, appended, timers, by = current_user AS by, reason, dense_rank() OVER (PARTITION BY key ORDER BY started_at) AS life FROM pm.journal ORDER BY key, life, seq;

-- one event, one advance
SELECT pm.append('steps', 'a', 'One'), pm.append('steps', 'a', 'Two'), pm.append('steps', 'a', 'Three');
SELECT "position", key, state FROM pm.fetch('m', 'c', 1);
BEGIN;
SELECT pm.save('m', 'c', 'a', '{"n": 1}');
SELECT pm.advance('m', 'c', 0);
COMMIT;
SELECT * FROM entries;
-- two events, one advance: both have the state of that moment; what is undone leaves no entry
SELECT "position", key, state FROM pm.fetch('m', 'c');
BEGIN;
SELECT pm.save('m', 'c', 'a', '{"n": 3}');
SELECT pm.advance('m', 'c', 0);
ROLLBACK;
SELECT count(*) FROM entries;
BEGIN;
SELECT pm.save('m', 'c', 'a', '{"n": 3}');
SELECT pm.advance('m', 'c', 0, 'steps', 2);
SELECT count(*) FROM entries;
SELECT pm.advance('m', 'c', 0);
COMMIT;
SELECT * FROM entries;
-- no instance: no entry
SELECT pm.append('steps', 'nobody', 'Ignored');
SELECT count(*) FROM pm.fetch('m', 'c');
SELECT pm.advance('m', 'c', 0);
SELECT count(*) FROM entries;

-- a timer, and an event that was sent
BEGIN;
SELECT pm.set_timer('ring', '2020-01-01', '{}', 'm', 'c', 'a');
SELECT pm.send('m', 'a', 'Sent');
COMMIT;
SELECT log, type FROM pm.fetch('m', 'c');
SELECT pm.advance('m', 'c', 0);
SELECT * FROM entries WHERE log IS NULL;

-- an instance ends, and begins again in the same transaction
SELECT pm.append('steps', 'a', 'Last'), pm.append('steps', 'a', 'First');
SELECT "position" FROM pm.fetch('m', 'c');
BEGIN;
SELECT pm.finish('m', 'c', 'a', '{"done": true}');
SELECT pm.advance('m', 'c', 0, 'steps', 5);
SELECT pm.save('m', 'c', 'a', '{"n": 1}');
SELECT pm.advance('m', 'c', 0, 'steps', 6);
COMMIT;
SELECT * FROM entries WHERE key = 'a' AND "position" > 4;
SELECT key, state, result FROM pm.ended;
-- an instance that has begun and ended in a block that was undone never existed
SELECT pm.append('steps', 'ghost', 'Ghost');
SELECT "position" FROM pm.fetch('m', 'c');
BEGIN;
SAVEPOINT s;
SELECT pm.save('m', 'c', 'ghost', '{}'), pm.finish('m', 'c', 'ghost');
ROLLBACK TO s;
SELECT pm.advance('m', 'c', 0);
COMMIT;
SELECT count(*) FROM entries WHERE key = 'ghost';
-- begun and ended at once
SELECT pm.append('steps', 'brief', 'Brief');
SELECT "position" FROM pm.fetch('m', 'c');
BEGIN;
SELECT pm.save('m', 'c', 'brief', '{}'), pm.finish('m', 'c', 'brief');
SELECT pm.advance('m', 'c', 0);
COMMIT;
SELECT * FROM entries WHERE key = 'brief';

-- an event of two keys, which fails for one of them
SELECT pm.append('steps', 'x+y', 'Both');
SELECT "position", key FROM pm.fetch('m', 'c') ORDER BY key;
SELECT pm.fail('m', 'c', 'steps', 9, 'not for y', '0 s', key => 'y');
BEGIN;
SELECT pm.save('m', 'c', 'x', '{}');
SELECT pm.advance('m', 'c', 0);
COMMIT;
SELECT * FROM entries WHERE "position" = 9;
SELECT "position", key, attempt FROM pm.fetch('m', 'c');
BEGIN;
SELECT pm.save('m', 'c', 'y', '{}');
SELECT pm.advance('m', 'c', 0);
COMMIT;
SELECT * FROM entries WHERE "position" = 9;
SELECT count(*) FROM pm.parked;

-- an advance that is undone counts no entry
SELECT pm.append('steps', 'undone', type) FROM unnest('{First,Second}'::text[]) type;
SELECT "position" FROM pm.fetch('m', 'c');
BEGIN;
SELECT pm.save('m', 'c', 'undone', '{}'), pm.finish('m', 'c', 'undone');
SAVEPOINT before;
SELECT pm.advance('m', 'c', 0);
ROLLBACK TO before;
SELECT pm.advance('m', 'c', 0);
COMMIT;
SELECT * FROM entries WHERE key = 'undone';

-- by hand, and the history
SELECT pm.set_state('m', 'x', '{"set": 1}', 'by hand');
SELECT status, seq, type, state, reason FROM pm.history('m', 'x');
-- from a handler to consumers and back, the journals continue
CREATE FUNCTION keeps(e pm.event, s jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{"by": "handler"}'::jsonb $$;
SELECT pm.alter('m', handler => 'keeps');
SELECT pm.append('steps', 'x', 'Handled');
SELECT pm.catch_up('m');
SELECT key, seq, type, state FROM pm.journal WHERE key = 'x' ORDER BY seq;

SELECT pm.unregister('m');

-- pm.advance asks correlate only for the events that it advances
CREATE SEQUENCE asked;
CREATE FUNCTION counts(e pm.event) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('asked'); RETURN e.stream; END $$;
SELECT pm.register('m', NULL, '{steps}', correlate => 'counts', journal => true, lease => '1 h', start_at => 'end');
SELECT pm.append('steps', 'b', 'One'), pm.append('steps', 'b', 'Two'), pm.append('steps', 'b', 'Three');
SELECT "position" - min("position") OVER () AS nth FROM pm.fetch('m', 'c');
SELECT pm.save('m', 'c', 'b', '{}');
SELECT last_value FROM asked;
SELECT pm.advance('m', 'c', 0, 'steps', "position") FROM steps WHERE stream = 'b' AND type = 'One';
SELECT last_value FROM asked;
SELECT pm.advance('m', 'c', 0, 'steps', "position") FROM steps WHERE stream = 'b' AND type = 'Two';
SELECT pm.advance('m', 'c', 0);
SELECT last_value FROM asked;
SELECT seq, type, state FROM pm.journal WHERE key = 'b' ORDER BY seq;

SELECT pm.unregister('m');
DROP VIEW entries;
DROP FUNCTION keys_of, keeps, counts;
DROP SEQUENCE asked;
SELECT pm.drop_log('steps');
DROP TABLE steps;
