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

-- Several events share a subtransaction. A failing one undoes those before it, which are handled again; each takes effect
-- once, in order, in the state, the journal and the timers of its instance. Some set a timer that is due, or read pm.instance.
TRUNCATE handled, poison;
DELETE FROM orders;
CREATE FUNCTION count_up(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO handled (key, type) VALUES (pm.key(), coalesce(e.position::text, e.type));
	IF e.type = 'bad' OR (e.type = 'once' AND nextval('tries') = 1) THEN RAISE 'no'; END IF;
	IF e.type = 'set' THEN PERFORM pm.set_timer('ring', pm.now()); END IF;
	IF e.type = 'look' THEN PERFORM FROM pm.instance; END IF;
	IF e.type = 'end' THEN RETURN pm.done(); END IF;
	RETURN jsonb_build_object('n', coalesce((state ->> 'n')::int, 0) + 1);
END $$;
CREATE SEQUENCE tries;
SELECT pm.register('p', 'count_up', '{orders}', start_at => 'end', max_attempts => 1, park_limit => 100000, journal => true, keep_ended => '1 day');
SELECT count(pm.append('orders', CASE WHEN i % 26 = 0 OR i % 37 = 0 THEN 'bad' || i ELSE 'k' || i % 7 END,
		CASE WHEN i % 26 = 0 OR i % 37 = 0 THEN 'bad' WHEN i = 445 THEN 'once' WHEN i % 40 = 1 THEN 'set' WHEN i > 700 AND (i + 1) % 26 = 0 THEN 'look' WHEN i % 30 = 3 THEN 'end' ELSE 'good' END))
	FROM generate_series(1, 1000) i;
SELECT pm.catch_up('p', on_failure => 'policy') > 0 AS some;
-- the event that failed once is dead, and those behind it are parked
SELECT state, count(*), count(DISTINCT key) FROM pm.parked GROUP BY state ORDER BY state;
SELECT count(*) AS events_lost FROM orders o WHERE NOT EXISTS (SELECT FROM handled h WHERE h.type = o.position::text)
	AND NOT EXISTS (SELECT FROM pm.parked k WHERE k.position = o.position);
SELECT count(*) AS twice FROM (SELECT FROM handled WHERE type <> 'ring' GROUP BY type HAVING count(*) > 1) t;
SELECT count(*) AS out_of_order FROM (SELECT type::int < lag(type::int) OVER (PARTITION BY key ORDER BY n) AS early FROM handled WHERE type <> 'ring') o WHERE early;
SELECT (SELECT count(*) FROM handled) - (SELECT count(*) FROM pm.journal) AS not_in_journal,
	(SELECT count(*) - count(DISTINCT (key, started_at, seq)) FROM pm.journal) AS double_in_journal;
-- each state counts the events and timers since its instance began
SELECT count(*) AS wrong_states FROM pm.instance i WHERE (state ->> 'n')::int <> (SELECT count(*) FROM pm.journal j WHERE (j.key, j.started_at) = (i.key, i.started_at));
SELECT count(*) > 0 AS ended, count(*) FILTER (WHERE (state ->> 'n')::int <> (SELECT max(seq) - 1 FROM pm.journal j WHERE (j.key, j.started_at) = (x.key, x.started_at))) AS wrong FROM pm.ended x;

-- It is remembered, also for many keys, which have parked events: later events of such a key wait, and events of other keys
-- do not. There are far more keys than the table that remembers them has room for at first.
SELECT count(pm.append('orders', 'x' || i, CASE WHEN i % 2 = 0 THEN 'bad' ELSE 'good' END)) FROM generate_series(1, 1000) i;
SELECT count(pm.append('orders', 'y' || i, CASE WHEN i % 2 = 0 THEN 'bad' ELSE 'good' END)) FROM generate_series(1, 6000) i;
SELECT count(pm.append('orders', k || i, 'good')) FROM generate_series(1, 6000) i, unnest('{x,y}'::text[]) k WHERE k = 'y' OR i <= 1000;
SELECT pm.catch_up('p', on_failure => 'policy') > 0 AS some;
SELECT left(key, 1) AS k, state, count(*), count(DISTINCT key) FROM pm.parked WHERE key ~ '^[xy]' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT left(key, 1) AS k, count(*), count(DISTINCT key) FROM handled WHERE key ~ '^[xy]' GROUP BY 1 ORDER BY 1;
SELECT pm.unregister('p');

DROP TABLE orders;
DROP TABLE handled, poison CASCADE;
DROP SEQUENCE tries;
DROP FUNCTION keys, keep, count_up;
ALTER SYSTEM RESET pm.batch_duration;
SELECT pg_reload_conf();
