-- Parking: an event that fails is parked with the later events of its key, and everything else is handled
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set reload :abs_srcdir '/sql/reload.inc'
\set ECHO none
-- a batch ends only after batch_size events, even on a slow machine
ALTER SYSTEM SET pm.batch_duration = '1h';
\i :no_workers
\set ECHO all

SELECT pm.create_log('orders'), pm.create_log('payments');
CREATE TABLE handled (n serial, how text, key text, type text);
CREATE TABLE poison (type text);
CREATE PROCEDURE refuse_poison(type text) LANGUAGE plpgsql AS $$
BEGIN
	IF type IN (SELECT p.type FROM poison p) THEN RAISE 'no % today', type USING DETAIL = 'it is poison', HINT = 'Try fish.', ERRCODE = 'P0042'; END IF;
END $$;
CREATE FUNCTION handle(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO handled (how, key, type) VALUES ('one', e.stream, e.type);
	CALL refuse_poison(e.type);
END $$;
CREATE FUNCTION handle_all(e pm.event[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE x pm.event;
BEGIN
	FOREACH x IN ARRAY e LOOP
		INSERT INTO handled (how, key, type) VALUES (cardinality(e), x.stream, x.type);
		CALL refuse_poison(x.type);
	END LOOP;
END $$;
CREATE FUNCTION keep(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO handled (how, key, type) VALUES ('state', e.stream, e.type);
	CALL refuse_poison(e.type);
	RETURN CASE WHEN e.type LIKE 'end%' THEN pm.done() ELSE coalesce(state, '[]') || to_jsonb(e.type) END;
END $$;
CREATE FUNCTION reset_handled() RETURNS void LANGUAGE sql AS $$ TRUNCATE handled; ALTER SEQUENCE handled_n_seq RESTART $$;
-- Makes what has failed due now.
CREATE FUNCTION make_due() RETURNS void LANGUAGE sql AS $$ UPDATE pm_catalog.lane SET lane = lane; UPDATE pm_catalog.parked SET retry_at = clock_timestamp() WHERE retry_at IS NOT NULL $$;
CREATE VIEW aside AS SELECT v.process_manager AS pm, v.log, v.key, (v.event).type, v.state, v.attempts, v.message, v.sqlstate, v.retry_at > clock_timestamp() AS later
	FROM pm.parked v JOIN pm_catalog.parked k ON k.process_manager = v.process_manager AND k.log IS NOT DISTINCT FROM v.log AND (v.log IS NULL OR k.position = v.position) AND (v.log IS NOT NULL OR k.id = v.position)
	ORDER BY v.process_manager, v.key, k.id;
CREATE VIEW s AS SELECT process_manager AS pm, log, state, lag, parked, attempts, retry_at > clock_timestamp() AS later, handled, errors FROM pm.status ORDER BY process_manager, log;

-- ---- the failing event is parked, the others are handled --------------------

SELECT pm.register('m', 'handle', '{orders,payments}', max_attempts => 3, backoff => '10 min');
INSERT INTO poison VALUES ('a1');
INSERT INTO orders (stream, type, data, metadata) VALUES ('a', 'a1', '{"n": 1}', '{"correlation": "c"}'), ('b', 'b1', '{}', '{}'), ('a', 'a2', '{}', '{}'), ('c', 'c1', '{}', '{}'), ('a', 'a3', '{}', '{}');
SELECT min("position") FILTER (WHERE type = 'a1') AS a1, min("position") FILTER (WHERE type = 'a2') AS a2, min("position") FILTER (WHERE type = 'a3') AS a3 FROM orders \gset
-- by default pm.catch_up raises the error
SELECT pm.catch_up('m');
SELECT count(*) FROM handled;
SELECT * FROM s;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT how, key, type FROM handled ORDER BY n;
SELECT * FROM aside;
SELECT * FROM s;
SELECT c.log, c."position" = pm.high_water_mark(c.log) AS at_the_mark FROM pm.cursor c ORDER BY log;
-- what pm.parked shows of it
SELECT process_manager, log, "position", key, state, event = (SELECT ROW('orders', o."position", o.stream, o.version, o.type, o.data, o.metadata, o.recorded_at)::pm.event FROM orders o WHERE o.type = 'a1') AS same_event,
	attempts, message, detail, regexp_replace(context, '.*\n', '') AS outermost, context ~ 'refuse_poison' AS innermost, sqlstate, retry_at BETWEEN clock_timestamp() + '9 min' AND clock_timestamp() + '11 min' AS in_ten_minutes, parked_at <= clock_timestamp() AS parked
FROM pm.parked WHERE state = 'failing';
SELECT (event).log, (event).stream, (event).version, (event).type, (event).data, (event).metadata, attempts, message, detail, context, sqlstate, retry_at FROM pm.parked WHERE state = 'behind' ORDER BY "position" LIMIT 1;
-- it is not tried before it is due; later events of its key, of either log, wait behind it
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT pm.append('payments', 'a', 'a4') AS a4, pm.append('payments', 'b', 'b2') AS b2, pm.append('orders', 'a', 'a5') AS a5 \gset
SELECT pm.catch_up('m');
SELECT string_agg(type, ' ' ORDER BY n) FROM handled;
SELECT * FROM aside;
SELECT * FROM s;

-- ---- when it is due it is tried again, in order -----------------------------

SELECT make_due();
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT * FROM aside WHERE state <> 'behind';
-- the next wait is twice as long
SELECT retry_at BETWEEN clock_timestamp() + '19 min' AND clock_timestamp() + '22 min 1 s' AS in_twenty_minutes FROM pm.parked WHERE state = 'failing';
-- a failure with on_failure => 'raise' raises an error and changes nothing
SELECT make_due();
SELECT pm.catch_up('m');
SELECT attempts FROM pm.parked WHERE state = 'failing';
-- after the last attempt the event is dead, and is not tried any more
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT * FROM aside;
SELECT * FROM s;
SELECT make_due();
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT pm.append('orders', 'a', 'a6') AS a6 \gset
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT type, state, attempts FROM aside;
DELETE FROM poison;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT string_agg(type, ' ' ORDER BY n) FROM handled;
-- pm.retry resets the attempts
INSERT INTO poison VALUES ('a1'), ('a4');
SELECT pm.retry('m', 'orders', :a1);
SELECT type, state, attempts, later FROM aside;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT type, state, attempts, later FROM aside;
-- after pm.retry it is due at once, and the rest of its key follows until an event fails
DELETE FROM poison WHERE type = 'a1';
SELECT pm.retry('m', 'orders', :a1);
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT string_agg(type, ' ' ORDER BY n) FROM handled;
SELECT * FROM aside;
SELECT * FROM s;
-- pm.retry takes only the first event of a key
SELECT pm.retry('m', 'orders', :a5);
SELECT pm.retry('m', 'orders', :a6);
\set VERBOSITY sqlstate
SELECT pm.retry('m', 'orders', :a6);
SELECT pm.retry('m', 'orders', :a1);
SELECT pm.discard('m', 'orders', :a1);
\set VERBOSITY default
DELETE FROM poison;
SELECT pm.retry('m', 'payments', :a4);
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT string_agg(type, ' ' ORDER BY n) FROM handled;
SELECT * FROM aside;
SELECT * FROM s;
-- nothing of the key is parked any more
SELECT pm.append('orders', 'a', 'a7') > 0 AS appended;
SELECT pm.catch_up('m');
SELECT string_agg(type, ' ' ORDER BY n) FROM handled WHERE key = 'a';
-- the wait doubles up to one hour
SELECT pm.register('m', 'handle', '{orders,payments}', max_attempts => 100, backoff => '10 min');
INSERT INTO poison VALUES ('a8');
SELECT pm.append('orders', 'a', 'a8') AS a8 \gset
CREATE FUNCTION minutes() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text := '';
	m float;
BEGIN
	FOR i IN 1 .. 6 LOOP
		PERFORM make_due();
		PERFORM pm.catch_up('m', on_failure => 'policy');
		SELECT extract(epoch FROM retry_at - clock_timestamp()) / 60 INTO m FROM pm.parked;
		result := concat_ws(' ', result, (SELECT max(x) FROM unnest('{10,20,40,60}'::int[]) x WHERE m BETWEEN x - 1 AND x * 1.1));
	END LOOP;
	RETURN result || ', attempts ' || (SELECT attempts FROM pm.parked);
END $$;
SELECT minutes();
SELECT pm.unregister('m');
SELECT count(*) FROM pm_catalog.parked;
SELECT reset_handled();

-- ---- what pm.retry and pm.discard refuse ------------------------------------

SELECT pm.register('m', 'handle', '{orders,payments}', start_at => 'end', backoff => '1 hour');
INSERT INTO poison VALUES ('x');
SELECT pm.append('orders', 'x', 'x') AS x, pm.append('orders', 'x', 'x2') AS x2, pm.append('orders', 'y', 'y') AS y \gset
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT pm.retry('nobody', 'orders', :x);
SELECT pm.discard('nobody', 'orders', :x);
SELECT pm.retry('m', 'nosuch', 1);
SELECT pm.discard('m', 'nosuch', 1);
SELECT pm.retry('m', 'payments', 999999);
SELECT pm.discard('m', 'payments', 999999);
SELECT pm.retry('m', NULL, 999999);
SELECT pm.discard('m', NULL, 999999);
\set VERBOSITY sqlstate
SELECT pm.retry('m', NULL, (SELECT max(id) FROM pm_catalog.parked));		-- this is not a timer
SELECT pm.discard('m', NULL, (SELECT max(id) FROM pm_catalog.parked));
\set VERBOSITY default
SELECT pm.retry(NULL, 'orders', 1);
SELECT pm.discard(NULL, 'orders', 1);
SELECT pm.retry('m', 'orders', NULL);
SELECT pm.discard('m', 'orders', NULL);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pm.retry('m', 'orders', :x);
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT pm.discard('m', 'orders', :x);
ROLLBACK;
BEGIN READ ONLY;
SELECT pm.retry('m', 'orders', :x);
ROLLBACK;
BEGIN READ ONLY;
SELECT pm.discard('m', 'orders', :x);
ROLLBACK;
-- in a transaction that rolls back
BEGIN;
SELECT pm.discard('m', 'orders', :x);
SELECT type, state, later FROM aside;
ROLLBACK;
BEGIN;
SELECT pm.retry('m', 'orders', :x);
ROLLBACK;
SELECT type, state, attempts, later FROM aside;
-- the name of the log is read as everywhere
SELECT pm.retry('m', 'Orders', :x);
SELECT pm.retry('m', '"Orders"', :x);
-- refused in a handler of the same process manager
CREATE FUNCTION meddle(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE e.data->>'do';
	RAISE WARNING '%: accepted', e.data->>'do';
EXCEPTION WHEN OTHERS THEN
	RAISE WARNING '%: %', e.data->>'do', SQLERRM;
END $$;
SELECT pm.register('meddler', 'meddle', '{orders}', start_at => 'end', types => '{Do}');
INSERT INTO orders (stream, type, data) SELECT 'do', 'Do', jsonb_build_object('do', d) FROM unnest(ARRAY['SELECT pm.retry(''meddler'', ''orders'', 1)', 'SELECT pm.discard(''meddler'', NULL, 1)']) d;
SET client_min_messages = warning;
SELECT pm.catch_up('meddler');
SET client_min_messages = error;
SELECT pm.unregister('meddler');

-- ---- pm.discard -------------------------------------------------------------

SELECT reset_handled();
SELECT pm.append('orders', 'x', 'x3') AS x3, pm.append('orders', 'x', 'x4') AS x4 \gset
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT type, state FROM aside;
-- an event that is behind: the others keep their order
SELECT pm.discard('m', 'orders', :x3);
SELECT pm.discard('m', 'orders', :x3);
SELECT type, state, later FROM aside;
SELECT pm.catch_up('m', on_failure => 'policy');
-- the first event: the next one is due
SELECT pm.discard('m', 'orders', :x);
SELECT type, state, attempts, message, later FROM aside;
SELECT * FROM s WHERE log = 'orders';
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT string_agg(type, ' ' ORDER BY n) FROM handled;
SELECT count(*) FROM pm_catalog.parked;
-- the last event of its key
INSERT INTO poison VALUES ('x5');
SELECT pm.append('orders', 'x', 'x5') AS x5 \gset
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT pm.discard('m', 'orders', :x5);
SELECT pm.append('orders', 'x', 'x6') AS x6 \gset
SELECT pm.catch_up('m');
SELECT string_agg(type, ' ' ORDER BY n) FROM handled;
-- a dead event, with an event behind that fails
SELECT pm.register('m', 'handle', '{orders,payments}', max_attempts => 1, backoff => '1 hour');
SELECT pm.append('orders', 'x', 'x') AS x, pm.append('orders', 'x', 'x5') AS x5, pm.append('orders', 'x', 'x7') AS x7 \gset
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT type, state, attempts FROM aside;
SELECT pm.discard('m', 'orders', :x);
SELECT type, state, attempts FROM aside;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT type, state, attempts FROM aside;
SELECT pm.discard('m', 'orders', :x5);
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT string_agg(type, ' ' ORDER BY n) FROM handled;
SELECT * FROM s WHERE log = 'orders';
SELECT pm.unregister('m');
DELETE FROM poison;
SELECT reset_handled();

-- ---- pause, settings, transactions ------------------------------------------

SELECT pm.register('m', 'handle', '{orders}', start_at => 'end', backoff => '1 hour', max_attempts => 2);
INSERT INTO poison VALUES ('p'), ('q');
SELECT pm.append('orders', 'p', 'p') AS p, pm.append('orders', 'p', 'p2') AS p2, pm.append('orders', 'q', 'q') AS q \gset
BEGIN;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT type, state FROM aside;
ROLLBACK;
SELECT count(*) FROM pm_catalog.parked;
SELECT * FROM s;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT pm.retry('m', 'orders', :p);
-- while it is paused, or in a copy, nothing is retried, so there is no time at which it would be
CREATE VIEW due AS SELECT (event).type, k.state, k.retry_at < clock_timestamp() AS due, h.handled_at < clock_timestamp() AS due_in_history,
	(SELECT min(retry_at) < clock_timestamp() FROM pm.status) AS due_in_status
	FROM pm.parked k JOIN LATERAL pm.history('m', k.key) h ON h."position" = k."position" WHERE k.state <> 'behind' ORDER BY k."position" LIMIT 2;
SELECT make_due();
SELECT * FROM due;
SELECT pm.pause('m');
SELECT pm.catch_up();
SELECT type, state, attempts FROM aside;
SELECT * FROM due;
SELECT pm.resume('m');
SELECT * FROM due;
BEGIN;
UPDATE pm_catalog.process_manager SET system_identifier = 0;
SELECT * FROM due;
ROLLBACK;
-- registering again makes it due at once; a dead event stays dead
SELECT make_due();
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT make_due();
SELECT pm.catch_up('m', max_count => 0, on_failure => 'policy');
SELECT type, state, attempts, later FROM aside;
SELECT pm.retry('m', 'orders', :p);
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT type, state, attempts, later FROM aside;
SELECT pm.register('m', 'handle', '{orders}', backoff => '1 hour', max_attempts => 3);
SELECT type, state, attempts, later FROM aside;
DELETE FROM poison;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT string_agg(type, ' ' ORDER BY n) FROM handled;
SELECT type, state, attempts FROM aside;
-- max_count includes events that are tried again
SELECT pm.retry(process_manager, log, "position") FROM pm.parked WHERE state = 'dead';
SELECT pm.catch_up('m');
SELECT count(*) FROM pm_catalog.parked;
SELECT reset_handled();
INSERT INTO poison VALUES ('p');
INSERT INTO orders (stream, type) VALUES ('p', 'p'), ('p', 'p2'), ('p', 'p3'), ('q', 'q');
SELECT pm.catch_up('m', on_failure => 'policy');
DELETE FROM poison;
SELECT pm.append('orders', 'q', 'q2') > 0 AS appended;
SELECT pm.retry(process_manager, log, "position") FROM pm.parked WHERE state = 'failing';
SELECT pm.catch_up('m', max_count => 1);
SELECT pm.catch_up('m', max_count => 1);
SELECT pm.catch_up('m', max_count => 1);
SELECT pm.catch_up('m');
SELECT key, string_agg(type, ' ' ORDER BY n) FROM handled GROUP BY key ORDER BY key;
-- the kind of handler and correlate cannot change while something is parked
INSERT INTO poison VALUES ('p');
SELECT pm.append('orders', 'p', 'p') AS p \gset
SELECT pm.catch_up('m', on_failure => 'policy');
CREATE FUNCTION by_type(e pm.event) RETURNS text LANGUAGE sql AS 'SELECT e.type';
SELECT pm.register('m', 'handle', '{orders}', correlate => 'by_type');
SELECT pm.register('m', 'keep', '{orders}');
SELECT pm.register('m', 'handle_all', '{orders}', on_failure => 'halt', max_attempts => 1);		-- allowed: both are without a state
-- parked events stay parked after a change to on_failure => 'halt'
SELECT pm.append('orders', 'p', 'p2') > 0, pm.append('orders', 'r', 'r') > 0;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT type, state, attempts FROM aside;
SELECT state, parked FROM s;
DELETE FROM poison;
SELECT pm.resume('m');
SELECT pm.retry(process_manager, log, "position") FROM pm.parked WHERE state <> 'behind';
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT key, string_agg(type, ' ' ORDER BY n) FROM handled GROUP BY key ORDER BY key;
SELECT count(*) FROM pm_catalog.parked;
SELECT pm.unregister('m');
SELECT reset_handled();

-- ---- a handler with a state -------------------------------------------------

SELECT pm.register('m', 'keep', '{orders}', start_at => 'end', backoff => '1 hour');
INSERT INTO poison VALUES ('bad');
INSERT INTO orders (stream, type) VALUES ('k', 'k1'), ('k', 'bad'), ('k', 'end'), ('k', 'k2'), ('j', 'j1'), ('k', 'k3');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT key, state FROM pm.instance ORDER BY key;
SELECT key, type, state FROM aside;
DELETE FROM poison WHERE type = 'bad';
INSERT INTO poison VALUES ('k3');
SELECT make_due();
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT key, state FROM pm.instance ORDER BY key;
SELECT key, type, state FROM aside;
DELETE FROM poison;
SELECT make_due();
SELECT pm.append('orders', 'k', 'k4') > 0 AS appended;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT key, state FROM pm.instance ORDER BY key;
SELECT pm.unregister('m');
SELECT reset_handled();
-- an event that is tried again is the cause of what its handler appends
CREATE FUNCTION consequence(e pm.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN CALL refuse_poison(e.type); PERFORM pm.append('payments', e.stream, 'of ' || e.type); END $$;
SELECT pm.register('m', 'consequence', '{orders}', start_at => 'end', backoff => '1 hour');
INSERT INTO poison VALUES ('c1');
SELECT pm.append('orders', 'c', 'c1', '{}', '{"correlation": 7}') AS c1, pm.append('orders', 'c', 'c2') AS c2 \gset
SELECT pm.catch_up('m', on_failure => 'policy');
DELETE FROM poison;
SELECT make_due();
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT type, metadata->'causation'->>'log' AS log, metadata->'causation'->>'position' IN (:'c1', :'c2') AS one_of_them, metadata->'correlation' AS correlation FROM payments WHERE stream = 'c' ORDER BY "position";
SELECT depth, event_log, type FROM pm.trace('orders', :c1);
SELECT pm.unregister('m');

-- the event is read from the log again: one that was changed is handled as it is now, one that was deleted is discarded
CREATE FUNCTION tell(e pm.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN CALL refuse_poison(e.type); INSERT INTO handled (how, key, type) VALUES (e.data->>'how', e.stream, e.type); END $$;
SELECT pm.register('m', 'tell', '{orders}', start_at => 'end', backoff => '1 hour');
INSERT INTO poison VALUES ('c3');
SELECT pm.append('orders', 'c', 'c3', '{"how": "as it was"}') AS c3, pm.append('orders', 'c', 'c4', '{"how": "as it was"}') AS c4 \gset
SELECT pm.catch_up('m', on_failure => 'policy');
DELETE FROM poison;
UPDATE orders SET data = '{"how": "changed"}' WHERE "position" = :c3;
DELETE FROM orders WHERE "position" = :c4;
SELECT (event).type, (event).data FROM pm.parked ORDER BY "position";
SELECT make_due();
SELECT pm.catch_up('m');
SELECT key, type, how FROM handled ORDER BY n;
SELECT pm.unregister('m');

-- ---- the context of an error, and the time of the next attempt --------------

CREATE FUNCTION context_of(as_of timestamptz DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE context text;
BEGIN
	PERFORM pm.catch_up('m', as_of => context_of.as_of);
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
	RETURN format('%s / %s', SQLERRM, regexp_replace(substring(context FROM 'process manager[^\n]*'), '\d+', 'N'));
END $$;
SELECT pm.register('m', 'handle', '{orders}', start_at => 'end', backoff => '1 hour');
INSERT INTO poison VALUES ('d1');
SELECT pm.append('orders', 'd', 'd1') AS d1 \gset
SELECT context_of();
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT context_of();
SELECT make_due();
SELECT context_of();
-- what is due at as_of is tried
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT context_of(clock_timestamp() + '10 min') AS in_ten_minutes, context_of(clock_timestamp() + '3 hours') AS in_three_hours;
-- each attempt is made when it is due
BEGIN;
SELECT pm.catch_up('m', as_of => '2100-01-01', on_failure => 'policy');
SELECT state, attempts, retry_at > '2100-01-01' AS after_that FROM pm.parked;
ROLLBACK;
BEGIN;
SELECT pm.retry('m', 'orders', :d1);
SELECT pm.catch_up('m', as_of => '2000-01-01', on_failure => 'policy');
SELECT state, attempts, retry_at BETWEEN '2000-01-01' AND '2000-01-02' AS after_that FROM pm.parked;
ROLLBACK;
-- the limits of timestamptz
CREATE FUNCTION at_the_end(as_of timestamptz) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
	PERFORM pm.retry('m', log, "position") FROM pm.parked;
	PERFORM pm.catch_up('m', as_of => at_the_end.as_of, on_failure => 'policy');
	SELECT format('%s, attempts %s, due at %s', state, attempts, CASE WHEN retry_at >= at_the_end.as_of THEN 'that time or later' ELSE retry_at::text END) INTO result FROM pm.parked;
	RAISE SQLSTATE 'UNDO0';
EXCEPTION
	WHEN SQLSTATE 'UNDO0' THEN RETURN result;
	WHEN OTHERS THEN RETURN format('%s %s', SQLSTATE, SQLERRM);
END $$;
SELECT t AS as_of, at_the_end(t) FROM unnest('{"294276-12-31 23:59:59.999999 UTC","4714-11-24 00:00 UTC BC"}'::timestamptz[]) t;
SELECT pm.unregister('m');
DELETE FROM poison;

-- ---- handlers of arrays -----------------------------------------------------

SELECT reset_handled();
SELECT pm.register('m', 'handle_all', '{orders}', start_at => 'end', backoff => '1 hour', batch_size => 5);
INSERT INTO poison VALUES ('a2');
INSERT INTO orders (stream, type) VALUES ('a', 'a1'), ('b', 'b1'), ('a', 'a2'), ('a', 'a3'), ('b', 'b2'), ('a', 'a4'), ('b', 'b3'), ('c', 'c1'), ('a', 'a5'), ('c', 'c2');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT key, string_agg(type, ' ' ORDER BY n) FROM handled GROUP BY key ORDER BY key;
SELECT type, state FROM aside;
-- an array of the events that are not parked
INSERT INTO orders (stream, type) VALUES ('b', 'b4'), ('a', 'a6'), ('c', 'c3');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT how, type FROM handled WHERE type IN ('b4', 'c3') ORDER BY n;
-- parked events are tried again in arrays of one
DELETE FROM poison;
SELECT make_due();
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT how, type FROM handled WHERE key = 'a' ORDER BY n;
SELECT pm.unregister('m');
SELECT reset_handled();

-- ---- the result does not depend on batch_size -------------------------------

CREATE FUNCTION run(handler text, batch_size int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text := '';
BEGIN
	PERFORM reset_handled();
	DELETE FROM poison;
	PERFORM pm.register('r', run.handler, '{orders,payments}', start_at => 'end', batch_size => run.batch_size, backoff => '1 hour', max_attempts => 2);
	-- these fail: some in the middle of a key, some at its beginning, two of the same key, two in a row
	INSERT INTO poison SELECT 't' || i FROM unnest('{1,3,7,16,17,23,31,44,60}'::int[]) i;
	FOR round IN 0 .. 3 LOOP
		IF round = 1 THEN DELETE FROM poison WHERE type IN ('t1', 't16', 't31'); END IF;
		IF round = 3 THEN DELETE FROM poison; PERFORM pm.retry('r', log, "position") FROM pm.parked WHERE process_manager = 'r' AND state <> 'behind'; END IF;
		IF round > 0 THEN PERFORM make_due(); END IF;
		INSERT INTO orders (stream, type, recorded_at) SELECT 'k' || (i * i + i / 7) % 6, 't' || i, '2026-01-01 UTC'::timestamptz + i * interval '1 min' FROM generate_series(round * 20 + 1, round * 20 + 20) i WHERE i % 3 > 0;
		INSERT INTO payments (stream, type, recorded_at) SELECT 'k' || (i * i + i / 7) % 6, 't' || i, '2026-01-01 UTC'::timestamptz + i * interval '1 min' FROM generate_series(round * 20 + 1, round * 20 + 20) i WHERE i % 3 = 0;
		PERFORM pm.catch_up('r', on_failure => 'policy');
		result := concat_ws(E'\n', result, 'round ' || round,
			(SELECT string_agg(format('%s: %s', key, types), E'\n' ORDER BY key) FROM (SELECT key, string_agg(type, ' ' ORDER BY n) AS types FROM handled GROUP BY key) x),
			(SELECT string_agg(format('%s parked: %s', key, types), E'\n' ORDER BY key) FROM (SELECT key, string_agg(format('%s %s %s', (v.event).type, v.state, v.attempts), ', ' ORDER BY k.id) AS types FROM pm.parked v JOIN pm_catalog.parked k USING (process_manager, log, "position", key) WHERE process_manager = 'r' GROUP BY key) x),
			(SELECT string_agg(format('%s instance: %s', key, state), E'\n' ORDER BY key) FROM pm.instance WHERE process_manager = 'r'),
			(SELECT format('handled %s, errors %s, parked %s, lag %s, state %s', sum(handled), min(errors), sum(parked), sum(lag), min(state)) FROM pm.status WHERE process_manager = 'r'));
	END LOOP;
	PERFORM pm.unregister('r');
	RETURN result;
END $$;
CREATE TABLE runs AS SELECT h AS handler, b AS batch_size, run(h, b) AS result FROM unnest('{handle,handle_all,keep}'::text[]) h, unnest('{1,2,3,100}'::int[]) b;
SELECT handler, count(DISTINCT result) AS results FROM runs GROUP BY handler ORDER BY handler;
SELECT count(DISTINCT result) AS results FROM runs WHERE handler <> 'keep';
-- one of the results
SELECT line FROM runs, string_to_table(result, E'\n') WITH ORDINALITY l(line, n) WHERE handler = 'keep' AND batch_size = 3 ORDER BY n;
-- nor on where pm.batch_duration ends a batch
ALTER SYSTEM SET pm.batch_duration = '1ms';
\set ECHO none
\set setting pm.batch_duration
\set value 1ms
\i :reload
\set ECHO all
SELECT handler FROM runs WHERE batch_size = 100 AND run(handler, batch_size) <> result;
ALTER SYSTEM SET pm.batch_duration = '1h';
SELECT pg_reload_conf();
DROP TABLE runs;

-- ---- a process manager that fails all the time halts ------------------------

-- 20 keys in a row fail
SELECT reset_handled();
SELECT pm.register('m', 'handle', '{orders}', start_at => 'end', backoff => '1 hour', max_attempts => 2);
INSERT INTO poison VALUES ('bad');
INSERT INTO orders (stream, type) SELECT 'k' || i % 45, CASE WHEN i < 45 THEN 'bad' ELSE 'behind' END FROM generate_series(0, 49) i;
INSERT INTO orders (stream, type) VALUES ('fine', 'fine');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT state, count(*) FROM pm.parked GROUP BY state;
SELECT state, regexp_replace(reason, 'position \d+', 'position N') AS reason, hint, attempts, parked, errors, lag FROM pm.status;
SELECT o.stream FROM orders o JOIN pm.cursor c ON o."position" = c."position";
SELECT make_due();
SELECT * FROM due;
\set VERBOSITY sqlstate
SELECT pm.catch_up('m');
\set VERBOSITY default
SELECT count(*) FROM handled;
-- resumed without a correction
SELECT pm.resume('m');
SELECT * FROM due;
SELECT state, attempts, count(*), bool_or(later) AS later FROM aside GROUP BY state, attempts ORDER BY state, attempts;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT state FROM pm.status;
-- the failures are corrected
DELETE FROM poison;
SELECT pm.resume('m');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT type, count(*), count(DISTINCT key) FROM handled GROUP BY type ORDER BY type;
SELECT count(*) FROM handled h JOIN handled b ON b.key = h.key AND b.type = 'bad' AND h.type = 'behind' AND b.n > h.n;
SELECT * FROM s;
-- pm.resume retries dead events of that row of failures, but no older ones
SELECT pm.register('m', 'handle', '{orders}', backoff => '1 hour', max_attempts => 1);
SELECT reset_handled();
INSERT INTO poison VALUES ('bad');
INSERT INTO orders (stream, type) VALUES ('old', 'bad'), ('fine', 'fine');
SELECT pm.catch_up('m', on_failure => 'policy');
INSERT INTO orders (stream, type) SELECT 'k' || i, 'bad' FROM generate_series(1, 22) i;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT state, count(*) FROM pm.parked GROUP BY state;
SELECT state FROM pm.status;
DELETE FROM poison;
SELECT pm.resume('m');
SELECT state, count(*) FROM pm.parked GROUP BY state ORDER BY state;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT key, state FROM pm.parked;
SELECT count(*) FROM handled WHERE type = 'bad';
SELECT pm.retry(process_manager, log, "position") FROM pm.parked;
SELECT pm.catch_up('m');
-- one event is handled in between: the row is interrupted
INSERT INTO poison VALUES ('bad');
INSERT INTO orders (stream, type) SELECT CASE i WHEN 12 THEN 'fine' ELSE 'k' || i END, CASE i WHEN 12 THEN 'fine' ELSE 'bad' END FROM generate_series(1, 24) i;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT * FROM s;
-- parked events that fail again do not count either
SELECT pm.register('m', 'handle', '{orders}', backoff => '1 hour');
DO $$ BEGIN PERFORM pm.retry(process_manager, log, "position") FROM pm.parked; END $$;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT state, attempts, count(*) FROM pm.parked GROUP BY state, attempts;
SELECT * FROM s;
SELECT pm.unregister('m');
-- nor do repeated failures of the same key
SELECT pm.register('m', 'handle', '{orders}', start_at => 'end', backoff => '1 hour', max_attempts => 100);
INSERT INTO orders (stream, type) SELECT 'k', 'bad' FROM generate_series(1, 30) i;
CREATE FUNCTION again(times int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN FOR i IN 1 .. times LOOP PERFORM make_due(); PERFORM pm.catch_up('m', on_failure => 'policy'); END LOOP; END $$;
SELECT again(30);
SELECT * FROM s;
SELECT pm.unregister('m');

-- park_limit
SELECT reset_handled();
SELECT pm.register('m', 'handle', '{orders}', start_at => 'end', backoff => '1 hour', max_attempts => 2, park_limit => 2);
INSERT INTO orders (stream, type) VALUES ('a', 'bad'), ('f', 'f1'), ('a', 'a2'), ('b', 'bad'), ('a', 'a3'), ('b', 'b2'), ('f', 'f2'), ('c', 'bad'), ('f', 'f3'), ('d', 'bad');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT key, type, state FROM aside;
SELECT string_agg(type, ' ' ORDER BY n) FROM handled;
SELECT state, regexp_replace(reason, 'position \d+', 'position N') AS reason, hint, parked, lag FROM pm.status;
SELECT o.type FROM orders o JOIN pm.cursor c ON o."position" = c."position";
SELECT pm.resume('m');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT key, type, state, attempts FROM aside;
SELECT state FROM pm.status;
-- room for one more key
SELECT pm.resume('m');
SELECT pm.discard('m', 'orders', "position") FROM pm.parked WHERE key = 'a' AND state <> 'behind';
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT key, type, state FROM aside;
SELECT string_agg(type, ' ' ORDER BY n) FROM handled;
SELECT state FROM pm.status;
-- a higher limit
SELECT pm.register('m', 'handle', '{orders}', backoff => '1 hour', max_attempts => 2, park_limit => 3);
SELECT state FROM pm.status;
SELECT pm.resume('m');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT key, type, state FROM aside;
SELECT state FROM pm.status;
DELETE FROM poison;
SELECT pm.retry('m', log, "position") FROM pm.parked WHERE state <> 'behind';
SELECT pm.catch_up('m');
SELECT key, string_agg(type, ' ' ORDER BY n) FROM handled GROUP BY key ORDER BY key;
SELECT pm.unregister('m');

-- ---- pm.wait_for, pm.trim, pm.unfollow, pm.seek -----------------------------

SELECT reset_handled();
SELECT pm.register('m', 'handle', '{orders,payments}', start_at => 'end', backoff => '1 hour');
INSERT INTO poison VALUES ('bad');
SELECT pm.append('orders', 'a', 'a1') AS a1, pm.append('orders', 'a', 'bad') AS bad, pm.append('orders', 'a', 'a2') AS a2, pm.append('payments', 'b', 'b1') AS b1 \gset
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT pm.wait_for('m', 'orders', :a1, '0');
\set VERBOSITY sqlstate
SELECT pm.wait_for('m', 'orders', :bad, '0');
SELECT pm.wait_for('m', 'orders', :a2, '10 s');
SELECT pm.wait_for('m');
\set VERBOSITY default
CREATE FUNCTION waited(log text, up_to bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE d text; h text;
BEGIN
	RETURN pm.wait_for('m', waited.log, waited.up_to, '0');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
	RETURN format('%s / %s / %s', SQLERRM, d, h);
END $$;
SELECT replace(waited('orders', :a2), :'bad', 'N') AS waited;
SELECT pm.wait_for('m', 'payments', timeout => '0');
-- neither a parked event nor any event after it is trimmed
SELECT pm.trim('orders', :bad);
SELECT pm.trim('orders', :a2);
SELECT pm.trim('orders', :bad - 1) > 0 AS trimmed;
SELECT pm.trim('payments', :b1) > 0 AS trimmed;
SELECT type FROM orders ORDER BY "position";
SELECT pm.discard('m', 'orders', :bad);
SELECT pm.trim('orders', :bad);
SELECT pm.trim('orders', :a2);
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT pm.trim('orders', :a2);
SELECT pm.wait_for('m', timeout => '0');
-- a log with parked events cannot be unfollowed; another one can
SELECT pm.append('orders', 'a', 'bad') AS bad, pm.append('orders', 'a', 'a3') AS a3 \gset
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT pm.unfollow('m', 'orders');
BEGIN;
SELECT pm.unfollow('m', 'payments');
SELECT type, state FROM aside;
ROLLBACK;
SELECT pm.drop_log('orders');
-- back to a position before parked events is refused, because they would come twice
SELECT pm.seek('m', 'orders', :bad - 1);
SELECT pm.seek('m', 'payments', 0);
SELECT pm.append('orders', 'c', 'c1') AS c1 \gset
SELECT pm.seek('m', 'orders', :c1);
SELECT type, state FROM aside;
DELETE FROM poison;
SELECT reset_handled();
SET client_min_messages = notice;
SELECT pm.seek('m', 'orders', :bad - 1, reset => true);
SET client_min_messages = error;
SELECT count(*) FROM pm_catalog.parked;
SELECT pm.catch_up('m');
SELECT string_agg(type, ' ' ORDER BY n) FROM handled;
-- reset affects one process manager only
INSERT INTO poison VALUES ('bad');
SELECT pm.register('other', 'handle', '{orders}', start_at => 'end', backoff => '1 hour');
SELECT pm.append('orders', 'a', 'bad') AS bad \gset
SELECT pm.catch_up(on_failure => 'policy');
SELECT pm, type, state FROM aside;
SELECT pm.seek('m', 'orders', :bad - 1, reset => true);
SELECT pm, type, state FROM aside;
SELECT pm.discard('m', 'orders', :bad);
SELECT pm.unregister('m');
SELECT pm, type, state FROM aside;
SELECT pm.unregister('other');
SELECT count(*) FROM pm_catalog.parked;
DELETE FROM poison;

-- ---- correlate --------------------------------------------------------------

CREATE FUNCTION by_order(e pm.event) RETURNS text LANGUAGE sql AS $$ SELECT e.data->>'order' $$;
SELECT reset_handled();
SELECT pm.register('m', 'handle', '{orders,payments}', start_at => 'end', backoff => '1 hour', correlate => 'by_order');
INSERT INTO poison VALUES ('bad');
INSERT INTO orders (stream, type, data, recorded_at) VALUES ('s1', 'bad', '{"order": "o''1"}', '2026-01-01 UTC'), ('s1', 'other key', '{"order": "o2"}', '2026-01-02 UTC'), ('s2', 'same key', '{"order": "o''1"}', '2026-01-03 UTC'), ('s1', 'not for us', '{}', '2026-01-03 UTC'), ('long', 'bad', jsonb_build_object('order', repeat('x', 2000)), '2026-01-05 UTC');
INSERT INTO payments (stream, type, data, recorded_at) VALUES ('s3', 'same key, other log', '{"order": "o''1"}', '2026-01-02 UTC'), ('s4', 'long key', jsonb_build_object('order', repeat('x', 2000)), '2026-01-06 UTC');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT log, type, CASE WHEN key = 'sha256:' || encode(sha256(convert_to(repeat('x', 2000), 'UTF8')), 'hex') THEN 'hashed' ELSE key END AS key, state FROM aside;
SELECT type FROM handled ORDER BY n;
DELETE FROM poison;
SELECT make_due();
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT string_agg(type, ', ' ORDER BY n) FILTER (WHERE key IN ('s1', 's2', 's3')) AS one_key, string_agg(type, ', ' ORDER BY n) FILTER (WHERE key IN ('long', 's4')) AS other FROM handled;
SELECT pm.unregister('m');

-- ---- what is stored of an error ---------------------------------------------

CREATE FUNCTION fail(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	CASE e.type
		WHEN 'raise' THEN RAISE USING MESSAGE = e.data->>'message', DETAIL = coalesce(e.data->>'detail', ''), HINT = coalesce(e.data->>'hint', ''), ERRCODE = coalesce(e.data->>'sqlstate', 'P0001');
		WHEN 'execute' THEN EXECUTE e.data->>'sql';
		WHEN 'caught' THEN BEGIN RAISE 'caught'; EXCEPTION WHEN OTHERS THEN INSERT INTO handled (type) VALUES (SQLERRM); END;
		WHEN 'sleep' THEN PERFORM pg_sleep(60);
		WHEN 'assert' THEN ASSERT false, 'asserted';
	END CASE;
END $$;
SELECT reset_handled();
SELECT pm.register('m', 'fail', '{orders}', start_at => 'end', backoff => '1 hour', handler_timeout => '300 ms');
INSERT INTO orders (stream, type, data) VALUES
	('plain', 'raise', '{"message": "plain"}'),
	('all', 'raise', '{"message": "the message", "detail": "The detail.", "hint": "The hint.", "sqlstate": "ZZ999"}'),
	('quotes', 'raise', '{"message": "it''s \"quoted\" and $1 %s %% \\ back", "detail": "a ''detail'';--"}'),
	('lines', 'raise', '{"message": "first\nsecond\r\n\tthird", "detail": "one\ntwo"}'),
	('unicode', 'raise', '{"message": "Ærger mit 🐟"}'),
	('empty', 'raise', '{"message": ""}'),
	('caught', 'caught', '{}'),
	('zero', 'execute', '{"sql": "SELECT 1 / 0"}'),
	('syntax', 'execute', '{"sql": "SELEC 1"}'),
	('unique', 'execute', '{"sql": "CREATE TEMP TABLE u (i int UNIQUE); INSERT INTO u VALUES (1), (1)"}'),
	('assert', 'assert', '{}'),
	('sleep', 'sleep', '{}'),
	('long', 'raise', jsonb_build_object('message', repeat('long ', 20000), 'detail', repeat('detail ', 20000), 'hint', repeat('hint ', 20000))),
	('case', 'none of these', '{}');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT key, message, detail, sqlstate, regexp_replace(context, '.*\n', '') AS outermost FROM pm.parked WHERE key <> 'long' ORDER BY "position";
SELECT key, length(message), left(message, 20) AS message, length(detail), length(error_hint) AS hint, sqlstate FROM pm.parked WHERE key = 'long';
SELECT key, error_hint FROM pm.parked WHERE error_hint <> '' AND key <> 'long' ORDER BY "position";
-- the hint is that of the last failure
UPDATE orders SET data = data || '{"hint": "Another hint."}' WHERE stream = 'all';
UPDATE orders SET data = data || '{"hint": ""}' WHERE stream = 'long';
SELECT pm.retry('m', log, "position") FROM pm.parked WHERE key IN ('all', 'long') ORDER BY key;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT key, error_hint FROM pm.parked WHERE key IN ('all', 'long') ORDER BY key;
-- a message that names nothing
SELECT DISTINCT regexp_replace(pm_catalog.advice('no.handler(pm.event)', NULL, 10, '42501', true, m), '".*?"', '"..."') AS hint
FROM (SELECT 'permission denied for ' || k || ' ' || n AS m FROM unnest('{table,view,sequence,function,procedure,schema,nothing}'::text[]) k, unnest(ARRAY['', 'x', repeat('x', 100), '%s']) n) m;
SELECT key, type FROM handled;
SELECT DISTINCT state, attempts FROM pm.parked ORDER BY attempts;
-- the caller's own statement_timeout is not an attempt
SELECT pm.unregister('m');
SELECT pm.register('m', 'fail', '{orders}', start_at => 'end', backoff => '1 hour');
SELECT pm.append('orders', 'sleep', 'sleep') > 0 AS appended;
SET statement_timeout = '300 ms';
SELECT pm.catch_up('m', on_failure => 'policy');
RESET statement_timeout;
SELECT count(*) FROM pm_catalog.parked;
SELECT pm.unregister('m');
-- deadlocks and the like are retried at once; only many of them count as a failure
CREATE SEQUENCE calls;
CREATE FUNCTION victim(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF nextval('calls') <= (e.data->>'times')::int THEN RAISE 'victim' USING ERRCODE = e.data->>'sqlstate'; END IF;
	INSERT INTO handled (key, type) VALUES (e.stream, e.type);
END $$;
CREATE FUNCTION tried(sqlstate text, times int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	PERFORM setval('calls', 1, false);
	PERFORM pm.register('v', 'victim', '{orders}', start_at => 'end', backoff => '1 hour');
	PERFORM pm.append('orders', 'v', 'v', jsonb_build_object('sqlstate', tried.sqlstate, 'times', tried.times));
	PERFORM pm.catch_up('v', on_failure => 'policy');
	SELECT CASE WHEN errors = 0 THEN 'handled' ELSE format('errors %s, parked %s, attempts %s, more than 10 calls: %s', errors, parked, (SELECT p.attempts FROM pm.parked p WHERE p.process_manager = 'v'), (SELECT last_value > 10 FROM calls)) END
	INTO result FROM pm.status WHERE process_manager = 'v';
	PERFORM pm.unregister('v');
	RETURN result;
END $$;
SELECT s, t, tried(s, t) FROM unnest('{40P01,40001,55P03,P0001}'::text[]) s, unnest('{0,1,9,1000000}'::int[]) t ORDER BY s, t;

-- pm.retry and pm.discard without an event: all dead events
SELECT reset_handled();
TRUNCATE poison;
INSERT INTO poison VALUES ('bad');
SELECT pm.register('m', 'handle', '{orders}', start_at => 'end', backoff => '1 hour', max_attempts => 1);
SELECT pm.register('other', 'handle', '{orders}', start_at => 'end', backoff => '1 hour', max_attempts => 1);
INSERT INTO orders (stream, type) VALUES ('a', 'bad'), ('b', 'bad'), ('a', 'a2'), ('c', 'c1'), ('b', 'b2');
SELECT pm.catch_up(on_failure => 'policy');
SELECT pm, key, type, state FROM aside;
-- they fail again
SELECT pm.retry('m');
SELECT pm, key, type, state, attempts, later FROM aside WHERE pm = 'm';
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT pm, key, type, state, attempts FROM aside WHERE pm = 'm';
TRUNCATE poison;
-- the rest of their keys follows; other process managers are not affected
SELECT pm.retry('m');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT pm.discard('other');
SELECT pm, key, type, state, later FROM aside;
SELECT pm.catch_up('other', on_failure => 'policy');
SELECT * FROM aside;
SELECT how, key, type FROM handled ORDER BY n;
-- there are no dead events
SELECT pm.retry('m'), pm.discard('m');
-- a failing event is not dead
INSERT INTO poison VALUES ('bad');
SELECT pm.register('m', 'handle', '{orders}', backoff => '1 hour', max_attempts => 2);
SELECT pm.append('orders', 'a', 'bad') > 0 AS appended;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT pm.retry('m'), pm.discard('m');
SELECT pm, key, type, state, attempts, later FROM aside WHERE pm = 'm';
SELECT pm.retry('nobody');
SELECT pm.discard('nobody');
SELECT pm.unregister('m'), pm.unregister('other');

-- dropping a log removes its parked events; events of other logs behind them are handled
SELECT reset_handled();
SELECT pm.create_log('gone');
SELECT pm.register('m', 'handle', '{gone,orders}', start_at => 'end', backoff => '1 hour', max_attempts => 1);
INSERT INTO gone (stream, type) VALUES ('a', 'bad'), ('a', 'gone'), ('b', 'bad');
SELECT pm.catch_up('m', on_failure => 'policy');
INSERT INTO orders (stream, type) VALUES ('a', 'a1'), ('a', 'a2'), ('c', 'bad'), ('c', 'c1');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT log, key, type, state FROM aside;
SET client_min_messages = warning;
DROP TABLE gone CASCADE;
RESET client_min_messages;
SELECT log, key, type, state FROM aside;
INSERT INTO orders (stream, type) VALUES ('a', 'a3');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT key, type FROM handled ORDER BY n;
SELECT log, key, type, state FROM aside;
SELECT pm.unregister('m');

-- an event that was to be tried in a year meets a server error, and is tried soon
SELECT reset_handled();
SELECT pm.register('m', 'handle', '{orders}', start_at => 'end', backoff => '1 hour');
INSERT INTO orders (stream, type, recorded_at) VALUES ('a', 'bad', now() + interval '1 year');
SELECT pm.catch_up('m', as_of => now() + interval '1 year 1 minute', on_failure => 'policy');
CREATE OR REPLACE PROCEDURE refuse_poison(type text) LANGUAGE plpgsql AS $$ BEGIN RAISE 'no space' USING ERRCODE = '53100'; END $$;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT key, attempts, retry_at < clock_timestamp() + interval '1 hour' AS soon FROM pm.parked;
CREATE OR REPLACE PROCEDURE refuse_poison(type text) LANGUAGE plpgsql AS $$ BEGIN END $$;
SELECT pm.catch_up('m', as_of => now() + interval '1 hour', on_failure => 'policy');
SELECT * FROM aside;
SELECT pm.unregister('m');

SELECT pm.drop_log('orders'), pm.drop_log('payments');
DROP VIEW aside, s;
DROP TABLE orders, payments, handled, poison;
DROP SEQUENCE calls;
DROP PROCEDURE refuse_poison(text);
DROP FUNCTION handle(pm.event), handle_all(pm.event[]), keep(pm.event, jsonb), reset_handled(), make_due(), minutes(), meddle(pm.event), by_type(pm.event), consequence(pm.event), tell(pm.event), context_of(timestamptz), at_the_end(timestamptz),
	run(text, int), again(int), waited(text, bigint), by_order(pm.event), fail(pm.event), victim(pm.event), tried(text, int);
ALTER SYSTEM RESET pm.batch_duration;
SELECT pg_reload_conf();
