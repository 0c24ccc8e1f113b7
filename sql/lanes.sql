-- Lanes: the hash of the key selects the lane, each lane has its own cursors, and their number can change
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set reload :abs_srcdir '/sql/reload.inc'
\set ECHO none
-- a batch ends only after batch_size events, even on a slow machine
ALTER SYSTEM SET pm.batch_duration = '1h';
\i :no_workers
\set ECHO all

-- ---- which lane a key belongs to --------------------------------------------

-- The lane is stored, so this hash must never change: CRC-32C with its bits mixed, modulo the number of lanes.
SELECT key, array_agg(pm_catalog.lane_of(key, n) ORDER BY n) AS "of 1, 2, 3, 4, 7, 256"
FROM unnest(ARRAY['', 'a', 'order-1', 'order-2', 'k1', 'äöü 🐟']) key, unnest('{1,2,3,4,7,256}'::int[]) n GROUP BY key ORDER BY key COLLATE "C";
SELECT array_agg(pm_catalog.lane_of(repeat('x', 1000), n) ORDER BY n) FROM unnest('{1,2,3,4,7,256}'::int[]) n;
SELECT pm_catalog.lane_of(NULL, 4), pm_catalog.lane_of('a', NULL);
-- the keys are distributed evenly over the lanes
SELECT what, count(*) AS lanes, min(keys) >= 150 AS all_busy, sum(keys) AS keys
FROM (SELECT what, pm_catalog.lane_of(key, 4) AS lane, count(*) AS keys
	FROM generate_series(1, 1000) i, LATERAL (VALUES ('number', i::text), ('name', 'order-' || i), ('padded', lpad(i::text, 12, '0')), ('even', (2 * i)::text), ('hash', md5(i::text)), ('long', repeat('-', 500) || i)) k(what, key)
	GROUP BY 1, 2) l GROUP BY what ORDER BY what;

-- ---- handlers, and views of what they have done -----------------------------

SELECT pm.create_log('orders'), pm.create_log('payments');
CREATE TABLE handled (n serial, log text, pos bigint, stream text, key text, type text);
CREATE TABLE poison (key text);			-- events with these keys fail
CREATE FUNCTION key_of(e pm.event) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT e.data->>'key' $$;
CREATE FUNCTION handle(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO handled (log, pos, stream, key, type) VALUES (e.log, e.position, e.stream, e.data->>'key', e.type);
	IF EXISTS (SELECT FROM poison p WHERE p.key IN (e.stream, e.data->>'key')) THEN RAISE 'no % today', e.type; END IF;
END $$;
CREATE FUNCTION handle_all(e pm.event[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE x pm.event;
BEGIN
	FOREACH x IN ARRAY e LOOP PERFORM handle(x); END LOOP;
END $$;
-- The state: the number of events, and the last position in each log. The handler raises an error for a duplicate or late event.
CREATE FUNCTION keep(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM handle(e);
	IF e.log IS NULL THEN RETURN jsonb_set(state, '{rung}', to_jsonb(coalesce((state->>'rung')::int, 0) + 1)); END IF;
	IF e.data ? 'due' THEN PERFORM pm.set_timer('ring', (e.data->>'due')::timestamptz); END IF;
	IF (state->>e.log)::bigint >= e.position THEN RAISE 'position % of % after %', e.position, e.log, state->>e.log; END IF;
	RETURN coalesce(state, '{}') || jsonb_build_object(e.log, e.position, 'n', coalesce((state->>'n')::int, 0) + 1);
END $$;

-- Starts a new round: the functions below count from here.
CREATE TABLE since (log text, pos bigint);
CREATE FUNCTION begin_anew() RETURNS void LANGUAGE sql AS $$
	DELETE FROM since;
	INSERT INTO since SELECT 'orders', coalesce(max("position"), 0) FROM orders UNION ALL SELECT 'payments', coalesce(max("position"), 0) FROM payments;
	TRUNCATE handled, poison;
	ALTER SEQUENCE handled_n_seq RESTART;
$$;
CREATE VIEW events AS SELECT e.log, e.pos, e.stream, e.key FROM (SELECT 'orders' AS log, "position" AS pos, stream, data->>'key' AS key FROM orders UNION ALL
	SELECT 'payments', "position", stream, data->>'key' FROM payments) e JOIN since s ON s.log = e.log AND e.pos > s.pos;
-- The numbers of missing, duplicate, late and invented events. The key is the stream, or what key_of returns (then not NULL).
CREATE FUNCTION z(correlated boolean DEFAULT false) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ',
		(SELECT count(*) FROM (SELECT log, pos FROM events WHERE key IS NOT NULL OR NOT correlated EXCEPT SELECT log, pos FROM handled) x),
		(SELECT count(*) - count(DISTINCT (log, pos)) FROM handled WHERE log IS NOT NULL),
		(SELECT count(*) FROM (SELECT pos < lag(pos) OVER (PARTITION BY log, CASE WHEN correlated THEN key ELSE coalesce(stream, '') END ORDER BY n) AS late FROM handled WHERE log IS NOT NULL) h WHERE late),
		(SELECT count(*) FROM (SELECT log, pos FROM handled WHERE log IS NOT NULL EXCEPT SELECT log, pos FROM events WHERE key IS NOT NULL OR NOT correlated) x))
$$;
-- Appends this number of events to each log. There are eleven streams, one of them the empty text; some events have no key for key_of.
CREATE FUNCTION feed(events int) RETURNS void LANGUAGE sql AS $$
	INSERT INTO orders (stream, type, data) SELECT 'k' || i % 10, 'o' || i, jsonb_build_object('key', CASE WHEN i % 13 > 0 THEN 'c' || i % 7 END) FROM generate_series(1, events) i;
	INSERT INTO payments (stream, type, data) SELECT CASE WHEN i % 11 < 10 THEN 'k' || i % 11 ELSE '' END, 'p' || i, jsonb_build_object('key', CASE WHEN i % 13 > 0 THEN 'c' || i % 7 END) FROM generate_series(1, events) i;
$$;
-- Timers and parked events in a lane that is not that of their key, lanes without cursors, and cursors without lanes.
CREATE FUNCTION astray() RETURNS bigint LANGUAGE sql AS $$
	SELECT (SELECT count(*) FROM pm_catalog.timer t JOIN pm.process_manager p ON p.name = t.process_manager WHERE t.lane <> pm_catalog.lane_of(t.key, p.lanes))
		+ (SELECT count(*) FROM pm_catalog.parked k JOIN pm.process_manager p ON p.name = k.process_manager WHERE k.lane <> pm_catalog.lane_of(k.key, p.lanes))
		+ (SELECT count(*) FROM (SELECT name, generate_series(0, lanes - 1) FROM pm.process_manager EXCEPT SELECT process_manager, lane FROM pm_catalog.lane) x)
		+ (SELECT count(*) FROM (SELECT process_manager, lane FROM pm_catalog.lane EXCEPT SELECT name, generate_series(0, lanes - 1) FROM pm.process_manager) x)
		+ (SELECT count(*) FROM (SELECT name, log, generate_series(0, lanes - 1) FROM pm.process_manager, unnest(logs) log EXCEPT SELECT process_manager, log, lane FROM pm_catalog.cursor) x)
		+ (SELECT count(*) FROM (SELECT process_manager, log, lane FROM pm_catalog.cursor EXCEPT SELECT name, log, generate_series(0, lanes - 1) FROM pm.process_manager, unnest(logs) log) x)
$$;
-- Whether the lanes are at different positions.
CREATE FUNCTION apart() RETURNS boolean LANGUAGE sql AS $$ SELECT count(*) > 0 FROM (SELECT FROM pm.cursor GROUP BY process_manager, log HAVING min("position") < max("position")) x $$;
-- Former lanes by log and number of lanes, and how many of them are ahead of some cursor.
CREATE VIEW notes AS SELECT r.log, r.lanes, count(*) AS notes, count(*) FILTER (WHERE r."position" > (SELECT min(c."position") FROM pm.cursor c WHERE c.process_manager = r.process_manager AND c.log = r.log)) AS above
	FROM pm_catalog.former_lane r GROUP BY r.log, r.lanes ORDER BY r.log, r.lanes;
CREATE VIEW aside AS SELECT k.process_manager AS pm, k.log, left(k.key, 20) AS key, coalesce(k.type, (pm_catalog.parked_event(k.log, k.position, current_user::regrole)).type) AS type, k.state, k.attempts FROM pm_catalog.parked k ORDER BY k.process_manager, k.key, k.id;

-- ---- each lane has its own cursors ------------------------------------------

SELECT begin_anew();
SELECT pm.register('m', 'handle', '{orders,payments}', lanes => 3, batch_size => 7);
SELECT log, lane, "position" FROM pm.cursor ORDER BY log, lane;
SELECT lanes FROM pm.process_manager;
SELECT feed(100);
SELECT log, lane, lag, state, reason FROM pm.status ORDER BY log, lane;
-- the first lane goes first
SELECT pm.catch_up('m', max_count => 20);
SELECT apart();
SELECT DISTINCT pm_catalog.lane_of(coalesce(stream, ''), 3) AS lane FROM handled ORDER BY lane;
-- pm.wait_for waits for the last lane
SELECT pm.wait_for('m', 'orders', 1, timeout => '0');
SELECT pm.trim('orders', 1);
SELECT pm.catch_up('m') + 20 AS handled;
SELECT pm.wait_for('m', timeout => '0');
SELECT z();
SELECT log, lane, "position" FROM pm.cursor ORDER BY log, lane;
SELECT log, sum(handled) AS handled, count(*) FILTER (WHERE handled > 0) AS busy, sum(lag) AS lag FROM pm.status GROUP BY log ORDER BY log;
SELECT s.lane, sum(s.handled) = (SELECT count(*) FROM handled h WHERE pm_catalog.lane_of(coalesce(h.stream, ''), 3) = s.lane) AS as_counted FROM pm.status s GROUP BY s.lane ORDER BY s.lane;
-- registering again with the same number of lanes changes nothing
SELECT pm.register('m', 'handle', '{orders,payments}', lanes => 3, batch_size => 7);
SELECT count(*) FROM pm_catalog.former_lane;
SELECT pm.catch_up('m');
-- following another log
SELECT pm.create_log('returns');
INSERT INTO returns (stream, type) VALUES ('k1', 'r1'), ('k2', 'r2'), ('k3', 'r3');
SELECT pm.register('m', 'handle', '{orders,payments,returns}', lanes => 2, start_at => '1');
SELECT log, lane, "position" FROM pm.cursor ORDER BY log, lane;
SELECT count(*) FROM pm_catalog.former_lane;			-- all lanes were at the same position
SELECT pm.catch_up('m');
SELECT log, sum(handled) FROM pm.status GROUP BY log ORDER BY log;
SELECT pm.unregister('m');
SELECT count(*) FROM pm_catalog.cursor;
SELECT count(*) FROM pm_catalog.lane;

-- ---- the number of lanes changes in the middle of the work ------------------

-- Handles only some of the events each time: the first lane goes first, so that the others are behind it.
CREATE FUNCTION cuts(handler text, correlated boolean, numbers int[]) RETURNS TABLE (lanes int, were_apart boolean, notes boolean, of_several_cuts boolean, astray bigint, "twice or late" text)
LANGUAGE plpgsql AS $$
DECLARE
	n int;
BEGIN
	PERFORM begin_anew();
	PERFORM pm.register('m', handler, '{orders,payments}', correlate => CASE WHEN correlated THEN 'key_of' END, start_at => 'end', batch_size => 5);
	PERFORM feed(60);
	PERFORM pm.catch_up('m', max_count => 30);
	FOREACH n IN ARRAY numbers LOOP
		were_apart := apart();
		PERFORM pm.register('m', handler, '{orders,payments}', correlate => CASE WHEN correlated THEN 'key_of' END, lanes => n, batch_size => 5);
		lanes := n;
		SELECT count(*) > 0, count(DISTINCT r.lanes) > 1 FROM pm_catalog.former_lane r INTO notes, of_several_cuts;
		PERFORM feed(20);
		PERFORM pm.catch_up('m', max_count => 31);
		astray := astray();
		"twice or late" := (SELECT string_agg(x, ' ') FROM unnest((string_to_array(z(correlated), ' '))[2:]) x);
		RETURN NEXT;
	END LOOP;
END $$;
-- Handles the rest and checks the result.
CREATE FUNCTION settle(correlated boolean) RETURNS TABLE ("missing, twice, late, invented" text, counted boolean, instances text, notes bigint, astray bigint) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pm.catch_up('m');
	RETURN QUERY SELECT z(correlated), (SELECT sum(s.handled) FROM pm.status s) = (SELECT count(*) FROM handled),
		(SELECT CASE WHEN count(*) = 0 THEN 'none' WHEN sum((state->>'n')::int) = (SELECT count(*) FROM handled) AND count(*) = (SELECT count(DISTINCT CASE WHEN correlated THEN key ELSE coalesce(stream, '') END) FROM handled) THEN 'right' ELSE 'wrong' END FROM pm.instance),
		(SELECT sum(n.above)::bigint FROM notes n), astray();
	PERFORM pm.unregister('m');
END $$;
SELECT * FROM cuts('handle', false, '{4,2,3,1}');
SELECT * FROM settle(false);
SELECT * FROM cuts('handle', true, '{4,2,3,1}');
SELECT * FROM settle(true);
SELECT * FROM cuts('handle_all', false, '{4,2,3,1}');
SELECT * FROM settle(false);
SELECT * FROM cuts('handle_all', true, '{4,2,3,1}');
SELECT * FROM settle(true);
SELECT * FROM cuts('keep', false, '{4,2,3,1}');
SELECT * FROM settle(false);
SELECT * FROM cuts('keep', true, '{4,2,3,1}');
SELECT * FROM settle(true);
-- many changes, with some of the numbers repeated
SELECT * FROM cuts('keep', true, '{5,4,5,256,4,5,2,4}');
SELECT * FROM settle(true);

-- Each time another lane falls behind: that of a key that fails. If a number of lanes returns,
-- its former lanes still count, although they have not come as far since.
CREATE FUNCTION stuck(handler text, correlated boolean, numbers int[]) RETURNS TABLE (lanes int, key text, of_several_cuts boolean, "stuck in lanes" text, "twice or late" text)
LANGUAGE plpgsql AS $$
DECLARE
	i int := 0;
BEGIN
	PERFORM begin_anew();
	PERFORM pm.register('m', handler, '{orders,payments}', correlate => CASE WHEN correlated THEN 'key_of' END, start_at => 'end', batch_size => 5, on_failure => 'halt', max_attempts => 1000, backoff => '1 hour');
	FOREACH lanes IN ARRAY numbers LOOP
		i := i + 1;
		DELETE FROM poison;
		key := CASE WHEN correlated THEN 'c' ELSE 'k' END || (i * 3) % 7;
		INSERT INTO poison VALUES (stuck.key);
		PERFORM feed(25);
		PERFORM pm.register('m', handler, '{orders,payments}', correlate => CASE WHEN correlated THEN 'key_of' END, lanes => lanes, batch_size => 5, on_failure => 'halt', max_attempts => 1000, backoff => '1 hour');
		-- every fourth time nothing is handled before the next change
		IF i % 4 <> 0 THEN PERFORM pm.catch_up('m', on_failure => 'policy'); END IF;
		of_several_cuts := (SELECT count(DISTINCT r.lanes) > 1 FROM pm_catalog.former_lane r);
		"stuck in lanes" := (SELECT string_agg(l.lane::text, ' ' ORDER BY l.lane) FROM pm_catalog.lane l WHERE l.state = 'retrying');
		"twice or late" := (SELECT string_agg(x, ' ') FROM unnest((string_to_array(z(correlated), ' '))[2:]) x);
		RETURN NEXT;
	END LOOP;
	DELETE FROM poison;
	PERFORM pm.register('m', handler, '{orders,payments}', correlate => CASE WHEN correlated THEN 'key_of' END, lanes => lanes);
END $$;
SELECT * FROM stuck('handle', false, '{1,4,2,4,3,2,1,3}');
SELECT * FROM settle(false);
SELECT * FROM stuck('handle', true, '{1,4,2,4,3,2,1,3}');
SELECT * FROM settle(true);
SELECT * FROM stuck('handle_all', false, '{1,4,2,4,3,2,1,3}');
SELECT * FROM settle(false);
SELECT * FROM stuck('handle_all', true, '{3,2,4,2,4,1,4}');
SELECT * FROM settle(true);
SELECT * FROM stuck('keep', false, '{3,2,4,2,4,1,4}');
SELECT * FROM settle(false);
SELECT * FROM stuck('keep', true, '{1,4,2,4,3,2,1,3}');
SELECT * FROM settle(true);
-- all of it in one transaction that rolls back
SELECT begin_anew();
SELECT pm.register('m', 'keep', '{orders,payments}', start_at => 'end', lanes => 4);
SELECT feed(30);
SELECT pm.catch_up('m', max_count => 17);
BEGIN;
SELECT pm.register('m', 'keep', '{orders,payments}', lanes => 3);
SELECT pm.catch_up('m', max_count => 5);
SELECT pm.register('m', 'keep', '{orders,payments}', lanes => 2);
SELECT pm.catch_up('m') + 22 AS handled;
SELECT z(), astray();
ROLLBACK;
SELECT count(*), (SELECT lanes FROM pm.process_manager), (SELECT count(*) FROM pm_catalog.former_lane) AS notes, astray() FROM handled;
SELECT * FROM settle(false);

-- ---- keys of all kinds ------------------------------------------------------

CREATE TABLE odd (n int, key text);
INSERT INTO odd VALUES (1, ''), (2, ' '), (3, 'äöü 🐟'), (4, repeat('x', 1000)), (5, repeat('x', 1001)), (6, repeat('ü', 501)), (7, repeat('x', 1001) || 'y'), (8, repeat('lang ', 4000)), (9, E'a\nb\\'), (10, $$'";--$$), (11, 'sha256:'), (12, 'NULL');
SELECT begin_anew();
SELECT pm.register('m', 'keep', '{orders,payments}', start_at => 'end', correlate => 'key_of', lanes => 5, backoff => '1 hour', max_attempts => 1);
INSERT INTO orders (stream, type, data) SELECT 's' || i, 'odd' || n, jsonb_build_object('key', key) FROM odd, generate_series(1, 3) i ORDER BY i, n;
INSERT INTO orders (stream, type, data) VALUES ('s', 'none', '{}'), ('s', 'null', '{"key": null}');
SELECT pm.catch_up('m');
SELECT z(true);
SELECT left(key, 8) AS key, length(key), state - 'orders' AS state FROM pm.instance ORDER BY key COLLATE "C";
-- each key has parked events, and gets more of them with another number of lanes
INSERT INTO poison SELECT key FROM odd;
INSERT INTO orders (stream, type, data) SELECT 's', 'bad' || n, jsonb_build_object('key', key) FROM odd ORDER BY n;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT pm.register('m', 'keep', '{orders,payments}', correlate => 'key_of', lanes => 3, backoff => '1 hour', max_attempts => 1);
INSERT INTO orders (stream, type, data) SELECT 's', 'behind' || n, jsonb_build_object('key', key) FROM odd ORDER BY n;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT state, count(*), astray() FROM pm_catalog.parked GROUP BY state ORDER BY state;
DELETE FROM poison;
SELECT pm.register('m', 'keep', '{orders,payments}', correlate => 'key_of', lanes => 4, backoff => '1 hour', max_attempts => 1);
SELECT count(pm.retry(process_manager, log, "position")) FROM pm.parked WHERE state = 'dead';
SELECT pm.catch_up('m');
SELECT z(true), (SELECT count(*) FROM pm_catalog.parked) AS parked;
SELECT state->'n' AS n, count(*) FROM pm.instance GROUP BY 1;
SELECT pm.unregister('m');
-- by the stream, which can be as long
SELECT begin_anew();
SELECT pm.register('m', 'handle_all', '{orders}', start_at => 'end', lanes => 5, batch_size => 7);
INSERT INTO orders (stream, type) SELECT key, 'odd' || n FROM odd, generate_series(1, 3) i ORDER BY i, n;
SELECT pm.catch_up('m', max_count => 9);
SELECT pm.register('m', 'handle_all', '{orders}', lanes => 4, batch_size => 7);
SELECT pm.catch_up('m');
SELECT z();
SELECT pm.unregister('m');
DROP TABLE odd;

-- ---- timers and parked events move with their key ---------------------------

-- Timers: each fires once and not before it is due, whatever its lane.
SELECT begin_anew();
SELECT pm.register('m', 'keep', '{orders,payments}', start_at => 'end', lanes => 1);
INSERT INTO orders (stream, type, data) SELECT 't' || i, 'arm', jsonb_build_object('due', '2040-01-01 00:00Z'::timestamptz + i * interval '1 hour') FROM generate_series(1, 20) i;
SELECT pm.catch_up('m');
SELECT pm.register('m', 'keep', '{orders,payments}', lanes => 4);
SELECT count(*), count(DISTINCT lane) AS lanes, astray() FROM pm_catalog.timer;
SELECT pm.catch_up('m', as_of => '2040-01-01 05:00Z');
-- while the lanes are at different positions, some keys set their timers again, fired or not
INSERT INTO orders (stream, type, data) SELECT 't' || i, 'again', jsonb_build_object('due', '2040-01-02 00:00Z'::timestamptz + i * interval '1 hour') FROM generate_series(3, 8) i;
SELECT pm.catch_up('m', max_count => 2);
SELECT pm.register('m', 'keep', '{orders,payments}', lanes => 3);
SELECT sum(above) > 0 AS notes FROM notes;
SELECT count(*), count(DISTINCT lane) AS lanes, astray() FROM pm_catalog.timer;
SELECT pm.catch_up('m', as_of => '2040-01-01 12:00Z');
SELECT pm.register('m', 'keep', '{orders,payments}', lanes => 1);
SELECT count(*), count(DISTINCT lane) AS lanes, astray() FROM pm_catalog.timer;
SELECT pm.catch_up('m', as_of => '2041-01-01');
SELECT count(*) AS fired, count(DISTINCT stream) AS keys, (SELECT count(*) FROM pm.timer) AS "left" FROM handled WHERE log IS NULL;
SELECT state - 'orders' AS state, string_agg(key, ' ' ORDER BY key) FROM pm.instance GROUP BY 1 ORDER BY 1;
SELECT z();
SELECT pm.unregister('m');

-- Parked events and timers: failing, dead, and behind.
CREATE FUNCTION make_due(up_to text DEFAULT 'z') RETURNS void LANGUAGE sql AS $$ UPDATE pm_catalog.lane SET lane = lane; UPDATE pm_catalog.parked SET retry_at = clock_timestamp() WHERE retry_at IS NOT NULL AND key <= up_to $$;
CREATE FUNCTION cut(lanes int) RETURNS void LANGUAGE sql AS $$ SELECT pm.register('m', 'keep', '{orders,payments}', lanes => cut.lanes, max_attempts => 2, backoff => '1 hour') $$;
SELECT begin_anew();
SELECT pm.register('m', 'keep', '{orders,payments}', start_at => 'end', lanes => 3, max_attempts => 2, backoff => '1 hour');
INSERT INTO orders (stream, type, data) SELECT 'q' || i, 'first', '{"due": "2040-01-01"}' FROM generate_series(1, 8) i;
SELECT pm.catch_up('m');
INSERT INTO poison SELECT 'q' || i FROM generate_series(1, 6) i;
INSERT INTO orders (stream, type) SELECT 'q' || i, 'bad' FROM generate_series(1, 8) i;
SELECT pm.catch_up('m', on_failure => 'policy');
-- the first four become dead, two are failing
SELECT make_due('q4');
SELECT pm.catch_up('m', on_failure => 'policy');
INSERT INTO payments (stream, type) SELECT 'q' || i, 'behind' FROM generate_series(1, 8) i;
SELECT pm.catch_up('m', on_failure => 'policy');
DELETE FROM poison WHERE key = 'q5';
UPDATE pm_catalog.timer SET due = clock_timestamp();
UPDATE pm_catalog.lane SET lane = lane;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT * FROM aside;
SELECT count(*) FROM pm.timer;
SELECT cut(4);
SELECT astray(), (SELECT count(DISTINCT lane) > 1 FROM pm_catalog.parked) AS several;
SELECT sum(parked) FROM pm.status;
-- registering again makes what is failing due at once; the rest of the key follows in order
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT string_agg(concat_ws('/', coalesce(log, 'timer'), type), ' ' ORDER BY n) FROM handled WHERE stream = 'q5';
-- new events are parked behind the others of their key
SELECT pm.append('payments', 'q' || i, 'last') > 0 AS appended FROM generate_series(1, 6) i;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT * FROM aside;
SELECT cut(2);
SELECT astray();
-- pm.retry and pm.discard find them
DELETE FROM poison WHERE key <> 'q4';
SELECT key, pm.retry('m', 'orders', "position") FROM pm.parked WHERE key = 'q1' AND state = 'dead';
SELECT key, pm.discard('m', 'orders', "position") FROM pm.parked WHERE key = 'q2' AND state = 'dead';
SELECT key, pm.discard('m', log, "position") FROM pm.parked WHERE key = 'q3' AND log IS NULL;
SELECT key, pm.retry('m', 'orders', "position") FROM pm.parked WHERE key IN ('q3', 'q4') AND state = 'dead' ORDER BY key;
SELECT * FROM aside;
-- which is done after the next change, too
SELECT cut(5);
SELECT astray();
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT * FROM aside;
SELECT stream, string_agg(concat_ws('/', coalesce(log, 'timer'), type), ' ' ORDER BY n) FROM handled WHERE n > 8 GROUP BY stream ORDER BY stream;
SELECT state - 'orders' - 'payments' AS state, string_agg(key, ' ' ORDER BY key) FROM pm.instance GROUP BY 1 ORDER BY 1;
SELECT pm.unregister('m');
SELECT count(*) FROM pm_catalog.parked;

-- Parked events while the lanes are at different positions: what a former lane has parked is not parked twice.
SELECT begin_anew();
SELECT pm.register('m', 'keep', '{orders,payments}', start_at => 'end', lanes => 4, max_attempts => 1);
INSERT INTO poison VALUES ('k4');
SELECT feed(40);
SELECT pm.catch_up('m', max_count => 30, on_failure => 'policy');
SELECT pm.register('m', 'keep', '{orders,payments}', lanes => 3, max_attempts => 1);
SELECT sum(above) > 0 AS notes, (SELECT count(*) > 0 FROM pm.parked) AS parked FROM notes;
SELECT pm.catch_up('m', on_failure => 'policy') > 0 AS handled;
SELECT state, key, count(*), count(DISTINCT (log, "position")) FROM pm.parked GROUP BY state, key ORDER BY state;
DELETE FROM poison;
SELECT pm.retry(process_manager, log, "position") FROM pm.parked WHERE state = 'dead';
SELECT * FROM settle(false);

-- ---- a failure in one lane does not stop the others -------------------------

SELECT begin_anew();
SELECT pm.register('m', 'handle', '{orders,payments}', start_at => 'end', lanes => 4, on_failure => 'halt', max_attempts => 1);
INSERT INTO poison VALUES ('k1');
SELECT feed(20);
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT DISTINCT lane, state FROM pm.status ORDER BY lane;
SELECT DISTINCT pm_catalog.lane_of('k1', 4) AS lane, pm_catalog.lane_of(stream, 4) AS missing FROM events WHERE (log, pos) NOT IN (SELECT log, pos FROM handled);
\set VERBOSITY sqlstate
SELECT pm.wait_for('m', timeout => '0');
SELECT pm.catch_up('m', on_failure => 'policy');
\set VERBOSITY default
-- the number of lanes cannot be changed now
SELECT regexp_replace(reason, '\d+', 'N') AS reason FROM pm.status WHERE state = 'halted' AND log = 'orders';
\set VERBOSITY terse
SELECT pm.register('m', 'handle', '{orders,payments}', lanes => 3, on_failure => 'halt', max_attempts => 1);
SELECT pm.register('m', 'handle', '{orders,payments}', lanes => 1);
\set VERBOSITY default
SELECT pm.register('m', 'handle', '{orders,payments}', lanes => 4, on_failure => 'halt', max_attempts => 2, backoff => '1 hour');
DELETE FROM poison;
SELECT pm.resume('m');
SELECT pm.register('m', 'handle', '{orders,payments}', lanes => 3);
SELECT sum(errors) FROM pm.status WHERE log = 'orders';
SELECT * FROM settle(false);

-- ---- pm.seek, pm.unfollow and pm.pause after a change of the number of lanes ---

CREATE FUNCTION leave_apart(handler text, lanes int) RETURNS TABLE (notes boolean) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM begin_anew();
	PERFORM pm.register('m', handler, '{orders,payments}', start_at => 'end', lanes => 4, batch_size => 5);
	PERFORM feed(30);
	-- the last lane stays where it is
	INSERT INTO poison SELECT DISTINCT stream FROM events WHERE pm_catalog.lane_of(stream, 4) = 3;
	PERFORM pm.register('m', handler, '{orders,payments}', lanes => 4, on_failure => 'halt', max_attempts => 10, backoff => '1 hour');
	PERFORM pm.catch_up('m', on_failure => 'policy');
	DELETE FROM poison;
	PERFORM pm.register('m', handler, '{orders,payments}', lanes => leave_apart.lanes);
	RETURN QUERY SELECT sum(n.above) > 0 FROM notes n;
END $$;
-- How often each event has been handled: a single row means that all events were handled equally often.
CREATE VIEW times AS SELECT e.log, (SELECT count(*) FROM handled h WHERE h.log = e.log AND h.pos = e.pos) AS times, count(*) AS events FROM events e GROUP BY 1, 2 ORDER BY 1, 2;
SELECT * FROM leave_apart('handle', 3);
SELECT * FROM times;
-- pm.seek back after everything is handled: all of it comes again
SELECT pm.catch_up('m') > 0 AS handled;
SELECT * FROM times;
SELECT pm.seek('m', 'orders', (SELECT pos FROM since WHERE log = 'orders'));
SELECT DISTINCT log FROM pm_catalog.former_lane;
SELECT pm.catch_up('m');
SELECT * FROM times;
SELECT pm.unregister('m');
-- to the position of all cursors, though a former lane was ahead
SELECT * FROM leave_apart('handle', 3);
SELECT DISTINCT c.log, c."position" - s.pos AS "position" FROM pm.cursor c JOIN since s USING (log) ORDER BY log;
SELECT pm.seek('m', 'orders', (SELECT pos FROM since WHERE log = 'orders'));
SELECT DISTINCT log FROM pm_catalog.former_lane;
SELECT pm.catch_up('m') > 0 AS handled;
SELECT * FROM times;
SELECT pm.unregister('m');
-- ahead of all lanes
SELECT * FROM leave_apart('handle', 2);
SELECT pm.seek('m', log, pm.high_water_mark(log)) FROM unnest('{orders,payments}'::text[]) log;
SELECT count(*) FROM pm_catalog.former_lane;
SELECT pm.catch_up('m');
SELECT pm.unregister('m');
-- refused with instances that have seen those events: no cursor is ahead of the position, but a former lane was
SELECT * FROM leave_apart('keep', 3);
SELECT DISTINCT c.log, c."position" - s.pos AS "position" FROM pm.cursor c JOIN since s USING (log) ORDER BY log;
\set VERBOSITY sqlstate
SELECT pm.seek('m', 'orders', (SELECT pos FROM since WHERE log = 'orders'));
\set VERBOSITY default
SELECT DISTINCT log FROM pm_catalog.former_lane ORDER BY log;
SELECT pm.seek('m', 'orders', (SELECT pos FROM since WHERE log = 'orders'), reset => true);
SELECT count(*) FROM pm.instance;
SELECT DISTINCT log FROM pm_catalog.former_lane;
SELECT pm.unregister('m');
SELECT count(*) FROM pm_catalog.former_lane;
-- unfollowing a log removes its former lanes; followed again it starts at start_at
SELECT * FROM leave_apart('handle', 3);
SELECT pm.unfollow('m', 'orders');
SELECT DISTINCT log FROM pm_catalog.former_lane;
SELECT pm.catch_up('m') > 0 AS handled;
SELECT * FROM times WHERE log = 'payments';
SELECT pm.register('m', 'handle', '{orders,payments}', lanes => 3, start_at => (SELECT pos FROM since WHERE log = 'orders')::text);
SELECT pm.catch_up('m');
SELECT * FROM times;
SELECT pm.unregister('m');
-- paused in between
SELECT * FROM leave_apart('keep', 2);
SELECT pm.pause('m');
SELECT pm.register('m', 'keep', '{orders,payments}', lanes => 5);
SELECT pm.resume('m');
SELECT * FROM settle(false);
-- unregistering removes all of it
SELECT * FROM leave_apart('handle', 3);
SELECT pm.unregister('m');
SELECT count(*) FROM pm_catalog.former_lane;
SELECT pm.register('m', 'handle', '{orders,payments}', start_at => 'beginning', lanes => 4);
SELECT pm.catch_up('m') = (SELECT count(*) FROM orders) + (SELECT count(*) FROM payments) AS all_of_it;
SELECT pm.unregister('m');

-- ---- what is refused --------------------------------------------------------

SELECT pm.register('m', 'handle', '{orders}', start_at => 'end', lanes => NULL);
SELECT pm.register('m', 'handle', '{orders}', start_at => 'end', lanes => 0);
SELECT pm.register('m', 'handle', '{orders}', start_at => 'end', lanes => -1);
SELECT pm.register('m', 'handle', '{orders}', start_at => 'end', lanes => 257);
SELECT pm.register('m', 'handle', '{orders}', start_at => 'end', lanes => 256);
SELECT count(*), min(lane), max(lane) FROM pm.cursor;
SELECT pm.unregister('m');
-- the key of an event must never change
CREATE FUNCTION volatile_key(e pm.event) RETURNS text LANGUAGE sql AS $$ SELECT e.stream $$;
CREATE FUNCTION stable_key(e pm.event) RETURNS text LANGUAGE sql STABLE AS $$ SELECT e.stream $$;
SELECT pm.register('m', 'handle', '{orders}', correlate => 'volatile_key', start_at => 'end', lanes => 2);
SELECT pm.register('m', 'handle', '{orders}', correlate => 'stable_key', start_at => 'end', lanes => 2);
SELECT count(*) FROM pm.process_manager;
SELECT pm.register('m', 'handle', '{orders}', correlate => 'stable_key', start_at => 'end', lanes => 1);
SELECT pm.register('m', 'handle', '{orders}', correlate => 'stable_key', lanes => 2);
ALTER FUNCTION stable_key(pm.event) IMMUTABLE;
SELECT begin_anew();
SELECT pm.register('m', 'handle', '{orders}', correlate => 'stable_key', lanes => 4);
SELECT feed(20);
SELECT pm.catch_up('m', max_count => 5);
-- the function is VOLATILE now: nothing is handled, and the reason says so
ALTER FUNCTION stable_key(pm.event) VOLATILE;
SELECT pm.catch_up('m');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT DISTINCT state, reason, hint FROM pm_catalog.lane WHERE state <> 'ok';
-- one lane is refused, too, as long as there are former lanes
SELECT pm.register('m', 'handle', '{orders}', correlate => 'stable_key');
-- so is another correlate
SELECT pm.register('m', 'handle', '{orders}', correlate => 'key_of');
SELECT pm.register('m', 'handle', '{orders}');
ALTER FUNCTION stable_key(pm.event) IMMUTABLE;
SELECT pm.register('m', 'handle', '{orders}', correlate => 'stable_key');
SELECT lanes, (SELECT sum(above) > 0 FROM notes) AS notes FROM pm.process_manager;
SELECT pm.register('m', 'handle', '{orders}', correlate => 'key_of');
SELECT pm.register('m', 'handle', '{orders}');
ALTER FUNCTION stable_key(pm.event) VOLATILE;
SELECT pm.catch_up('m');
ALTER FUNCTION stable_key(pm.event) IMMUTABLE;
SELECT pm.catch_up('m') + 5 AS handled;
SELECT * FROM times WHERE log = 'orders';
-- once all lanes are at the same position, correlate may be anything
SELECT pm.append('orders', 's', 'one more') > 0 AS appended;
ALTER FUNCTION stable_key(pm.event) VOLATILE;
SELECT pm.catch_up('m');
SELECT pm.register('m', 'handle', '{orders}', correlate => 'volatile_key');
SELECT pm.append('orders', 's', 'and another') > 0 AS appended;
SELECT pm.catch_up('m');
SELECT * FROM times WHERE log = 'orders';
SELECT pm.register('m', 'handle', '{orders}', lanes => 3);
SELECT feed(10);
SELECT pm.catch_up('m', max_count => 3);
SELECT pm.register('m', 'handle', '{orders}', lanes => 3, correlate => 'key_of');
SELECT pm.catch_up('m') + 3 AS handled;
SELECT pm.register('m', 'handle', '{orders}', lanes => 3, correlate => 'key_of');
SELECT correlate, lanes FROM pm.process_manager;
SELECT pm.unregister('m');
-- a handler cannot do it for its own process manager
CREATE FUNCTION meddle(e pm.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pm.register('m', 'meddle', '{orders}', lanes => 3); END $$;
SELECT pm.register('m', 'meddle', '{orders}', start_at => 'end', lanes => 2);
SELECT pm.append('orders', 's', 'x') AS position \gset
\set VERBOSITY terse
SELECT pm.catch_up('m');
\set VERBOSITY default
SELECT pm.unregister('m');

SELECT count(*) FROM pm_catalog.former_lane;
SELECT pm.drop_log('orders'), pm.drop_log('payments'), pm.drop_log('returns');
DROP VIEW aside, notes, times, events;
DROP TABLE orders, payments, returns, handled, poison, since;
DROP FUNCTION key_of(pm.event), handle(pm.event), handle_all(pm.event[]), keep(pm.event, jsonb), begin_anew(), z(boolean), feed(int), astray(), apart(), cuts(text, boolean, int[]), settle(boolean),
	stuck(text, boolean, int[]), make_due(text), cut(int), leave_apart(text, int), volatile_key(pm.event), stable_key(pm.event), meddle(pm.event);
ALTER SYSTEM RESET pm.batch_duration;
SELECT pg_reload_conf();
