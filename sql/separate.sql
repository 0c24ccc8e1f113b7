-- Where events fail often, each has a subtransaction. If too many have failed, the process manager halts before the next
-- one that fails, and nothing of that one is committed: a timer is still there, and no key has handled the event.
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
ALTER SYSTEM SET pm.batch_duration = '1h';
\i :no_workers
\set ECHO all

SELECT pm.create_log('orders');
CREATE TABLE handled (n serial, key text, type text);
CREATE TABLE poison (type text, key text);
CREATE FUNCTION keys(e pm.event) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$ SELECT coalesce(array_agg(k), ARRAY[e.stream]) FROM jsonb_array_elements_text(e.data -> 'keys') k $$;
CREATE FUNCTION keep(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF EXISTS (SELECT FROM poison p WHERE p.type = e.type AND pm.key() LIKE p.key) THEN RAISE 'no % for %', e.type, pm.key(); END IF;
	INSERT INTO handled (key, type) VALUES (pm.key(), e.type);
	IF e.type = 'set' THEN PERFORM pm.set_timer('ring', pm.now()); END IF;
	RETURN coalesce(state, '[]') || to_jsonb(e.type);
END $$;
INSERT INTO poison VALUES ('bad', '%'), ('ring', '%');

-- the 20th key in a row fails at a timer
SELECT pm.register('p', 'keep', '{orders}', correlate => 'keys');
BEGIN;
SELECT pm.append('orders', 't', 'set');
SELECT pm.catch_up('p', max_count => 1);
COMMIT;
SELECT count(*) FROM (SELECT pm.append('orders', 'k' || i, 'bad') FROM generate_series(1, 19) i) a;
-- after the timer
SELECT pm.append('orders', 'a', 'good');
UPDATE pm_catalog.timer SET due = (SELECT max(recorded_at) FROM orders WHERE type = 'bad');
SELECT pm.catch_up('p', on_failure => 'policy');
SELECT state, reason, parked FROM pm.status;
SELECT key, type FROM pm.timer;
DELETE FROM poison WHERE type = 'ring';
SELECT pm.resume('p');
SELECT pm.catch_up('p', on_failure => 'policy') > 0 AS some;
SELECT key, type FROM handled ORDER BY n;
SELECT pm.unregister('p');
TRUNCATE handled;

-- more keys than park_limit fail, at an event that goes to several
SELECT pm.register('p', 'keep', '{orders}', correlate => 'keys', start_at => 'end', park_limit => 1);
INSERT INTO poison VALUES ('two', 'b');
SELECT pm.append('orders', 'k', 'bad');
SELECT pm.append('orders', 's', 'two', '{"keys": ["a", "b", "c"]}');
SELECT pm.catch_up('p', on_failure => 'policy');
SELECT state, reason, parked FROM pm.status;
DELETE FROM poison WHERE type = 'two';
SELECT pm.resume('p');
SELECT pm.catch_up('p', on_failure => 'policy') > 0 AS some;
SELECT key, type FROM handled ORDER BY n;
SELECT pm.unregister('p');

DROP TABLE orders;
DROP TABLE handled, poison CASCADE;
DROP FUNCTION keys, keep;
ALTER SYSTEM RESET pm.batch_duration;
SELECT pg_reload_conf();
