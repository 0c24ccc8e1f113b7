-- pm.catch_up(as_of): a walk through time, over all process managers and their lanes.
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all
SET timezone = 'UTC';
SET client_min_messages = error;
SELECT pm.create_log('contracts'), pm.create_log('invoices'), pm.create_log('payments');

-- A year of monthly billing over three process managers. The first one bills on the first of each month, the second
-- one asks for the money two days later, the third one pays when it is asked, and is late in April.
CREATE FUNCTION bill(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	n int := coalesce((s ->> 'n')::int, 0);
BEGIN
	IF e.type = 'signed' THEN
		PERFORM pm.set_timer('bill', date_trunc('month', pm.now()) + interval '1 month');
	ELSE
		n := n + 1;
		PERFORM pm.append('invoices', e.stream, 'due', jsonb_build_object('n', n, 'now', pm.now(), 'at', e.recorded_at));
		PERFORM pm.set_timer('bill', pm.now() + interval '1 month');
	END IF;
	RETURN jsonb_build_object('n', n);
END $$;
CREATE FUNCTION ask(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	CASE e.type
		WHEN 'due' THEN
			PERFORM pm.set_timer('ask', pm.now() + interval '2 days', e.data);
		WHEN 'ask' THEN
			PERFORM pm.append_all('payments', e.stream, jsonb_build_array(jsonb_build_object('type', 'asked', 'data', e.data || jsonb_build_object('now', pm.now()))));
			PERFORM pm.set_timer('remind', pm.now() + interval '10 days', e.data);
		WHEN 'paid' THEN
			PERFORM pm.cancel_timer('remind');
		ELSE
			PERFORM pm.append('payments', e.stream, 'reminded', e.data || jsonb_build_object('now', pm.now()));
	END CASE;
	RETURN '{}';
END $$;
CREATE FUNCTION pay(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF e.type = 'asked' THEN
		PERFORM pm.set_timer('pay', pm.now() + CASE WHEN (e.data ->> 'n')::int = 3 THEN interval '20 days' ELSE interval '1 hour' END, e.data);
	ELSE
		PERFORM pm.append('payments', e.stream, 'paid', e.data || jsonb_build_object('now', pm.now()));
	END IF;
	RETURN '{}';
END $$;
SELECT pm.register('a-pay', 'pay', '{payments}', types => '{asked}'), pm.register('b-ask', 'ask', '{invoices,payments}', types => '{due,paid}'),
	pm.register('c-bill', 'bill', '{contracts}', lanes => 4);
BEGIN;
INSERT INTO contracts (stream, type, recorded_at) VALUES ('c-1', 'signed', '2030-01-15'), ('c-2', 'signed', '2030-01-15'), ('c-3', 'signed', '2030-06-30 23:59');
SELECT pm.catch_up(as_of => '2031-01-31');
SELECT (data ->> 'n')::int AS n, recorded_at, (data ->> 'now')::timestamptz = recorded_at AND (data ->> 'at')::timestamptz = recorded_at AS right_time FROM invoices WHERE stream = 'c-1' ORDER BY position;
SELECT stream, count(*), min(recorded_at), max(recorded_at), bool_and((data ->> 'now')::timestamptz = recorded_at) AS right_time FROM invoices GROUP BY 1 ORDER BY 1;
SELECT type, count(*), count(DISTINCT (stream, data ->> 'n')), bool_and((data ->> 'now')::timestamptz = recorded_at) AS right_time FROM payments GROUP BY 1 ORDER BY 1;
SELECT type, data ->> 'n' AS n, recorded_at FROM payments WHERE stream = 'c-1' AND (data ->> 'n')::int BETWEEN 2 AND 4 ORDER BY position;
-- the order of positions is that of time
SELECT count(*) FROM (SELECT recorded_at < lag(recorded_at) OVER (ORDER BY position) AS back FROM payments) p WHERE back;
SELECT process_manager, key, due FROM pm.timer ORDER BY 1, 2, 3;
SELECT process_manager, key, started_at, updated_at FROM pm.instance ORDER BY 1, 2;
-- nothing is left to do; later there is
SELECT pm.catch_up(as_of => '2031-01-31');
SELECT pm.catch_up(as_of => '2031-02-01');
ROLLBACK;
-- the same in pieces
BEGIN;
INSERT INTO contracts (stream, type, recorded_at) VALUES ('c-1', 'signed', '2030-01-15'), ('c-2', 'signed', '2030-01-15');
DO $$ BEGIN WHILE pm.catch_up(as_of => '2031-01-31', max_count => 7) > 0 LOOP END LOOP; END $$;
SELECT stream, count(*), min(recorded_at), max(recorded_at), bool_and((data ->> 'now')::timestamptz = recorded_at) AS right_time FROM invoices GROUP BY 1 ORDER BY 1;
SELECT type, count(*), count(DISTINCT (stream, data ->> 'n')), bool_and((data ->> 'now')::timestamptz = recorded_at) AS right_time FROM payments GROUP BY 1 ORDER BY 1;
ROLLBACK;
-- a log with a trigger, to which pm.append writes with INSERT
CREATE FUNCTION look_on() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER look_on BEFORE INSERT ON payments FOR EACH ROW EXECUTE FUNCTION look_on();
CREATE TRIGGER look_on BEFORE INSERT ON invoices FOR EACH ROW EXECUTE FUNCTION look_on();
BEGIN;
INSERT INTO contracts (stream, type, recorded_at) VALUES ('c-1', 'signed', '2030-01-15'), ('c-2', 'signed', '2030-01-15');
SELECT pm.catch_up(as_of => '2031-01-31');
SELECT type, count(*), bool_and((data ->> 'now')::timestamptz = recorded_at) AS right_time FROM payments GROUP BY 1 UNION ALL
	SELECT type, count(*), bool_and((data ->> 'now')::timestamptz = recorded_at) FROM invoices GROUP BY 1 ORDER BY 1;
ROLLBACK;
-- afterwards time is the clock's again
BEGIN;
SELECT pm.now() = now() AS now;
SELECT pm.append('payments', 'c-1', 'x') > 0 AS appended;
SELECT recorded_at = statement_timestamp() OR recorded_at > now() - interval '1 min' AS now FROM payments;
ROLLBACK;

-- infinite times; nothing passes as_of
BEGIN;
INSERT INTO contracts (stream, type, recorded_at) VALUES ('c-1', 'signed', '2030-01-15'), ('c-2', 'signed', '-infinity'), ('c-3', 'signed', 'infinity'), ('c-4', 'signed', '2000-01-01');
SELECT pm.catch_up('c-bill', as_of => '2000-02-15');
SELECT stream, recorded_at FROM invoices ORDER BY position;
SELECT key, due FROM pm.timer ORDER BY 1;
SELECT key, started_at FROM pm.instance ORDER BY 1;
ROLLBACK;
SELECT pm.catch_up(as_of => 'infinity');
SELECT pm.catch_up(as_of => '-infinity');
SELECT pm.catch_up(as_of => NULL);

-- a failure on the way: retries come when they are due, and other units continue meanwhile
CREATE TABLE tries (n serial, at timestamptz);
CREATE FUNCTION fail(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF e.type = 'due' AND e.data ->> 'n' = '2' AND pm.now() < '2030-03-01 00:00:05' THEN RAISE 'not yet'; END IF;
	INSERT INTO tries (at) VALUES (pm.now());
END $$;
SELECT pm.register('d-fail', 'fail', '{invoices}', backoff => '2 s');
BEGIN;
INSERT INTO contracts (stream, type, recorded_at) VALUES ('c-1', 'signed', '2030-01-15');
SELECT pm.catch_up(as_of => '2030-06-15', on_failure => 'policy') > 0 AS handled;
SELECT date_trunc('minute', at) AS at FROM tries ORDER BY n;
SELECT count(*) FROM pm.parked;
ROLLBACK;
SELECT pm.register('d-fail', 'fail', '{invoices}', backoff => '2 s', on_failure => 'halt');
BEGIN;
INSERT INTO contracts (stream, type, recorded_at) VALUES ('c-1', 'signed', '2030-01-15');
SELECT pm.catch_up(as_of => '2030-06-15', on_failure => 'policy') > 0 AS handled;
SELECT date_trunc('minute', at) AS at FROM tries ORDER BY n;
ROLLBACK;
SELECT pm.register('d-fail', 'fail', '{invoices}', max_attempts => 1);
BEGIN;
INSERT INTO contracts (stream, type, recorded_at) VALUES ('c-1', 'signed', '2030-01-15');
SELECT pm.catch_up(as_of => '2030-06-15', on_failure => 'policy') > 0 AS handled;
SELECT date_trunc('minute', at) AS at FROM tries ORDER BY n;
SELECT state, count(*) FROM pm.parked GROUP BY 1 ORDER BY 1;
ROLLBACK;
BEGIN;
INSERT INTO contracts (stream, type, recorded_at) VALUES ('c-1', 'signed', '2030-01-15');
SELECT pm.catch_up(as_of => '2030-06-15');
ROLLBACK;
-- what was parked before does not affect a call that names no process manager and raises errors
INSERT INTO contracts (stream, type, recorded_at) VALUES ('c-0', 'signed', '2030-01-15');
SELECT pm.catch_up(as_of => '2030-06-15', on_failure => 'policy') > 0 AS handled;
CREATE OR REPLACE FUNCTION fail(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF e.stream IN ('c-0', 'c-8') THEN RAISE 'no'; END IF;
END $$;
SELECT pm.retry('d-fail');
SELECT pm.unregister('a-pay'), pm.unregister('b-ask'), pm.unregister('c-bill');
BEGIN;
INSERT INTO invoices (stream, type, data) VALUES ('c-9', 'due', '{"n": 1}'), ('c-0', 'due', '{"n": 1}');
SELECT pm.catch_up();
SELECT pm.catch_up(as_of => '2030-07-01');
SELECT key, state, attempts FROM pm.parked ORDER BY 1, 2;
SAVEPOINT s;
SELECT pm.catch_up('d-fail', as_of => '2030-07-01');
ROLLBACK TO s;
INSERT INTO invoices (stream, type, data, recorded_at) VALUES ('c-8', 'due', '{"n": 1}', '2030-07-01');
SELECT pm.catch_up(as_of => '2030-07-02', on_failure => 'policy');
SELECT key, state, attempts FROM pm.parked ORDER BY 1, 2;
-- what this transaction has parked does affect it
CREATE OR REPLACE FUNCTION fail(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF e.stream = 'c-0' THEN RAISE 'no'; END IF;
END $$;
SELECT pm.retry('d-fail', 'invoices', max(position)) FROM invoices WHERE stream = 'c-8';
SELECT pm.catch_up(as_of => '2030-07-03');
SELECT key, state FROM pm.parked ORDER BY 1, 2;
ROLLBACK;
SELECT pm.unregister('d-fail');

-- a handler of arrays; and many events of one process manager are handled in batches
CREATE FUNCTION count_all(e pm.event[]) RETURNS void LANGUAGE sql AS $$ INSERT INTO tries (at) VALUES (pm.now()) $$;
SELECT pm.create_log('many');
INSERT INTO many (stream, type, recorded_at) SELECT 's', 't', '2030-01-01'::timestamptz + i * interval '1 min' FROM generate_series(0, 999) i;
SELECT pm.register('e-all', 'count_all', '{many}', start_at => 'beginning');
SELECT pm.catch_up('e-all', as_of => '2030-01-02');
SELECT count(*), max(at) FROM tries;
SELECT pm.unregister('e-all');

-- two process managers that answer each other at the same time: each answer comes after its question
CREATE FUNCTION ping(e pm.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN IF (e.data ->> 'n')::int < 5 THEN PERFORM pm.append('many', e.stream, 'ping', jsonb_build_object('n', (e.data ->> 'n')::int + 1)); END IF; END $$;
CREATE FUNCTION pong(e pm.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pm.append('many', e.stream, 'pong', e.data); END $$;
SELECT pm.register('ping', 'ping', '{many}', types => '{start,pong}', start_at => 'end'), pm.register('pong', 'pong', '{many}', types => '{ping}', start_at => 'end');
BEGIN;
INSERT INTO many (stream, type, data, recorded_at) VALUES ('p', 'start', '{"n": 0}', '2030-02-01');
SELECT pm.catch_up(as_of => '2030-03-01');
SELECT type, data ->> 'n' AS n, recorded_at FROM many WHERE stream = 'p' ORDER BY position;
ROLLBACK;
SELECT pm.unregister('ping'), pm.unregister('pong');

-- a deferral is not raised: the event is parked and comes again at its time, the later ones of its key behind it; with
-- on_failure => 'halt' it comes again in its place
CREATE FUNCTION later(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF e.type = 'wait' AND pm.now() < '2030-05-03' THEN PERFORM pm.defer('1 day', 'not yet'); END IF;
	IF e.type = 'fail' THEN RAISE 'no'; END IF;
	RETURN coalesce(s, '[]') || jsonb_build_array(e.type || ' ' || to_char(pm.now(), 'DD HH24'));
END $$;
CREATE FUNCTION later_all(e pm.event[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF e[1].type = 'wait' AND pm.now() < '2030-05-03' THEN PERFORM pm.defer('1 day', 'not yet'); END IF;
	INSERT INTO tries (at) VALUES (pm.now());
END $$;
CREATE FUNCTION later_key(e pm.event) RETURNS text LANGUAGE plpgsql AS $$ BEGIN IF e.type = 'wait' AND pm.now() < '2030-05-03' THEN PERFORM pm.defer('1 day', 'whose?'); END IF; RETURN e.stream; END $$;
SELECT pm.register('f-later', 'later', '{many}', start_at => 'end', lanes => 2);
SELECT pm.register('g-all', 'later_all', '{many}', start_at => 'end');
SELECT pm.register('h-keyless', 'later', '{many}', start_at => 'end', correlate => 'later_key');
SELECT pm.register('i-halts', 'later', '{many}', start_at => 'end', on_failure => 'halt');
BEGIN;
TRUNCATE tries;
INSERT INTO many (stream, type, recorded_at) VALUES ('w', 'wait', '2030-05-01'), ('w', 'next', '2030-05-01 01:00'), ('v', 'other', '2030-05-01 02:00');
SELECT name, pm.catch_up(name, as_of => '2030-05-02 12:00') FROM pm.process_manager WHERE name ~ '^[f-i]-' ORDER BY name;
SELECT process_manager, key, state, message, attempts, retry_at FROM pm.parked ORDER BY 1, "position";
SELECT process_manager, sum(lag), min(retry_at) AS retry_at FROM pm.status WHERE process_manager ~ '^[f-i]-' GROUP BY 1 ORDER BY 1;
SELECT pm.catch_up(as_of => '2030-05-10');
SELECT process_manager, key, state FROM pm.instance ORDER BY 1, 2;
SELECT at FROM tries ORDER BY at;
SELECT count(*) FROM pm.parked;
ROLLBACK;
-- without as_of: parked, or waiting, until its time
BEGIN;
INSERT INTO many (stream, type) VALUES ('w', 'wait'), ('w', 'next'), ('v', 'other');
SELECT name, pm.catch_up(name), pm.catch_up(name) AS again FROM pm.process_manager WHERE name ~ '^[f-i]-' ORDER BY name;
SELECT process_manager, key, state FROM pm.parked ORDER BY 1, "position";
-- what fails is raised
INSERT INTO many (stream, type) VALUES ('u', 'fail');
SELECT pm.catch_up('f-later');
ROLLBACK;
SELECT count(pm.unregister(name)) FROM pm.process_manager WHERE name ~ '^[f-i]-';
DROP TABLE contracts, invoices, payments, many, tries;
DROP FUNCTION bill, ask, pay, fail, count_all, ping, pong, look_on, later, later_all, later_key;
RESET client_min_messages;
