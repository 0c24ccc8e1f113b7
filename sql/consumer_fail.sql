-- Consumers: failures, instances, timers
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all

SELECT pm.create_log('calls');
CREATE FUNCTION run_out() RETURNS void LANGUAGE sql AS $$ UPDATE pm_catalog.lease SET until = clock_timestamp() $$;
CREATE FUNCTION due() RETURNS void LANGUAGE sql AS $$ UPDATE pm_catalog.parked SET retry_at = '-infinity' WHERE retry_at IS NOT NULL; UPDATE pm_catalog.lane SET state = state $$;
CREATE VIEW aside AS SELECT log, "position", key, state, attempts, message, sqlstate, floor(extract(epoch FROM retry_at - now()) / 3600 + 0.01) AS hours FROM pm.parked ORDER BY key, parked_at, "position";
SELECT count(pm.append('calls', 's-' || i % 3, 'Call', jsonb_build_object('i', i))) FROM generate_series(1, 9) i;
SELECT pm.register('caller', NULL, '{calls}', start_at => 'beginning', max_attempts => 3, lease => '1 h', backoff => '1 h');

-- the event and those of its key that were fetched after it are parked, and passed by
SELECT "position", key, attempt FROM pm.fetch('caller', 'c');
SELECT pm.fail('caller', 'c', 'calls', 4, 'no answer');
SELECT * FROM aside;
SELECT fetched FROM pm.consumer;
-- the others are fetched again, these are not
SELECT "position", key, attempt FROM pm.fetch('caller', 'c');
SELECT pm.fail('caller', 'c', 'calls', 4, 'no answer');
SELECT pm.fail('caller', 'c', 'calls', 10, 'no answer');
SELECT pm.fail('caller', 'other', 'calls', 5, 'no answer');
SELECT pm.fail('caller', 'c', NULL, 1, 'no answer');
SELECT pm.fail('caller', 'c', 'calls', 5, NULL);
SELECT pm.fail('caller', 'c', 'calls', 5, NULL, permanent => true, retry_in => '1 h');
SELECT pm.fail('caller', 'c', 'calls', 5, 'x', '-1 h');
SELECT pm.fail('caller', 'c', 'calls', 5, 'x', key => 'nothing');
-- three failures: tried again at a given time, deferred (which is not an attempt), and permanent
SELECT pm.fail('caller', 'c', 'calls', 5, 'try in two hours', '2 h');
SELECT pm.advance('caller', 'c', 0);
SELECT "position", handled, errors, parked FROM pm.status;
SELECT count(pm.append('calls', 's-' || i, 'Call')) FROM generate_series(5, 7) i;
SELECT "position", key FROM pm.fetch('caller', 'c');
SELECT pm.fail('caller', 'c', 'calls', 10, NULL, '3 h');
SELECT pm.fail('caller', 'c', 'calls', 11, 'no such number', permanent => true);
SELECT pm.advance('caller', 'c', 0);
SELECT * FROM aside;
SELECT "position", handled, errors, parked, dead FROM pm.status;

-- tried again when they are due: alone, and with the next attempt
SELECT count(*) FROM pm.fetch('caller', 'c');
SELECT due();
SELECT "position", key, attempt FROM pm.fetch('caller', 'c');
SELECT pm.fail('caller', 'c', 'calls', 4, 'again');
SELECT fetched FROM pm.consumer;
SELECT "position", key, attempt FROM pm.fetch('caller', 'c');
SELECT pm.advance('caller', 'c', 0);
SELECT "position", key, attempt FROM pm.fetch('caller', 'c');
SELECT pm.advance('caller', 'c', 0);
SELECT "position", key, attempt FROM pm.fetch('caller', 'c');
SELECT pm.advance('caller', 'c', 0);
SELECT * FROM aside;
SELECT due();
SELECT "position", key, attempt FROM pm.fetch('caller', 'c');
SELECT pm.fail('caller', 'c', 'calls', 4, 'for the third time');
SELECT * FROM aside;
SELECT pm.discard('caller');
SELECT due();
SELECT "position", key, attempt FROM pm.fetch('caller', 'c');
SELECT pm.advance('caller', 'c', 0);
SELECT * FROM aside;
SELECT handled, errors FROM pm.status;

-- 20 keys in a row halt the lane; nothing is lost
SELECT count(pm.append('calls', 'k-' || i, 'Call')) FROM generate_series(1, 22) i;
SELECT count(*) FROM pm.fetch('caller', 'c');
SELECT count(pm.fail('caller', 'c', 'calls', "position", 'down')) FROM (SELECT "position" FROM calls WHERE stream LIKE 'k-%' ORDER BY 1 LIMIT 20) x;
SELECT state, reason, parked FROM pm.status;
SELECT pm.advance('caller', 'c', 0);
SELECT lag, handled FROM pm.status;
SELECT count(*) FROM pm.fetch('caller', 'c');
SELECT pm.resume('caller');
SELECT count(*) FROM pm.fetch('caller', 'c');
SELECT pm.unregister('caller');

-- instances and timers
SELECT pm.create_log('orders');
SELECT pm.register('keeper', NULL, '{orders}', lease => '1 h', lanes => 2, keep_ended => '1 h');
SELECT pm.append('orders', 'a', 'Placed'), pm.append('orders', 'b', 'Placed');
SELECT pm_catalog.lane_of('a', 2) AS lane_of_a, pm_catalog.lane_of('b', 2) AS lane_of_b;
SELECT key, state, lane FROM pm.fetch('keeper', 'c');
SELECT pm.save('keeper', 'c', 'a', '{"step": 1}');
SELECT pm.save('keeper', 'c', 'b', '{"step": 1}');
SELECT pm.save('keeper', 'c', 'a', '{"step": 1}') FROM pm.fetch('keeper', 'c');
SELECT pm.save('keeper', 'c', 'a', NULL);
SELECT pm.save('keeper', 'other', 'a', '{}');
SELECT pm.set_timer('remind', '2020-01-01', '{"n": 1}', 'keeper', 'c', 'nobody') FROM pm.fetch('keeper', 'd');
SELECT key, state FROM pm.instance WHERE process_manager = 'keeper' ORDER BY 1;
SELECT pm.release('keeper', 'c'), pm.release('keeper', 'd');
SELECT pm.alter('keeper', lanes => 1);
SELECT key, state FROM pm.fetch('keeper', 'c');
SELECT pm.save('keeper', 'c', 'a', '{"step": 2}'), pm.save('keeper', 'c', 'b', '{"step": 2}');
SELECT pm.set_timer('remind', '2020-01-01', '{"n": 1}', 'keeper', 'c', 'c');
SELECT pm.set_timer('remind', '2020-01-01', '{"n": 1}', 'keeper', 'c', NULL);
SELECT pm.set_timer('remind', '2020-01-01', '{"n": 1}', NULL, 'c', 'a');
SELECT pm.set_timer('remind', '2020-01-01', '{"n": 1}', 'keeper', 'c', 'a');
SELECT pm.set_timer('remind', '2020-01-01', '{"n": 2}', 'keeper', 'c', 'a');
SELECT pm.set_timer('remind', '2020-01-02', '{"n": 3}', 'keeper', 'c', 'b');
SELECT pm.set_timer('overdue', '2020-01-03', name => 'keeper', consumer => 'c', key => 'b');
SELECT pm.cancel_timer('overdue', 'keeper', 'c', 'b'), pm.cancel_timer('overdue', 'keeper', 'c', 'b');
SELECT pm.advance('keeper', 'c', 0);
SELECT key, type, due = '2020-01-01' AS first, data FROM pm.timer ORDER BY key;
-- timers come together with events that were recorded later
SELECT pm.append('orders', 'a', 'Paid');
SELECT log, type, stream, key, data, state, attempt FROM pm.fetch('keeper', 'c');
SELECT fetched, oldest = '2020-01-01' AS oldest FROM pm.consumer;
SELECT count(*) FROM pm.timer;
SELECT run_out();
SELECT log, type, key, attempt FROM pm.fetch('keeper', 'd');
-- one timer is advanced; the other one fails, with the later events of its key
SELECT pm.advance('keeper', 'd', 0, NULL, (SELECT min(id) FROM pm_catalog.timer WHERE key = 'a'));
SELECT pm.fail('keeper', 'd', NULL, (SELECT id FROM pm_catalog.timer WHERE key = 'b'), 'no paper', '1 h');
SELECT log, type, key, attempt FROM pm.fetch('keeper', 'd');
SELECT pm.advance('keeper', 'd', 0);
SELECT log, key, state, attempts FROM aside;
SELECT due();
SELECT log, type, key, attempt, state FROM pm.fetch('keeper', 'd');
SELECT pm.advance('keeper', 'd', 0);
SELECT * FROM aside;
-- the timers of an instance that ends are removed
SELECT pm.set_timer('remind', '2100-01-01', name => 'keeper', consumer => 'd', key => 'a');
SELECT pm.finish('keeper', 'd', 'a', '{"paid": true}');
SELECT pm.finish('keeper', 'd', 'a');
SELECT key, state FROM pm.instance;
SELECT count(*) FROM pm.timer;
SELECT key, state, result, reason FROM pm.ended;
-- an event that was sent comes like a timer
SELECT pm.send('keeper', 'new', 'Hello', '{"n": 1}');
SELECT log, type, key, data, attempt, state FROM pm.fetch('keeper', 'd');
SELECT pm.advance('keeper', 'd', 0);
SELECT count(*) FROM pm.fetch('keeper', 'd');
SELECT pm.unregister('keeper');

-- halt: in its place, and what comes after it no longer counts as fetched
SELECT pm.register('halting', NULL, '{orders}', start_at => 'beginning', on_failure => 'halt', max_attempts => 2, lease => '1 h', backoff => '1 h');
SELECT "position", attempt FROM pm.fetch('halting', 'c');
SELECT pm.fail('halting', 'c', 'orders', 2, 'paper jam');
SELECT fetched FROM pm.consumer;
SELECT pm.advance('halting', 'c', 0);
SELECT "position", state, reason, attempts FROM pm.status;
SELECT count(*) FROM pm.fetch('halting', 'c');
UPDATE pm_catalog.lane SET retry_at = NULL;
SELECT "position" FROM pm.fetch('halting', 'c');
SELECT pm.fail('halting', 'c', 'orders', 2, 'paper jam');
SELECT state, reason, hint FROM pm.status;
SELECT pm.resume('halting');
SELECT "position" FROM pm.fetch('halting', 'c');
SELECT pm.advance('halting', 'c', 0);
SELECT "position", state, reason FROM pm.status;
SELECT pm.unregister('halting');

-- each failure in its place is an attempt, and so is a lease that runs out; for the last attempt, the event comes alone
SELECT pm.register('halting', NULL, '{orders}', start_at => 'beginning', on_failure => 'halt', max_attempts => 4, lease => '1 h', backoff => '1 h');
SELECT "position", attempt FROM pm.fetch('halting', 'c');
SELECT pm.fail('halting', 'c', 'orders', 2, 'paper jam');
SELECT pm.advance('halting', 'c', 0);
UPDATE pm_catalog.lane SET retry_at = NULL;
SELECT "position", attempt FROM pm.fetch('halting', 'c');
SELECT run_out();
SELECT "position", attempt FROM pm.fetch('halting', 'c');
SELECT pm.fail('halting', 'c', 'orders', 2, NULL, '0 s');
SELECT "position", attempt FROM pm.fetch('halting', 'c');
SELECT pm.fail('halting', 'c', 'orders', 2, 'paper jam');
UPDATE pm_catalog.lane SET retry_at = NULL;
SELECT "position", attempt FROM pm.fetch('halting', 'c');
SELECT run_out();
SELECT count(*) FROM pm.fetch('halting', 'c');
SELECT "position", state, reason, hint FROM pm.status;
SELECT pm.resume('halting');
SELECT "position", attempt FROM pm.fetch('halting', 'c');
SELECT pm.unregister('halting');

-- one event for several keys, and for none
CREATE FUNCTION keys_of(e pm.event) RETURNS text[] LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	IF e.type = 'Bad' THEN
		PERFORM pm.fail_permanently('a bad one');
	END IF;
	RETURN ARRAY(SELECT jsonb_array_elements_text(e.data -> 'keys'));
END $$;
SELECT pm.create_log('many');
SELECT pm.register('fan', NULL, '{many}', 'keys_of', lease => '1 h', backoff => '1 h');
SELECT pm.append('many', 's', 't', '{"keys": ["a", "b"]}'), pm.append('many', 's', 't', '{"keys": []}'), pm.append('many', 's', 'Bad'), pm.append('many', 's', 't', '{"keys": ["b", "c"]}'), pm.append('many', 's', 't', '{"keys": ["a"]}');
SELECT "position", key, attempt FROM pm.fetch('fan', 'c');
SELECT pm.advance('fan', 'c', 0);
SELECT log, "position", key, state, message FROM aside;
SELECT "position", key, attempt FROM pm.fetch('fan', 'c');
SELECT pm.advance('fan', 'c', 0);
SELECT log, "position", key, state, message FROM aside;
SELECT pm.append('many', 's', 't', '{"keys": ["a", "b"]}'), pm.append('many', 's', 't', '{"keys": ["b", "c"]}'), pm.append('many', 's', 't', '{"keys": ["a"]}');
SELECT "position", key, attempt FROM pm.fetch('fan', 'c');
SELECT pm.fail('fan', 'c', 'many', 6, 'only for b', key => 'b');
SELECT "position", key, attempt FROM pm.fetch('fan', 'c');
SELECT pm.advance('fan', 'c', 0);
SELECT log, "position", key, state, message FROM aside;
-- without a key: a person retries it
SELECT pm.retry('fan');
SELECT "position", key, attempt FROM pm.fetch('fan', 'c');
SELECT log, "position", key, state, message FROM aside;
UPDATE many SET type = 't', data = '{"keys": ["d", "e"]}' WHERE "position" = 3;
SELECT pm.retry('fan');
SELECT count(*) FROM pm.fetch('fan', 'c');
SELECT log, "position", key, state, message FROM aside;
SELECT "position", key, attempt FROM pm.fetch('fan', 'c');
SELECT pm.advance('fan', 'c', 0);
SELECT "position", key, attempt FROM pm.fetch('fan', 'c');
SELECT pm.advance('fan', 'c', 0);
SELECT pm.unregister('fan');

-- the handler of a timer has failed in this session: the timer that a consumer sets is not one of that handler
CREATE FUNCTION late(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN IF e.log IS NULL THEN RAISE 'no'; END IF; PERFORM pm.set_timer('late', pm.now() - interval '1 s', jsonb_build_object('x', repeat('y', 3000))); RETURN '{}'; END $$;
SELECT pm.register('caller', NULL, '{calls}', start_at => 'beginning', lease => '1 h');
SELECT pm.register('late', 'late', '{calls}', start_at => 'beginning');
SELECT count(*) FROM pm.fetch('caller', 'c', 1);
SELECT pm.save('caller', 'c', key, '{}') FROM pm.fetch('caller', 'c', 1);
SELECT pm.catch_up('late', max_count => 1);
SELECT pm.catch_up('late');
SELECT pm.set_timer('t', '2000-01-01', '{}', 'caller', 'c', key) FROM pm.instance WHERE process_manager = 'caller';
SELECT type, due = '2000-01-01' AS as_given FROM pm.timer WHERE process_manager = 'caller';
SELECT pm.unregister('caller'), pm.unregister('late');
DROP FUNCTION late;

-- events that were recorded at the same time come in the order of the logs, in each session
SELECT pm.register('tie', NULL, '{orders,calls}', start_at => 'end', lease => '1 h');
INSERT INTO calls (stream, type) VALUES ('k', 't') \; INSERT INTO orders (stream, type) VALUES ('k', 't');
\c -
SELECT log, key FROM pm.fetch('tie', 'c');
SELECT log, key FROM pm.fetch('tie', 'c');
SELECT pm.fail('tie', 'c', log, "position", 'no') FROM pm.fetch('tie', 'c') WHERE log = 'orders';
SELECT log, key, state FROM aside;
SELECT pm.unregister('tie');

DROP VIEW aside;
DROP FUNCTION run_out, due, keys_of;
SELECT pm.drop_log('calls'), pm.drop_log('orders'), pm.drop_log('many');
DROP TABLE calls, orders, many;
