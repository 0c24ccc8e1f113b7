-- Timers: a handler with a state asks to be called again at a certain time, in order with the events
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set reload :abs_srcdir '/sql/reload.inc'
\set ECHO none
-- a batch ends only after batch_size events, even on a slow machine
ALTER SYSTEM SET pm.batch_duration = '1h';
\i :no_workers
\set ECHO all

SET timezone = 'UTC';
SELECT pm.create_log('orders'), pm.create_log('payments');
CREATE TABLE handled (n serial, log text, key text, type text, note text);
CREATE TABLE poison (type text);
-- Does what its event says: {"set": {type: due, ...}, "with": data, "cancel": [type, ...], "end": true, "none": true}.
-- The state is the list of the types that it has seen.
CREATE FUNCTION deal(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	t record;
	note text;
BEGIN
	FOR t IN SELECT value FROM jsonb_array_elements_text(e.data->'cancel') LOOP
		note := concat_ws(', ', note, format('cancel %s: %s', t.value, pm.cancel_timer(t.value)));
	END LOOP;
	FOR t IN SELECT key, value FROM jsonb_each_text(e.data->'set') LOOP
		PERFORM pm.set_timer(t.key, t.value::timestamptz, coalesce(e.data->'with', '{}'));
	END LOOP;
	INSERT INTO handled (log, key, type, note) VALUES (e.log, e.stream, e.type, note);
	IF e.type IN (SELECT p.type FROM poison p) THEN RAISE 'no % today', e.type USING DETAIL = 'it is poison', ERRCODE = 'P0042'; END IF;
	RETURN CASE WHEN e.data ? 'end' THEN pm.done() WHEN e.data ? 'none' THEN NULL ELSE coalesce(state, '[]') || to_jsonb(e.type) END;
END $$;
CREATE FUNCTION reset_handled() RETURNS void LANGUAGE sql AS $$ TRUNCATE handled; ALTER SEQUENCE handled_n_seq RESTART $$;
CREATE FUNCTION make_due() RETURNS void LANGUAGE sql AS $$ UPDATE pm_catalog.lane SET lane = lane; UPDATE pm_catalog.parked SET retry_at = clock_timestamp() WHERE retry_at IS NOT NULL $$;
-- Adds an event to orders, recorded at this hour of 1 January 2020.
CREATE FUNCTION at(hour text, stream text, type text, data jsonb DEFAULT '{}') RETURNS void LANGUAGE sql AS
$$ INSERT INTO orders (stream, type, data, recorded_at) VALUES (stream, type, data, ('2020-01-01 ' || hour || ' UTC')::timestamptz) $$;
CREATE VIEW aside AS SELECT v.log, v.key, (v.event).type, v.state, v.attempts, v.message, v.retry_at > clock_timestamp() AS later
	FROM pm.parked v JOIN pm_catalog.parked k ON k.process_manager = v.process_manager AND k.log IS NOT DISTINCT FROM v.log AND (v.log IS NULL OR k.position = v.position) AND (v.log IS NOT NULL OR k.id = v.position)
	ORDER BY v.process_manager, v.key, k.id;

-- ---- timers are set, and fire when they are due -----------------------------

SELECT pm.register('m', 'deal', '{orders}', start_at => 'end');
SELECT pm.append('orders', 'a', 'placed', '{"set": {"remind": "2030-01-01 10:00"}, "with": {"how": "kindly"}}', '{"correlation": {"request": 7}}') AS placed \gset
SELECT pm.catch_up('m');
SELECT * FROM pm.timer;
SELECT pm.catch_up('m');
SELECT pm.catch_up('m', as_of => '2030-01-01 09:59:59.999999');
SELECT count(*) FROM handled;
-- it fires exactly when it is due; pm.now() is as_of
CREATE OR REPLACE FUNCTION tell(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RAISE WARNING '% % % v% % % % at %, causation %', coalesce(e.log, 'no log'), coalesce(e.position::text, 'no position'), e.stream, coalesce(e.version::text, 'none'), e.type, e.data, e.recorded_at, pm.now(),
		e.metadata->'causation'->'log' = '"orders"' AND jsonb_typeof(e.metadata->'causation'->'position') = 'number';
	RAISE WARNING 'besides: %', e.metadata - 'causation';
	RETURN state || '"told"';
END $$;
SELECT pm.register('m', 'tell', '{orders}');
SET client_min_messages = warning;
SELECT pm.catch_up('m', as_of => '2030-01-01 10:00');
SET client_min_messages = error;
SELECT key, state FROM pm.instance;
SELECT count(*) FROM pm.timer;
-- it fires once
SELECT pm.catch_up('m', as_of => '2030-01-01 10:00');
SELECT pm.register('m', 'deal', '{orders}');
SELECT reset_handled();
-- replaced by an earlier or later one or with other data; other timers and those of other keys stay
SELECT at('10:00', 'b', 'b1', '{"set": {"t": "2030-01-01 10:00", "u": "2030-01-01 10:00"}}'), at('10:00', 'c', 'c1', '{"set": {"t": "2030-01-01 11:00"}}');
SELECT pm.catch_up('m');
SELECT at('10:01', 'b', 'b2', '{"set": {"t": "2030-01-01 12:00"}, "with": {"n": 2}}');
SELECT pm.catch_up('m');
SELECT * FROM pm.timer ORDER BY key, type;
SELECT pm.catch_up('m', as_of => '2030-01-01 10:30');
SELECT * FROM pm.timer ORDER BY key, type;
-- set twice in one call, and in one batch
SELECT at('10:02', 'b', 'b3', '{"set": {"t": "2030-01-01 13:00"}}'), at('10:03', 'b', 'b4', '{"set": {"t": "2030-01-01 14:00"}, "with": {"n": 4}}');
SELECT pm.catch_up('m');
SELECT * FROM pm.timer ORDER BY key, type;
-- canceled
SELECT at('10:04', 'b', 'b5', '{"cancel": ["t", "t", "u", "nosuch"]}');
SELECT pm.catch_up('m');
SELECT type, note FROM handled WHERE type = 'b5';
SELECT * FROM pm.timer ORDER BY key, type;
-- canceled and set in one call, set and canceled in one batch
SELECT at('10:05', 'c', 'c2', '{"cancel": ["t"], "set": {"t": "2030-01-01 15:00", "w": "2030-01-01 15:00"}}'), at('10:06', 'c', 'c3', '{"cancel": ["w"]}');
SELECT pm.catch_up('m');
SELECT type, note FROM handled WHERE key = 'c' ORDER BY n;
SELECT * FROM pm.timer ORDER BY key, type;
SELECT pm.catch_up('m', as_of => 'infinity');
SELECT pm.catch_up('m', as_of => '-infinity');
SELECT pm.catch_up('m', as_of => '2030-01-02');
SELECT key, state FROM pm.instance ORDER BY key;
-- in a transaction that rolls back
BEGIN;
SELECT at('10:07', 'd', 'd1', '{"set": {"t": "2030-01-01 10:00"}}');
SELECT pm.catch_up('m');
SELECT * FROM pm.timer;
SELECT pm.catch_up('m', as_of => '2030-01-01 10:00');
SELECT * FROM pm.timer;
ROLLBACK;
SELECT count(*) FROM pm.timer;
SELECT pm.unregister('m');
SELECT reset_handled();

-- ---- a rollback within a handler undoes timers ------------------------------

CREATE FUNCTION undoes(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE note text;
BEGIN
	CASE e.type
		WHEN 'set' THEN
			PERFORM pm.set_timer('kept', '2030-01-01 10:00');
			BEGIN
				PERFORM pm.set_timer('undone', '2030-01-01 10:00');
				RAISE 'undo';
			EXCEPTION WHEN raise_exception THEN
				PERFORM pm.set_timer('instead', '2030-01-01 10:00');
			END;
		WHEN 'replace' THEN
			BEGIN
				PERFORM pm.set_timer('kept', '2030-01-01 11:00', '{"undone": true}');
				note := pm.cancel_timer('instead');
				PERFORM 1 / 0;
			EXCEPTION WHEN division_by_zero THEN
				note := note || pm.cancel_timer('undone')::text;
			END;
		WHEN 'nested' THEN
			BEGIN
				note := pm.cancel_timer('kept');
				BEGIN
					PERFORM pm.set_timer('kept', '2030-01-01 12:00');
					PERFORM pm.set_timer('inner', '2030-01-01 12:00');
					RAISE 'inner';
				EXCEPTION WHEN raise_exception THEN
					note := note || pm.cancel_timer('inner')::text || pm.cancel_timer('kept')::text;
				END;
				PERFORM pm.set_timer('outer', '2030-01-01 12:00');
			EXCEPTION WHEN raise_exception THEN
				note := 'never';
			END;
		WHEN 'error' THEN
			BEGIN
				PERFORM pm.set_timer('', '2030-01-01 12:00');
			EXCEPTION WHEN OTHERS THEN
				note := SQLERRM;
			END;
		ELSE NULL;
	END CASE;
	INSERT INTO handled (key, type, note) VALUES (e.stream, e.type, note);
	RETURN '{}';
END $$;
SELECT pm.register('m', 'undoes', '{orders}', start_at => 'end');
SELECT at('10:00', 'a', 'set');
SELECT pm.catch_up('m');
SELECT type, due, data FROM pm.timer ORDER BY type;
SELECT at('10:01', 'a', 'replace');
SELECT pm.catch_up('m');
SELECT type, note FROM handled ORDER BY n;
SELECT type, due, data FROM pm.timer ORDER BY type;
SELECT at('10:02', 'a', 'nested');
SELECT pm.catch_up('m');
SELECT type, note FROM handled ORDER BY n;
SELECT type, due, data FROM pm.timer ORDER BY type;
SELECT at('10:03', 'a', 'error');
SELECT pm.catch_up('m');
SELECT type, note FROM handled ORDER BY n;
SELECT pm.unregister('m');
-- all of it in one batch
SELECT reset_handled();
SELECT pm.register('m', 'undoes', '{orders}', start_at => 'end');
SELECT at('10:00', 'a', 'set'), at('10:01', 'a', 'replace'), at('10:02', 'a', 'nested'), at('10:03', 'a', 'error');
SELECT pm.catch_up('m');
SELECT type, note FROM handled ORDER BY n;
SELECT type, due, data FROM pm.timer ORDER BY type;
SELECT pm.unregister('m');
SELECT reset_handled();

-- ---- order of timers and events ---------------------------------------------

-- What is handled, and the state of each key. same() compares batches of 1, 2, 3 and 100 events.
CREATE FUNCTION run(script text, batch_size int, on_failure text DEFAULT 'park') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	PERFORM reset_handled();
	PERFORM pm.register('r', 'deal', '{orders,payments}', start_at => 'end', batch_size => run.batch_size, on_failure => run.on_failure, backoff => '1 hour');
	EXECUTE script;
	PERFORM pm.catch_up('r', on_failure => 'policy');
	result := concat_ws(' | ',
		(SELECT string_agg(type, ' ' ORDER BY n) FROM handled),
		(SELECT string_agg(format('%s %s', key, state), ', ' ORDER BY key) FROM pm.instance WHERE process_manager = 'r'),
		(SELECT 'timers ' || string_agg(format('%s %s %s', key, type, due::time), ', ' ORDER BY key, type) FROM pm.timer WHERE process_manager = 'r'),
		(SELECT 'parked ' || string_agg(format('%s %s', (v.event).type, v.state), ', ' ORDER BY v.key, k.id) FROM pm.parked v JOIN pm_catalog.parked k ON k.process_manager = v.process_manager AND k.log IS NOT DISTINCT FROM v.log AND v.position = coalesce(k.position, k.id) WHERE v.process_manager = 'r'),
		(SELECT state FROM pm_catalog.lane WHERE process_manager = 'r' AND state <> 'ok'));
	PERFORM pm.unregister('r');
	RETURN result;
END $$;
CREATE FUNCTION same(script text, OUT results bigint, OUT one_of_them text) LANGUAGE sql AS
$$ SELECT count(DISTINCT r), min(r) FROM (SELECT run(script, b) AS r FROM unnest('{1,2,3,100}'::int[]) b) x $$;
-- due before, between and after later events of the same key and of others
SELECT * FROM same($$ SELECT at('10:00', 'a', 'a1', '{"set": {"T": "2020-01-01 10:05"}}'), at('10:04', 'a', 'a2'), at('10:06', 'a', 'a3') $$);
SELECT * FROM same($$ SELECT at('10:00', 'a', 'a1', '{"set": {"T": "2020-01-01 10:05"}}'), at('10:04', 'b', 'b1'), at('10:06', 'b', 'b2') $$);
SELECT * FROM same($$ SELECT at('10:00', 'a', 'a1', '{"set": {"T": "2020-01-01 10:01"}}'), at('10:02', 'a', 'a2'), at('10:03', 'a', 'a3'), at('10:04', 'a', 'a4') $$);
SELECT * FROM same($$ SELECT at('10:00', 'a', 'a1'), at('10:01', 'a', 'a2'), at('10:02', 'a', 'a3', '{"set": {"T": "2020-01-01 10:03"}}') $$);
-- at the same time as an event, the event goes first, whatever its key
SELECT * FROM same($$ SELECT at('10:00', 'a', 'a1', '{"set": {"T": "2020-01-01 10:05"}}'), at('10:05', 'a', 'a2'), at('10:05', 'b', 'b1'), at('10:05:00.000001', 'b', 'b2') $$);
SELECT * FROM same($$ SELECT at('10:00', 'a', 'a1', '{"set": {"T": "2020-01-01 10:00"}}'), at('10:00', 'a', 'a2'), at('10:01', 'a', 'a3') $$);
-- a timer that is already due comes next
SELECT * FROM same($$ SELECT at('10:00', 'a', 'a1', '{"set": {"T": "2019-01-01 10:05"}}'), at('10:00', 'a', 'a2'), at('10:00', 'b', 'b1') $$);
-- of two timers the earlier one fires first; at the same time, the one that was set first
SELECT * FROM same($$ SELECT at('10:00', 'a', 'a1', '{"set": {"T": "2020-01-01 10:06"}}'), at('10:01', 'b', 'b1', '{"set": {"U": "2020-01-01 10:05"}}'), at('10:10', 'c', 'c1') $$);
SELECT * FROM same($$ SELECT at('10:00', 'b', 'b1', '{"set": {"Z": "2020-01-01 10:05"}}'), at('10:01', 'a', 'a1', '{"set": {"A": "2020-01-01 10:05"}}'), at('10:10', 'c', 'c1') $$);
-- setting it again counts as set later
SELECT * FROM same($$ SELECT at('10:00', 'b', 'b1', '{"set": {"Z": "2020-01-01 10:05"}}'), at('10:01', 'a', 'a1', '{"set": {"A": "2020-01-01 10:05"}}'), at('10:02', 'b', 'b2', '{"set": {"Z": "2020-01-01 10:05"}}'), at('10:10', 'c', 'c1') $$);
-- replaced, moved forward, postponed, canceled in time and too late
SELECT * FROM same($$ SELECT at('10:00', 'a', 'a1', '{"set": {"T": "2020-01-01 10:10"}}'), at('10:01', 'a', 'a2', '{"set": {"T": "2020-01-01 10:02"}}'), at('10:03', 'a', 'a3'), at('10:11', 'a', 'a4') $$);
SELECT * FROM same($$ SELECT at('10:00', 'a', 'a1', '{"set": {"T": "2020-01-01 10:02"}}'), at('10:01', 'a', 'a2', '{"set": {"T": "2020-01-01 10:10"}}'), at('10:03', 'a', 'a3'), at('10:11', 'a', 'a4') $$);
SELECT * FROM same($$ SELECT at('10:00', 'a', 'a1', '{"set": {"T": "2020-01-01 10:02"}}'), at('10:01', 'a', 'a2', '{"cancel": ["T"]}'), at('10:03', 'a', 'a3') $$);
SELECT * FROM same($$ SELECT at('10:00', 'a', 'a1', '{"set": {"T": "2020-01-01 10:02"}}'), at('10:02', 'a', 'a2', '{"cancel": ["T"]}'), at('10:03', 'a', 'a3') $$);
SELECT * FROM same($$ SELECT at('10:00', 'a', 'a1', '{"set": {"T": "2020-01-01 10:01"}}'), at('10:02', 'a', 'a2', '{"cancel": ["T"]}'), at('10:03', 'a', 'a3') $$);
-- the timer's own handler finds that the timer is gone already, and may set it again
SELECT * FROM same($$ SELECT at('10:00', 'a', 'a1', '{"set": {"T": "2020-01-01 10:01"}, "with": {"cancel": ["T"], "set": {"T": "2020-01-01 10:03"}}}'), at('10:02', 'a', 'a2'), at('10:04', 'a', 'a3') $$);
SELECT type, note FROM handled ORDER BY n;
-- one timer sets the next
SELECT * FROM same($$ SELECT at('10:00', 'a', 'a1', '{"set": {"T": "2020-01-01 10:01"}, "with": {"set": {"U": "2020-01-01 10:03"}, "with": {"set": {"T": "2020-01-01 10:05"}}}}'), at('10:02', 'a', 'a2'), at('10:04', 'a', 'a3'), at('10:06', 'a', 'a4') $$);
SELECT * FROM same($$ SELECT at('10:00', 'a', 'a1', '{"set": {"T": "2020-01-01 10:01"}, "with": {"set": {"T": "2020-01-01 10:01:00.000001"}, "with": {"set": {"T": "2020-01-01 10:03"}}}}'), at('10:01', 'a', 'a2'), at('10:04', 'a', 'a3') $$);
-- never after the instance has ended, not even if the key has a new instance
SELECT * FROM same($$ SELECT at('10:00', 'a', 'a1', '{"set": {"T": "2020-01-01 10:05"}}'), at('10:02', 'a', 'a2', '{"end": true}'), at('10:06', 'b', 'b1') $$);
SELECT * FROM same($$ SELECT at('10:00', 'a', 'a1', '{"set": {"T": "2020-01-01 10:05"}}'), at('10:02', 'a', 'a2', '{"end": true}'), at('10:03', 'a', 'a3'), at('10:06', 'b', 'b1') $$);
SELECT * FROM same($$ SELECT at('10:00', 'a', 'a1', '{"set": {"T": "2020-01-01 10:05"}}'), at('10:02', 'a', 'a2', '{"end": true}'), at('10:03', 'a', 'a3', '{"set": {"T": "2020-01-01 10:06"}}'), at('10:07', 'b', 'b1') $$);
SELECT * FROM same($$ SELECT at('10:00', 'a', 'a1', '{"end": true, "set": {"T": "2020-01-01 10:05"}}'), at('10:06', 'b', 'b1') $$);
SELECT * FROM same($$ SELECT at('10:00', 'a', 'a1', '{"set": {"T": "2020-01-01 10:05", "U": "2020-01-01 10:05:01"}, "with": {"end": true}}'), at('10:06', 'b', 'b1') $$);
SELECT * FROM same($$ SELECT at('10:00', 'a', 'a1'), at('10:01', 'a', 'a2', '{"end": true, "set": {"T": "2020-01-01 10:05"}}'), at('10:02', 'a', 'a3'), at('10:06', 'b', 'b1') $$);
-- with several logs
SELECT * FROM same($$ SELECT at('10:00', 'a', 'a1', '{"set": {"T": "2020-01-01 10:05"}}'), at('10:04', 'a', 'a2'), at('10:08', 'a', 'a3');
	INSERT INTO payments (stream, type, recorded_at) VALUES ('a', 'p1', '2020-01-01 10:03 UTC'), ('a', 'p2', '2020-01-01 10:06 UTC'), ('b', 'p3', '2020-01-01 10:07 UTC') $$);
SELECT * FROM same($$ SELECT at('10:00', 'a', 'a1', '{"set": {"T": "2020-01-01 10:05"}}');
	INSERT INTO payments (stream, type, recorded_at) SELECT 'b', 'p' || i, '2020-01-01 10:00:00.5 UTC'::timestamptz + i * interval '1 min' FROM generate_series(0, 9) i $$);
-- event times out of order: the timer fires before the first event with a later time
SELECT * FROM same($$ SELECT at('10:10', 'a', 'a1', '{"set": {"T": "2020-01-01 10:05"}}'), at('10:03', 'a', 'a2'), at('10:04', 'a', 'a3'), at('10:06', 'a', 'a4') $$);
-- parked behind a failing event in the order of time; what parked events set or cancel has no effect yet
INSERT INTO poison VALUES ('bad');
SELECT * FROM same($$ SELECT at('10:00', 'a', 'a1', '{"set": {"T": "2020-01-01 10:05"}}'), at('10:01', 'a', 'bad'), at('10:04', 'a', 'a2', '{"cancel": ["T"]}'), at('10:06', 'a', 'a3'), at('10:07', 'b', 'b1') $$);
SELECT * FROM same($$ SELECT at('10:00', 'a', 'a1', '{"set": {"T": "2020-01-01 10:05", "U": "2021-01-01 10:00"}}'), at('10:05', 'a', 'bad', '{"set": {"U": "2020-01-01 10:05"}}'), at('10:06', 'a', 'a2') $$);
-- a failing timer is parked, and so is what follows
SELECT * FROM same($$ SELECT at('10:00', 'a', 'a1', '{"set": {"bad": "2020-01-01 10:05", "T": "2020-01-01 10:07"}}'), at('10:04', 'a', 'a2'), at('10:06', 'a', 'a3'), at('10:08', 'b', 'b1') $$);
SELECT * FROM same($$ SELECT at('10:00', 'a', 'a1', '{"set": {"T": "2020-01-01 10:01"}, "with": {"set": {"bad": "2020-01-01 10:02"}}}'), at('10:03', 'a', 'a2'), at('10:08', 'b', 'b1') $$);
-- or the process manager halts
SELECT count(DISTINCT r) AS results, min(r) FROM (SELECT run($$ SELECT at('10:00', 'a', 'a1', '{"set": {"bad": "2020-01-01 10:05"}}'), at('10:04', 'a', 'a2'), at('10:06', 'a', 'a3'), at('10:08', 'b', 'b1') $$, b, 'halt') AS r FROM unnest('{1,2,3,100}'::int[]) b) x;
DELETE FROM poison;
-- many random events
CREATE PROCEDURE by_chance(seed int) LANGUAGE plpgsql AS $$
DECLARE
	x int[];
	minute int := 0;
BEGIN
	FOR i IN 1 .. 40 LOOP
		x := ARRAY(SELECT get_byte(decode(md5(seed || ' ' || i), 'hex'), b) FROM generate_series(0, 9) b);
		minute := minute + x[1] % 3;
		INSERT INTO orders (stream, type, recorded_at, data) VALUES ('k' || x[2] % 4, 'e' || i, '2020-01-01 UTC'::timestamptz + minute * interval '1 min',
			CASE WHEN x[3] % 8 = 0 THEN '{"end": true}'
				 WHEN x[3] % 8 = 1 THEN jsonb_build_object('cancel', jsonb_build_array('T' || x[4] % 3))
				 WHEN x[3] % 8 < 6 THEN jsonb_build_object('set', jsonb_build_object('T' || x[4] % 3, '2020-01-01 UTC'::timestamptz + (minute + x[5] % 12 - 1) * interval '1 min'),
					'with', CASE WHEN x[6] % 2 = 0 THEN jsonb_build_object('set', jsonb_build_object('T' || x[7] % 3, '2020-01-01 UTC'::timestamptz + (minute + x[5] % 12 + x[8] % 15) * interval '1 min'),
						'with', CASE WHEN x[9] % 5 = 0 THEN '{"end": true}' ELSE '{}' END::jsonb) ELSE '{}' END)
				 ELSE '{}' END);
	END LOOP;
END $$;
CREATE TABLE chance AS SELECT seed, results, one_of_them AS result FROM generate_series(1, 8) seed, same(format('CALL by_chance(%s)', seed));
INSERT INTO poison VALUES ('e5'), ('e12'), ('T2');
INSERT INTO chance SELECT seed, results, one_of_them FROM generate_series(11, 18) seed, same(format('CALL by_chance(%s)', seed));
SELECT seed, results, length(result) > 100 AS long, result ~ 'T' AS with_timers, result ~ 'failing' AS with_parked, result ~ 'behind' AS with_behind FROM chance ORDER BY seed;
-- the result does not depend on where pm.batch_duration ends a batch either
ALTER SYSTEM SET pm.batch_duration = '1ms';
\set ECHO none
\set setting pm.batch_duration
\set value 1ms
\i :reload
\set ECHO all
SELECT seed FROM chance WHERE seed > 10 AND run(format('CALL by_chance(%s)', seed), 100) <> result;
DELETE FROM poison;
SELECT seed FROM chance WHERE seed < 10 AND run(format('CALL by_chance(%s)', seed), 100) <> result;

-- ---- as_of ------------------------------------------------------------------

SELECT reset_handled();
SELECT pm.register('m', 'deal', '{orders}', start_at => 'end');
SELECT at('10:00', 'a', 'a1', '{"set": {"T": "2020-01-01 10:05"}}'), at('10:10', 'a', 'a2');
-- not due at as_of, whatever the clock and later events say
SELECT pm.catch_up('m', as_of => '2020-01-01 10:04');
SELECT string_agg(type, ' ' ORDER BY n) FROM handled;
SELECT pm.catch_up('m', as_of => '2020-01-01 10:05');
SELECT string_agg(type, ' ' ORDER BY n) FROM handled;
-- a timer that is set by a timer is compared with the same as_of
SELECT at('10:20', 'a', 'a3', '{"set": {"U": "2030-01-01 10:00"}, "with": {"set": {"V": "2030-01-01 11:00"}, "with": {"set": {"W": "2030-01-01 13:00"}}}}');
SELECT pm.catch_up('m', as_of => '2030-01-01 12:00');
SELECT string_agg(type, ' ' ORDER BY n) FROM handled;
SELECT type, due FROM pm.timer;
-- max_count includes timers
SELECT at('10:30', 'b', 'b1', '{"set": {"X": "2020-01-01 11:00", "Y": "2020-01-01 12:00"}}');
SELECT pm.catch_up('m', max_count => 2);
SELECT string_agg(type, ' ' ORDER BY n) FROM handled;
SELECT pm.catch_up('m', max_count => 5);
SELECT string_agg(type, ' ' ORDER BY n) FROM handled;
-- only max_count ends a timer that always sets itself again
SELECT at('10:40', 'c', 'c1', '{"set": {"Z": "2020-01-01"}}');
CREATE FUNCTION winds_itself(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN PERFORM pm.set_timer('Z', e.recorded_at + '1 us'); RETURN coalesce(state, '0')::int + 1; END $$;
SELECT pm.register('m', 'winds_itself', '{orders}');
SELECT pm.catch_up('m', max_count => 50);
SELECT state FROM pm.instance WHERE key = 'c';
SELECT pm.pause('m');
SELECT pm.catch_up();
SELECT pm.unregister('m');
SELECT count(*) FROM pm_catalog.timer;
SELECT reset_handled();

-- a timer that sets itself for its own time is due at the time of the call: pm.catch_up ends
CREATE FUNCTION comes_back(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN PERFORM pm.set_timer('Z', e.recorded_at); RETURN coalesce(state, '0')::int + 1; END $$;
SELECT pm.register('m', 'comes_back', '{orders}', start_at => 'end');
SELECT at('10:50', 'd', 'd1');
SELECT pm.catch_up('m'), pm.catch_up('m');
SELECT state, due > '2026-01-01' AS now FROM pm.instance JOIN pm.timer USING (key) WHERE key = 'd';
SELECT pm.catch_up('m', as_of => '2050-01-01');
SELECT state, due FROM pm.instance JOIN pm.timer USING (key) WHERE key = 'd';
SELECT pm.unregister('m');
SELECT reset_handled();

-- ---- types, correlate, names ------------------------------------------------

-- types and correlate concern events only: a timer is delivered to the key that set it
CREATE FUNCTION by_order(e pm.event) RETURNS text LANGUAGE plpgsql AS $$ BEGIN IF e.log IS NULL THEN RAISE 'not for a timer'; END IF; RETURN e.data->>'order'; END $$;
SELECT pm.register('m', 'deal', '{orders}', start_at => 'end', types => '{start}', correlate => 'by_order');
SELECT at('10:00', 's', 'start', '{"order": "it''s o-1", "set": {"stop": "2020-01-01 10:05"}}'), at('10:06', 's', 'stop', '{"order": "it''s o-1"}');
SELECT pm.catch_up('m');
SELECT log, key, type FROM handled ORDER BY n;
SELECT key, state FROM pm.instance;
-- also if the key is a hash
SELECT at('10:10', 's', 'start', jsonb_build_object('order', repeat('x', 1001), 'set', '{"stop": "2030-01-01 10:05"}'::jsonb));
SELECT pm.catch_up('m');
SELECT key = 'sha256:' || encode(sha256(convert_to(repeat('x', 1001), 'UTF8')), 'hex') AS hashed FROM pm.timer;
SELECT pm.catch_up('m', as_of => '2031-01-01');
SELECT key LIKE 'sha256:%' AS hashed, type FROM handled WHERE type = 'stop' ORDER BY n;
SELECT pm.unregister('m');
SELECT reset_handled();
-- unusual names and times
SELECT pm.register('m', 'deal', '{orders}', start_at => 'end');
SELECT at('10:00', '', 'a1', '{"set": {"it''s \"odd\"": "2030-01-01 10:00", " ": "2030-01-01 10:00", "🐟": "4714-11-24 BC", "far": "294276-12-31 23:59:59.999999"}}');
SELECT pm.catch_up('m');
SELECT * FROM pm.timer ORDER BY type COLLATE "C";
SELECT key, type FROM handled ORDER BY n;
SELECT pm.catch_up('m', as_of => '294276-12-31 23:59:59.999999');
SELECT key, state FROM pm.instance;
SELECT pm.unregister('m');
SELECT reset_handled();

-- ---- what is refused --------------------------------------------------------

SELECT pm.set_timer('t', '2030-01-01');
SELECT pm.cancel_timer('t');
SELECT pm.set_timer(NULL, NULL, NULL);
SELECT pm.cancel_timer(NULL);
\set VERBOSITY sqlstate
SELECT pm.set_timer('t', '2030-01-01');
SELECT pm.cancel_timer('t');
\set VERBOSITY default
CREATE FUNCTION executes(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE e.data->>'do';
	RAISE WARNING '%: accepted', e.data->>'do';
	RETURN '{}';
EXCEPTION WHEN OTHERS THEN
	RAISE WARNING '%: % %', e.data->>'do', SQLSTATE, SQLERRM;
	RETURN '{}';
END $$;
SELECT pm.register('m', 'executes', '{orders}', start_at => 'end');
INSERT INTO orders (stream, type, data) SELECT 'x', 'Do', jsonb_build_object('do', d) FROM unnest(ARRAY[
	'SELECT pm.set_timer(NULL, ''2030-01-01'')', 'SELECT pm.set_timer('''', ''2030-01-01'')', 'SELECT pm.set_timer(''t'', NULL)',
	'SELECT pm.set_timer(''t'', ''infinity'')', 'SELECT pm.set_timer(''t'', ''-infinity'')', 'SELECT pm.set_timer(''t'', ''2030-01-01'', NULL)',
	'SELECT pm.set_timer(''u'', ''2030-01-01'', ''null'')', 'SELECT pm.set_timer(''v'', ''2030-01-01'', ''[1]'')', 'SELECT pm.cancel_timer(NULL)', 'SELECT pm.cancel_timer('''')',
	'SELECT pm.set_timer(type => ''w'', due => ''2030-01-01'')']) d;
SET client_min_messages = warning;
SELECT pm.catch_up('m');
SET client_min_messages = error;
SELECT type, due, data FROM pm.timer ORDER BY type;
-- a very long type is refused with a message of pm, if at all
CREATE FUNCTION long_type(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pm.set_timer((SELECT string_agg(md5(i::text), '') FROM generate_series(1, 200) i), '2030-01-01');
	RETURN '{}';
END $$;
SELECT pm.register('m', 'long_type', '{orders}');
SELECT at('10:00', 'y', 'y1');
SELECT pm.catch_up('m');
SELECT pm.unregister('m');
-- a timer without an instance
SELECT pm.register('m', 'deal', '{orders}', start_at => 'end');
SELECT at('10:00', 'a', 'a1', '{"none": true, "set": {"T": "2030-01-01"}}');
SELECT pm.catch_up('m');
\set VERBOSITY sqlstate
SELECT pm.catch_up('m');
\set VERBOSITY default
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT log, key, type, state FROM aside;
SELECT count(*) FROM pm.timer;
-- no error if the timer was canceled or rolled back again
CREATE FUNCTION never_mind(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pm.set_timer('T', '2030-01-01');
	IF pm.cancel_timer('T') THEN RETURN NULL; END IF;
	RAISE 'not canceled';
END $$;
SELECT pm.register('m', 'never_mind', '{orders}');
SELECT at('10:00', 'b', 'b1');
SELECT pm.catch_up('m', on_failure => 'policy');
CREATE OR REPLACE FUNCTION never_mind(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pm.set_timer('T', '2030-01-01');
	RAISE 'undo';
EXCEPTION WHEN raise_exception THEN
	RETURN NULL;
END $$;
SELECT at('10:00', 'c', 'c1');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT count(*) FROM pm_catalog.parked;
SELECT count(*) FROM pm.instance;
SELECT pm.unregister('m');
-- handlers without a state and correlate cannot set timers
CREATE FUNCTION no_state(e pm.event) RETURNS void LANGUAGE sql AS $$ SELECT pm.set_timer('T', '2030-01-01') $$;
CREATE FUNCTION no_state_cancel(e pm.event) RETURNS void LANGUAGE sql AS $$ SELECT pm.cancel_timer('T') $$;
CREATE FUNCTION no_state_all(e pm.event[]) RETURNS void LANGUAGE sql AS $$ SELECT pm.set_timer('T', '2030-01-01') $$;
CREATE FUNCTION sets_in_correlate(e pm.event) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM pm.set_timer('T', '2030-01-01'); RETURN e.stream; END $$;
CREATE FUNCTION cancels_in_correlate(e pm.event) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM pm.cancel_timer('T'); RETURN e.stream; END $$;
SELECT pm.register('e', 'no_state', '{orders}', start_at => 'end'), pm.register('c', 'no_state_cancel', '{orders}', start_at => 'end'), pm.register('b', 'no_state_all', '{orders}', start_at => 'end');
SELECT pm.register('m', 'deal', '{orders}', start_at => 'end', correlate => 'sets_in_correlate'), pm.register('n', 'deal', '{orders}', start_at => 'end', correlate => 'cancels_in_correlate');
SELECT at('10:00', 'a', 'a1'), at('10:00', 'a', 'a2');
SELECT pm.catch_up('e');
SELECT pm.catch_up('c');
SELECT pm.catch_up('b');
SELECT pm.catch_up('m');
SELECT pm.catch_up('n');
SELECT pm.catch_up(on_failure => 'policy');
SELECT process_manager, state, message, sqlstate FROM pm_catalog.lane ORDER BY 1;
SELECT process_manager, log, state, message, sqlstate FROM pm.parked ORDER BY process_manager, "position";
-- after all that, the session is still outside of a handler
SELECT pm.set_timer('t', '2030-01-01');
SELECT pm.unregister(name) FROM pm.process_manager;
SELECT count(*) FROM pm_catalog.timer;
-- a trigger that a handler fires can set timers of that handler
CREATE TABLE reminders (at timestamptz);
CREATE FUNCTION set_by_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pm.set_timer('from a trigger', NEW.at); RETURN NULL; END $$;
CREATE TRIGGER set_by_trigger AFTER INSERT ON reminders FOR EACH ROW EXECUTE FUNCTION set_by_trigger();
CREATE FUNCTION inserts(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN INSERT INTO reminders VALUES ('2030-01-01'); RETURN '{}'; END $$;
SELECT pm.register('m', 'inserts', '{orders}', start_at => 'end');
SELECT at('10:00', 'a', 'a1');
SELECT pm.catch_up('m');
SELECT key, type, due FROM pm.timer;
INSERT INTO reminders VALUES ('2030-01-01');
SELECT pm.unregister('m');
SELECT reset_handled();

-- ---- parked timers, and timers of parked keys -------------------------------

SELECT pm.register('m', 'deal', '{orders,payments}', start_at => 'end', backoff => '1 hour', max_attempts => 2);
INSERT INTO poison VALUES ('bad');
SELECT at('10:00', 'a', 'a1', '{"set": {"T": "2020-01-01 10:05", "U": "2020-01-01 10:06", "later": "2030-01-01 10:00"}}'), at('10:01', 'a', 'bad', '{"cancel": ["T"], "set": {"U": "2020-01-01 10:10"}}'), at('10:07', 'a', 'a2');
SELECT "position" AS bad FROM orders WHERE type = 'bad' ORDER BY 1 DESC LIMIT 1 \gset
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT log, key, type, state FROM aside;
SELECT key, type, due FROM pm.timer;
-- what pm.parked shows of a timer
SELECT (event).log, (event)."position", (event).stream, (event).version, (event).type, (event).data, (event).recorded_at, (event).metadata->'causation'->'log' AS caused_in FROM pm.parked WHERE log IS NULL AND (event).type = 'T';
SELECT log, parked FROM pm.status ORDER BY log;
-- the failing event cancels one timer that waits behind it, and postpones the other
DELETE FROM poison;
SELECT pm.retry('m', 'orders', :bad);
SELECT pm.catch_up('m');
SELECT log, type, note FROM handled ORDER BY n;
SELECT key, type, due FROM pm.timer;
SELECT count(*) FROM pm_catalog.parked;
SELECT pm.catch_up('m', as_of => '2031-01-01');
SELECT state FROM pm.instance;
SELECT reset_handled();
-- it ends the instance: the timers behind it go, the events stay
INSERT INTO poison VALUES ('bad');
SELECT at('11:00', 'b', 'b1', '{"set": {"T": "2020-01-01 11:05", "later": "2030-01-01"}}'), at('11:01', 'b', 'bad', '{"end": true}'), at('11:06', 'b', 'b2');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT log, type, state FROM aside;
DELETE FROM poison;
SELECT make_due();
SELECT pm.catch_up('m');
SELECT log, type FROM handled ORDER BY n;
SELECT key, state FROM pm.instance WHERE key = 'b';
SELECT count(*) FROM pm_catalog.timer;
SELECT count(*) FROM pm_catalog.parked;
-- an event behind it ends the instance
SELECT reset_handled();
INSERT INTO poison VALUES ('bad');
SELECT at('12:00', 'c', 'c1', '{"set": {"T": "2020-01-01 12:05"}}'), at('12:01', 'c', 'bad'), at('12:02', 'c', 'c2', '{"end": true}'), at('12:06', 'c', 'c3');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT log, type, state FROM aside;
DELETE FROM poison;
SELECT make_due();
SELECT pm.catch_up('m');
SELECT log, type FROM handled ORDER BY n;
-- a failing timer is parked under a number of its own
SELECT reset_handled();
INSERT INTO poison VALUES ('T');
SELECT at('13:00', 'd', 'd1', '{"set": {"T": "2020-01-01 13:05"}, "with": {"set": {"U": "2020-01-01 13:06"}}}'), at('13:10', 'd', 'd2');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT log, key, type, state, attempts, message, later FROM aside;
SELECT "position" AS number FROM pm.parked WHERE state = 'failing' \gset
SELECT "position" AS behind FROM pm.parked WHERE state = 'behind' \gset
SELECT process_manager, log, (event).type, ((event)."position") IS NULL AS no_position, detail, sqlstate FROM pm.parked WHERE log IS NULL;
SELECT key, state FROM pm.instance WHERE key = 'd';
SELECT count(*) FROM pm.timer;
SELECT log, parked, errors FROM pm.status ORDER BY log;
SELECT make_due();
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT log, type, state, attempts FROM aside;
\set VERBOSITY sqlstate
SELECT pm.retry('m', 'orders', :number);
SELECT pm.retry('m', 'orders', :behind);
\set VERBOSITY default
DELETE FROM poison;
SELECT pm.retry('m', NULL, :number);
SELECT pm.catch_up('m');
SELECT log, type FROM handled ORDER BY n;
SELECT key, state FROM pm.instance WHERE key = 'd';
-- set again while it is parked: there is only one timer of a type
SELECT reset_handled();
INSERT INTO poison VALUES ('bad'), ('T');
SELECT at('14:00', 'e', 'e1', '{"set": {"T": "2020-01-01 14:05"}}');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT log, type, state FROM aside;
SELECT pm.discard('m', NULL, (SELECT "position" FROM pm.parked));
SELECT count(*) FROM pm_catalog.parked;
SELECT count(*) FROM pm.timer;
SELECT at('14:10', 'e', 'e2');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT log, type FROM handled ORDER BY n;
-- a timer that is behind is discarded
SELECT at('14:20', 'e', 'e3', '{"set": {"W": "2020-01-01 14:25", "X": "2020-01-01 14:25"}}'), at('14:21', 'e', 'bad');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT log, type, state FROM aside;
SELECT pm.discard(process_manager, log, "position") FROM pm.parked WHERE (event).type = 'W';
SELECT pm.discard(process_manager, log, "position") FROM pm.parked WHERE state = 'failing';
SELECT log, type, state FROM aside;
SELECT pm.catch_up('m');
SELECT log, type FROM handled ORDER BY n;
-- a failing event has set no timers: they were rolled back with it
SELECT reset_handled();
SELECT at('15:00', 'f', 'bad', '{"set": {"T": "2020-01-01 15:05"}}');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT count(*) FROM pm.timer;
SELECT count(*) FROM pm_catalog.parked;
DELETE FROM poison;
SELECT make_due();
SELECT pm.catch_up('m');
SELECT log, type FROM handled ORDER BY n;
-- a timer of a parked key becomes due and is parked behind; pm.wait_for does not wait for timers
INSERT INTO poison VALUES ('bad');
SELECT at('16:00', 'g', 'g1', '{"set": {"T": "2030-01-01"}}'), at('16:01', 'g', 'bad');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT pm.catch_up('m', as_of => '2030-01-01', on_failure => 'policy');
SELECT log, type, state FROM aside;
SELECT count(*) FROM pm.timer;
SELECT pm.discard('m', 'orders', (SELECT max("position") FROM pm.parked WHERE log = 'orders'));
SELECT log, type, state FROM aside;
SELECT pm.wait_for('m', timeout => '0');
SELECT pm.unfollow('m', 'payments');
DELETE FROM poison;
SELECT pm.catch_up('m');
SELECT key, state FROM pm.instance WHERE key = 'g';
SELECT pm.unregister('m');
SELECT reset_handled();

-- ---- a failing timer with on_failure => 'halt' ------------------------------

SELECT pm.register('m', 'deal', '{orders}', start_at => 'end', on_failure => 'halt', max_attempts => 1);
INSERT INTO poison VALUES ('T');
SELECT at('10:00', 'a', 'a1', '{"set": {"T": "2020-01-01 10:05"}}'), at('10:06', 'b', 'b1');
SELECT pm.catch_up('m');
CREATE FUNCTION context_of() RETURNS text LANGUAGE plpgsql AS $$
DECLARE context text;
BEGIN
	PERFORM pm.catch_up('m');
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
	RETURN format('%s / %s', SQLERRM, regexp_replace(substring(context FROM 'process manager[^\n]*'), '\d+', 'N'));
END $$;
SELECT context_of();
SELECT count(*) FROM handled;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT string_agg(type, ' ' ORDER BY n) FROM handled;
SELECT state, regexp_replace(reason, '\d+', 'N', 'g') AS reason, hint, attempts, lag, parked FROM pm.status;
SELECT state, log, "position" IS NOT NULL AS numbered, message FROM pm_catalog.lane;
SELECT key, type, due FROM pm.timer;
SELECT pm.catch_up('m');
SELECT pm.resume('m');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT state, attempts, errors FROM pm.status;
DELETE FROM poison;
SELECT pm.resume('m');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT string_agg(type, ' ' ORDER BY n) FROM handled;
SELECT lag, attempts, parked FROM pm.status;
-- a second attempt, after a wait
SELECT pm.register('m', 'deal', '{orders}', on_failure => 'halt', max_attempts => 2, backoff => '1 hour');
INSERT INTO poison VALUES ('T');
SELECT at('11:00', 'a', 'a2', '{"set": {"T": "2020-01-01 11:05"}}'), at('11:06', 'a', 'a3');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT state, attempts, retry_at > clock_timestamp() + '50 min' AS later FROM pm_catalog.lane;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT attempts FROM pm_catalog.lane;
DELETE FROM poison;
SELECT pm.resume('m');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT state FROM pm.instance WHERE key = 'a';
SELECT state, attempts FROM pm_catalog.lane;
SELECT pm.unregister('m');
SELECT reset_handled();

-- ---- pm.seek, pm.register, pm.unregister ------------------------------------

SELECT pm.register('m', 'deal', '{orders,payments}', start_at => 'end', backoff => '1 hour');
INSERT INTO poison VALUES ('bad');
SELECT at('10:00', 'a', 'a1', '{"set": {"T": "2030-01-01", "U": "2020-01-01 10:05"}}'), at('10:01', 'b', 'b1', '{"set": {"T": "2030-01-01"}}'), at('10:02', 'a', 'bad');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT pm.seek('m', 'orders', 0);
SELECT pm.register('m', 'deal', '{orders,payments}', correlate => 'by_order');
SET client_min_messages = notice;
SELECT pm.seek('m', 'orders', (SELECT "position" - 2 FROM pm.cursor WHERE log = 'orders'), reset => true);
SET client_min_messages = error;
SELECT (SELECT count(*) FROM pm.timer) AS timers, (SELECT count(*) FROM pm.instance) AS instances, (SELECT count(*) FROM pm.parked) AS parked;
DELETE FROM poison;
SELECT pm.catch_up('m');
SELECT key, state FROM pm.instance ORDER BY key;
SELECT pm.unregister('m');
SELECT (SELECT count(*) FROM pm_catalog.timer) AS timers, (SELECT count(*) FROM pm_catalog.instance) AS instances, (SELECT count(*) FROM pm_catalog.parked) AS parked;
SELECT reset_handled();

-- ---- causation --------------------------------------------------------------

-- what the handler of a timer appends was caused by the event that set the timer
CREATE FUNCTION chase(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	CASE e.type
		WHEN 'placed' THEN PERFORM pm.set_timer('remind', e.recorded_at + '1 min');
		WHEN 'remind' THEN
			PERFORM pm.append('payments', e.stream, 'reminded');
			PERFORM pm.set_timer('give up', e.recorded_at + '1 min');
		WHEN 'give up' THEN
			PERFORM pm.append('payments', e.stream, 'given up', '{}', '{"correlation": "its own"}');
			RETURN pm.done();
		WHEN 'looked at' THEN
			PERFORM pm.set_timer('give up', e.recorded_at + '1 min');
		ELSE NULL;
	END CASE;
	RETURN '{}';
END $$;
SELECT pm.register('m', 'chase', '{orders}', start_at => 'end');
INSERT INTO orders (stream, type, metadata, recorded_at) VALUES ('o-1', 'placed', '{"correlation": {"request": 7}, "other": 1}', '2020-01-01 10:00 UTC'), ('o-2', 'placed', '"no object"', '2020-01-01 10:00 UTC');
SELECT pm.catch_up('m', max_count => 2);
SELECT t.key, t.type, t.metadata->'causation' = jsonb_build_object('log', 'orders', 'position', o."position") AS caused_by_it, t.metadata->'correlation' = t.metadata->'causation' AS correlated FROM pm_catalog.timer t JOIN orders o ON o.stream = t.key AND o.type = 'placed' ORDER BY key;
SELECT pm.catch_up('m');
SELECT p.stream, p.type, p.metadata->'causation' = jsonb_build_object('log', 'orders', 'position', o."position") AS caused_by_it, p.metadata->'correlation' = p.metadata->'causation' AS correlated FROM payments p JOIN orders o ON o.stream = p.stream AND o.type = 'placed'
WHERE p.type IN ('reminded', 'given up') ORDER BY p.stream, p."position";
SELECT depth, event_log, stream, type, cause_log FROM pm.trace('orders', (SELECT "position" FROM orders WHERE stream = 'o-1' AND type = 'placed'));
-- set again by another event: that event is the cause
INSERT INTO orders (stream, type, recorded_at) VALUES ('o-3', 'placed', '2020-01-01 10:00 UTC'), ('o-3', 'looked at', '2020-01-01 10:01:30 UTC'), ('o-4', 'other', '2020-01-01 10:10 UTC');
SELECT pm.catch_up('m');
SELECT depth, event_log, stream, type, cause_log FROM pm.trace('orders', (SELECT "position" FROM orders WHERE stream = 'o-3' AND type = 'placed'));
SELECT depth, event_log, stream, type, cause_log FROM pm.trace('orders', (SELECT "position" FROM orders WHERE stream = 'o-3' AND type = 'looked at'));
SELECT pm.unregister('m');

-- ---- who sees which timers --------------------------------------------------

-- each role connects as itself
SELECT current_user AS super \gset
CREATE ROLE regress_pm_alice LOGIN;
CREATE ROLE regress_pm_monitor LOGIN;
GRANT USAGE ON SCHEMA pm TO regress_pm_alice, regress_pm_monitor;
GRANT pg_monitor TO regress_pm_monitor;
GRANT SELECT ON orders TO regress_pm_alice;
CREATE FUNCTION sets(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN PERFORM pm.set_timer('T', '2030-01-01'); RETURN '{}'; END $$;
\c - regress_pm_alice
SET client_min_messages = error;
SET timezone = 'UTC';
SELECT pm.register('a', 'sets', '{orders}', start_at => 'end');
\c - :super
SET client_min_messages = error;
SET timezone = 'UTC';
SELECT pm.register('m', 'sets', '{orders}', start_at => 'end');
SELECT at('10:00', 'x', 'x1');
SELECT pm.catch_up();
\c - regress_pm_alice
SET client_min_messages = error;
SET timezone = 'UTC';
SELECT pm.catch_up();
SELECT process_manager, key, type, due FROM pm.timer;
\c - :super
SET client_min_messages = error;
SET timezone = 'UTC';
SELECT process_manager, key, type, due FROM pm.timer ORDER BY 1;
SET SESSION AUTHORIZATION regress_pm_monitor;
SELECT count(*) FROM pm.timer;
SELECT * FROM pm_catalog.timer;
RESET SESSION AUTHORIZATION;
SELECT pm.unregister('a'), pm.unregister('m');
DROP OWNED BY regress_pm_alice, regress_pm_monitor;
DROP ROLE regress_pm_alice, regress_pm_monitor;

-- after a rollback of any kind, one timer of a type is left
CREATE FUNCTION again(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pm.set_timer('t', '2100-01-01');
	BEGIN
		PERFORM pm.set_timer('t', '2100-01-02');
		RAISE 'undo';
	EXCEPTION WHEN raise_exception THEN
		IF e.type = 'leave' THEN RETURN '1'; END IF;
	END;
	PERFORM pm.set_timer('t', '2100-01-03');
	RETURN '1';
END $$;
SELECT pm.register('m', 'again', '{orders}', start_at => 'end');
SELECT at('10:00', 'x', 'leave');
SELECT pm.catch_up();
SELECT key, type, due FROM pm.timer;
SELECT at('10:01', 'x', 'once more');
SELECT pm.catch_up();
SELECT key, type, due FROM pm.timer;
BEGIN;
SELECT at('10:02', 'x', 'leave');
SAVEPOINT s;
SELECT pm.catch_up();
ROLLBACK TO s;
SELECT pm.catch_up();
SELECT key, type, due FROM pm.timer;
ROLLBACK;
SELECT at('10:03', 'x', 'once more');
SELECT pm.catch_up();
SELECT key, type, due FROM pm.timer;
SELECT pm.unregister('m');
DROP FUNCTION again(pm.event, jsonb);

SELECT pm.drop_log('orders'), pm.drop_log('payments');
DROP VIEW aside;
DROP TABLE orders, payments, handled, poison, chance, reminders;
DROP PROCEDURE by_chance(int);
DROP FUNCTION deal(pm.event, jsonb), reset_handled(), make_due(), at(text, text, text, jsonb), tell(pm.event, jsonb), undoes(pm.event, jsonb), context_of(), run(text, int, text), same(text),
	winds_itself(pm.event, jsonb), by_order(pm.event), executes(pm.event, jsonb), long_type(pm.event, jsonb), never_mind(pm.event, jsonb), no_state(pm.event), no_state_cancel(pm.event),
	no_state_all(pm.event[]), sets_in_correlate(pm.event), cancels_in_correlate(pm.event), set_by_trigger(), inserts(pm.event, jsonb), chase(pm.event, jsonb), sets(pm.event, jsonb);
ALTER SYSTEM RESET pm.batch_duration;
SELECT pg_reload_conf();
