-- pm distinguishes its own values from those of users: no metadata, data, state or key is taken for one of pm's, or makes
-- the code that reads it fail. No version, position, time or interval is too large or too small.
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all
SET timezone = 'UTC';

-- The result of an expression, or its error.
CREATE FUNCTION try(expression text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
	detail text;
BEGIN
	EXECUTE 'SELECT ' || expression INTO result;
	RETURN result;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(': ', SQLSTATE, SQLERRM, nullif(detail, ''));
END $$;

-- ---- metadata can be any JSON ------------------------------------------------

SELECT pm.create_log('loose'), pm.create_log('out');
ALTER TABLE loose ALTER stream DROP NOT NULL, ALTER type DROP NOT NULL, ALTER data DROP NOT NULL, ALTER metadata DROP NOT NULL, ALTER recorded_at DROP NOT NULL;
CREATE TABLE handled (n serial, pm text, pos bigint, data jsonb, metadata jsonb);
CREATE TABLE broken AS SELECT true AS yes;
CREATE FUNCTION pass_on(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pm.append('out', 's', 'passed');
	IF EXISTS (SELECT FROM broken) THEN RAISE 'broken'; END IF;
	INSERT INTO handled (pm, pos, data, metadata) VALUES ('p', e.position, e.data, e.metadata);
END $$;
CREATE FUNCTION pass_on_state(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pm.set_timer('t', '2100-01-01', e.data);
	PERFORM pass_on(e);
	UPDATE handled SET pm = 's' WHERE n = currval('handled_n_seq');
	RETURN jsonb_build_object('was', e.metadata);
END $$;
CREATE TABLE odd (n serial, metadata jsonb);
INSERT INTO odd (metadata) VALUES
	(NULL), ('null'), ('1'), ('1e30'), ('"pm.too_large"'), ('[]'), ('{}'), ('true'),
	('["zzz\u000faaa\u0010","bbbbbbbbbbbb","pm.too_large"]'), ('{"pm.too_large": 1e30}'), ('{"pm.too_large": 1}'), ('{"pm.too_large": "1"}'),
	('{"pm.too_large": -9223372036854775809}'), ('{"too_large": 1}'), ('{"$pm": "done"}'), ('["$pm", "done"]'),
	('{"causation": 1}'), ('{"causation": []}'), ('{"causation": ["log", "position"]}'), ('{"causation": {"log": null, "position": null}}'),
	('{"causation": {"log": [1], "position": {}}}'), ('{"causation": {"log": "out", "position": 1e30}}'), ('{"causation": {"log": "out", "position": 1.5}}'),
	('{"causation": {"log": "out", "position": 9223372036854775807}}'), ('{"causation": {"log": "out", "position": 9223372036854775808}}'),
	('{"causation": {"log": "loose", "position": -1}}'), ('{"causation": {"log": "\u0001\"\\\n", "position": "1"}}'),
	('{"correlation": null}'), ('{"correlation": 1e-30}'), ('{"correlation": 123456789012345678901234567890.5}'), ('{"correlation": "\u0001\u001f\"\\"}'),
	('{"correlation": []}'), ('{"correlation": {}}'), ('{"correlation": [[], {}, [{"a": []}]]}'), ('{"correlation": true, "causation": true}'),
	(('{"correlation": ' || repeat('[', 1000) || repeat(']', 1000) || '}')::jsonb), ((repeat('{"correlation":', 1000) || '1' || repeat('}', 1000))::jsonb),
	(jsonb_build_object('correlation', repeat(E'\x01', 1000000)));
INSERT INTO loose (stream, version, type, data, metadata, recorded_at) SELECT 's' || n, 1, 't', CASE WHEN n % 2 = 0 THEN metadata END, metadata, now() FROM odd ORDER BY n;
INSERT INTO loose (stream, version, type, data, metadata, recorded_at) VALUES (NULL, NULL, NULL, NULL, NULL, NULL), ('i', NULL, 't', '{}', '{}', 'infinity'), ('j', NULL, 't', '{}', '{}', '-infinity');
SELECT count(pm.append('out', 'before', 'other')) FROM generate_series(1, 3);
SELECT pm.register('p', 'pass_on', '{loose}', start_at => '0', park_limit => 100000), pm.register('s', 'pass_on_state', '{loose,out}', start_at => '0', types => '{t}');
-- each event is parked, is tried again, and is handled unchanged
DO $$ BEGIN FOR i IN 1 .. 20 LOOP PERFORM pm.catch_up(on_failure => 'policy'); PERFORM pm.resume(); END LOOP; END $$;
SELECT process_manager, count(*) > 10 AS parked, bool_and(message = 'broken') AS of_the_handler FROM pm.parked GROUP BY 1 ORDER BY 1;
SELECT count(*) FILTER (WHERE (k.event).data IS DISTINCT FROM l.data OR (k.event).metadata IS DISTINCT FROM l.metadata) AS other
FROM pm.parked k JOIN loose l ON l.position = k.position;
DELETE FROM broken;
DO $$ BEGIN FOR i IN 1 .. 20 LOOP PERFORM pm.resume(); PERFORM pm.catch_up(on_failure => 'policy'); END LOOP; END $$;
SELECT process_manager, state, lag, parked FROM pm.status ORDER BY 1, log;
SELECT h.pm, count(*) AS handled, count(*) FILTER (WHERE h.data IS DISTINCT FROM l.data OR h.metadata IS DISTINCT FROM l.metadata) AS other
FROM handled h JOIN loose l ON l.position = h.pos GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM loose;
SELECT count(*) AS timers FROM pm.timer;
-- the correlation is passed on unchanged, whatever it is; without one, it is the event itself
SELECT count(*) AS passed_on, count(*) FILTER (WHERE o.metadata->'correlation' IS DISTINCT FROM coalesce(l.metadata->'correlation', o.metadata->'causation')) AS other
FROM loose l JOIN out o ON o.metadata->'causation' = jsonb_build_object('log', 'loose', 'position', l.position) WHERE jsonb_typeof(l.metadata) = 'object';
-- pm.trace works with all of it
SELECT count(*) > 0 AS traced FROM (SELECT pm.trace('loose', position) FROM loose) t;
SELECT metadata->'causation' AS said, t.cause_log, t.cause_position FROM loose l CROSS JOIN LATERAL pm.trace('loose', l.position) t
WHERE metadata ? 'causation' AND t.event_log = 'loose' AND t.position = l.position ORDER BY l.position;
SELECT pm.unregister('p'), pm.unregister('s');

-- ---- pm.done() cannot be forged ----------------------------------------------

SELECT pm.create_log('d');
CREATE FUNCTION echo(e pm.event, state jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT CASE e.type WHEN ''end'' THEN pm.done() ELSE e.data END';
SELECT pm.register('d', 'echo', '{d}');
SELECT pm.append('d', 'a', 'x', '{"$pm": "done"}') > 0, pm.append('d', 'b', 'x', pm.done()) > 0, pm.append('d', 'c', 'x', '{"$pm": "done", "token": ""}') > 0,
	pm.append('d', 'e', 'x', jsonb_build_object('$pm', 'done', 'token', repeat('0', 48))) > 0, pm.append('d', 'f', 'x', '{"$pm": "done", "token": 1e30}') > 0;
SELECT pm.catch_up('d');
SELECT key, state FROM pm.instance ORDER BY 1;
SELECT count(pm.append('d', s, 'end')) FROM unnest('{a,b,c,e,f}'::text[]) s;
SELECT pm.catch_up('d');
SELECT count(*) FROM pm.instance;
-- nor by a handler that calls it and returns something else
CREATE TABLE kept (n serial, v jsonb);
CREATE FUNCTION ask(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	ended CONSTANT jsonb := pm.done();
BEGIN
	IF e.type = 'keep' THEN INSERT INTO kept (v) VALUES (ended); END IF;
	IF e.type = 'kept' THEN RETURN (SELECT v FROM kept ORDER BY n LIMIT 1); END IF;
	IF e.type = 'end' THEN RETURN ended; END IF;
	RETURN e.data;
END $$;
SELECT pm.register('d', 'ask', '{d}');
SELECT pm.append('d', 'a', 'x', '{"$pm": "done"}') > 0, pm.append('d', 'b', 'keep') > 0;
SELECT pm.catch_up('d');
SELECT key, state FROM pm.instance ORDER BY 1;
SELECT v->>'$pm' AS "$pm", length(v->>'token') > 0 AS token FROM kept;
-- the value of another call does not end the instance and does not become its state
SELECT pm.append('d', 'a', 'kept') > 0 AS appended;
SELECT try('pm.catch_up(''d'')');
SELECT key, state FROM pm.instance ORDER BY 1;
-- the value stored in an event does not work either, nor does any other token
UPDATE d SET type = 'x', data = (SELECT jsonb_build_object('$pm', 'done', 'token', reverse(v->>'token')) FROM kept LIMIT 1) WHERE type = 'kept';
SELECT pm.append('d', 'b', 'end') > 0 AS appended;
SELECT pm.catch_up('d');
SELECT key, state->>'$pm' AS "$pm" FROM pm.instance ORDER BY 1;
-- each call has its own value; within a call it is the same
CREATE FUNCTION note(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN INSERT INTO kept (v) VALUES (pm.done()), (pm.done()); RETURN '1'; END $$;
TRUNCATE kept;
SELECT pm.register('d', 'note', '{d}');
SELECT count(pm.append('d', 'n', 'x')) FROM generate_series(1, 3);
SELECT pm.catch_up('d');
SELECT count(*), count(DISTINCT v), count(DISTINCT left(v->>'token', 16)) AS sessions FROM kept;
-- plans do not cache it: prepared, inlined, wrapped; a wrapper declared IMMUTABLE is an error
CREATE FUNCTION wrap_sql() RETURNS jsonb LANGUAGE sql STABLE AS 'SELECT pm.done()';
CREATE FUNCTION wrap_volatile() RETURNS jsonb LANGUAGE plpgsql AS 'BEGIN RETURN pm.done(); END';
CREATE FUNCTION wrap_liar() RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN pm.done(); END';
CREATE FUNCTION end_by(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RETURN CASE e.type WHEN 'sql' THEN wrap_sql() WHEN 'volatile' THEN wrap_volatile() WHEN 'direct' THEN pm.done()
		WHEN 'query' THEN (SELECT wrap_sql() FROM generate_series(1, 1)) WHEN 'liar' THEN wrap_liar() WHEN 'begin' THEN '1'::jsonb END;
END $$;
SELECT pm.register('d', 'end_by', '{d}');
SELECT count(pm.append('d', stream, type)) FROM (SELECT k || i AS stream, type FROM generate_series(1, 12) i, unnest('{sql,volatile,direct,query}'::text[]) k, unnest(ARRAY['begin', k]) WITH ORDINALITY t(type, o) ORDER BY i, k, o) x;
SELECT pm.catch_up('d');
SELECT count(*) AS live FROM pm.instance WHERE key NOT IN ('a', 'n');
SELECT pm.append('d', 'l1', 'begin') > 0, pm.append('d', 'l1', 'liar') > 0, pm.append('d', 'l2', 'begin') > 0, pm.append('d', 'l2', 'liar') > 0;
SELECT pm.catch_up('d', on_failure => 'policy');
SELECT pm.catch_up('d', on_failure => 'policy');
SELECT key, state, sqlstate, message FROM pm.parked ORDER BY 1;
SELECT pm.discard('d', log, position) FROM pm.parked;
SELECT pm.unregister('d');
-- in a test the handler can be called as a function
SELECT end_by(ROW('d', 1, 's', 1, 'direct', '{}', '{}', now())::pm.event, '1') = pm.done() AS ends, end_by(ROW('d', 1, 's', 1, 'begin', '{}', '{}', now())::pm.event, NULL) = pm.done() AS ends;
SELECT provolatile, proparallel FROM pg_proc WHERE oid = 'pm.done'::regproc;

-- ---- two keys never become the same key --------------------------------------

SELECT pm.create_log('k');
CREATE FUNCTION count_up(e pm.event, state jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT to_jsonb(coalesce(state::int, 0) + 1)';
CREATE FUNCTION key_of(e pm.event) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT e.data->>''key''';
SELECT 'sha256:' || encode(sha256(convert_to(repeat('x', 2000), 'UTF8')), 'hex') AS posing \gset
SELECT pm.register('by_stream', 'count_up', '{k}'), pm.register('by_key', 'count_up', '{k}', correlate => 'key_of'), pm.register('by_lane', 'count_up', '{k}', lanes => 4);
SELECT count(pm.append('k', key, 't', jsonb_build_object('key', key))) FROM unnest(ARRAY[repeat('x', 2000), :'posing', :'posing', 'sha256:', 'sha256:x', 'sha256', 'SHA256:x']) key;
SELECT pm.catch_up();
SELECT process_manager, CASE key WHEN :'posing' THEN 'of the long one' WHEN 'sha256:' || encode(sha256(convert_to(:'posing', 'UTF8')), 'hex') THEN 'of the posing one' ELSE left(key, 10) END AS key, state
FROM pm.instance i ORDER BY 1, state DESC, i.key COLLATE "C";
-- timers and parked events are found by the key, in each lane
SELECT pm.register('by_lane', 'count_up', '{k}', lanes => 7);
SELECT count(pm.append('k', key, 't')) FROM unnest(ARRAY[repeat('x', 2000), :'posing', 'sha256:x']) key;
SELECT pm.catch_up('by_lane');
SELECT count(*), sum(state::int) FROM pm.instance WHERE process_manager = 'by_lane';
SELECT pm.unregister('by_stream'), pm.unregister('by_key'), pm.unregister('by_lane');
SELECT pm_catalog.lane_of('x', 0);
SELECT pm_catalog.lane_of('x', -1);

-- ---- the largest version -----------------------------------------------------

SELECT pm.create_log('v'), pm.create_log('w');
-- pm.append writes to one log directly, and to the other with INSERT because of its trigger
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER t BEFORE INSERT ON w FOR EACH ROW EXECUTE FUNCTION nothing();
SET statement_timeout = '20 s';
INSERT INTO v (stream, type, version) VALUES ('s', 't', 9223372036854775807), ('r', 't', 9223372036854775806);
INSERT INTO w (stream, type, version) VALUES ('s', 't', 9223372036854775807), ('r', 't', 9223372036854775806);
SELECT l AS log, e AS expression, try(format('pm.' || e, l)) FROM unnest('{v,w}'::text[]) l, unnest(ARRAY[
	$$append(%L, 's', 'a')$$, $$append(%L, 's', 'a', expected_version => 9223372036854775807)$$, $$append(%L, 'new', 'a', expected_version => 9223372036854775807)$$,
	$$append_all(%L, 'r', '[{"type": "a"}, {"type": "b"}]')$$, $$append_all(%L, 'r', '[{"type": "a"}, {"type": "b"}]', 9223372036854775806)$$,
	$$append_all(%L, 'r', '[{"type": "a"}]', 9223372036854775806) IS NOT NULL$$, $$append(%L, 'r', 'a')$$]) WITH ORDINALITY e(e, n) ORDER BY n, l;
SELECT pm.append('v', 'new', 'a') > 0, pm.append('w', 'new', 'a') > 0;
SELECT 'v' AS log, stream, version FROM v UNION ALL SELECT 'w', stream, version FROM w ORDER BY 1, 2, 3;
RESET statement_timeout;

-- ---- server errors do not delay an event forever -----------------------------

SELECT pm.create_log('t');
CREATE FUNCTION no_space(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF e.type = 'once' AND NOT EXISTS (SELECT FROM kept) THEN RAISE 'at first'; END IF;
	RAISE 'no space' USING ERRCODE = '53100';
END $$;
TRUNCATE kept;
SELECT pm.register('t', 'no_space', '{t}', backoff => '0', max_attempts => 3);
SELECT pm.append('t', 's', 'once') > 0 AS appended;
-- the first failure parks it; a server error then does not count as an attempt for five minutes
SELECT pm.catch_up('t', max_count => 1, on_failure => 'policy');
SELECT state, attempts, message FROM pm.parked;
INSERT INTO kept (v) VALUES ('1');
CREATE PROCEDURE later() LANGUAGE plpgsql AS $$ BEGIN UPDATE pm_catalog.lane SET lane = lane; UPDATE pm_catalog.parked SET retry_at = '-infinity'; PERFORM pm.catch_up('t', on_failure => 'policy'); END $$;
UPDATE pm_catalog.parked SET attempts = 1, state = 'failing';
CALL later(); CALL later();
SELECT state, attempts, message FROM pm.parked;
UPDATE pm_catalog.parked SET trouble_since = trouble_since - interval '299 s';
CALL later();
SELECT state, attempts, message FROM pm.parked;
UPDATE pm_catalog.parked SET trouble_since = trouble_since - interval '2 s';
CALL later();
SELECT state, attempts, message FROM pm.parked;
CALL later();
SELECT state, attempts, message FROM pm.parked;
-- the same for an event that is not parked, in pm.catch_up, which meets it once per call
SELECT pm.discard('t', log, position) FROM pm.parked;
SELECT pm.append('t', 's', 'x') > 0 AS appended;
SELECT pm.catch_up('t', on_failure => 'policy'), pm.catch_up('t', on_failure => 'policy');
SELECT state, lag, parked, reason FROM pm.status;
UPDATE pm_catalog.lane SET since = since - interval '301 s';
SELECT pm.catch_up('t', on_failure => 'policy'), pm.catch_up('t', on_failure => 'policy');
SELECT state, attempts, message FROM pm.parked;
SELECT pm.unregister('t');

-- ---- the limits of numbers and times -----------------------------------------

SET statement_timeout = '60 s';
SELECT pm.create_log('x');
CREATE FUNCTION note_time(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO handled (pm, pos, data) VALUES (e.type, e.position, to_jsonb(e.recorded_at));
	IF e.data ? 'due' THEN PERFORM pm.set_timer(coalesce(e.data->>'type', 'due'), (e.data->>'due')::timestamptz, e.data->'then'); END IF;
	RETURN '1';
END $$;
SELECT pm.register('x', 'note_time', '{x}');
SELECT count(pm.append('x', 's' || i, 't')) FROM generate_series(1, 3) i;
SELECT pm.catch_up('x');
SELECT x AS expression, try('pm.' || x) AS result FROM unnest(ARRAY[
	-- waiting, for existing positions and for those that never come
	$$wait_for('x', timeout => '178000000 years')$$, $$wait_for('x', timeout => '-178000000 years')$$, $$wait_for('x', timeout => interval '2147483647 days')$$,
	$$wait_for('x', timeout => make_interval(secs => 9e12))$$, $$wait_for('x', 'x', -9223372036854775808)$$, $$wait_for('x', 'x', 9223372036854775807, '1 us')$$,
	$$wait_for('x', 'x', 9223372036854775807, '0')$$, $$wait_for('x', 'x', 9223372036854775807, '-178000000 years')$$, $$wait_for('x', 'x', 9223372036854775807, '-2147483648 days')$$,
	-- reading
	$$read('x', 9223372036854775807) IS NULL$$, $$read('x', -9223372036854775808) IS NULL$$, $$read('x', 0, 2147483647) IS NULL$$, $$read('x', 0, -2147483648) IS NULL$$, $$read('x', 0, NULL) IS NULL$$,
	$$read_stream('x', 's1', 9223372036854775807) IS NULL$$, $$read_stream('x', 's1', -9223372036854775808) IS NULL$$, $$read_stream('x', 's1', 0, 2147483647) IS NULL$$,
	$$trace('x', 9223372036854775807) IS NULL$$, $$trace('x', -9223372036854775808) IS NULL$$, $$trace('x', 0) IS NULL$$,
	-- pm.seek, pm.retry, pm.discard, pm.trim
	$$seek('x', 'x', 9223372036854775807)$$, $$seek('x', 'x', -9223372036854775808)$$, $$seek('x', 'x', 4)$$,
	$$retry('x', 'x', 9223372036854775807)$$, $$retry('x', NULL, -9223372036854775808)$$, $$discard('x', 'x', -9223372036854775808)$$, $$discard('x', NULL, 9223372036854775807)$$,
	$$trim('x', 9223372036854775807)$$, $$trim('x', -9223372036854775808)$$, $$trim('x', 0, 2147483647)$$, $$trim('x', 0, -1)$$, $$trim('x', 0, NULL)$$,
	-- handling
	$$catch_up('x', max_count => 9223372036854775807)$$, $$catch_up('x', max_count => -9223372036854775808)$$, $$catch_up('x', max_count => 0)$$,
	$$catch_up('x', 'infinity')$$, $$catch_up('x', '-infinity')$$, $$catch_up('x', '294276-12-31 23:59:59.999999+00')$$, $$catch_up('x', '4714-11-24 00:00:00+00 BC')$$]) WITH ORDINALITY x(x, n) ORDER BY n;
-- registering
SELECT x AS argument, left(try(format('pm.register(''y'', ''note_time'', ''{x}'', %s)', x)), 120) AS result FROM unnest(ARRAY[
	$$max_attempts => 2147483647$$, $$max_attempts => -2147483648$$, $$batch_size => 2147483647$$, $$batch_size => 100000$$, $$lanes => 2147483647$$, $$lanes => 0$$,
	$$park_limit => 2147483647$$, $$park_limit => 0$$, $$backoff => '1 month'$$, $$backoff => '-1 us'$$, $$backoff => '178000000 years'$$, $$backoff => '-1 month 30 days'$$, $$backoff => '24:00:00.000001'$$, $$backoff => '24:00'$$,
	$$handler_timeout => '0'$$, $$handler_timeout => '999 us'$$, $$handler_timeout => '1 ms'$$, $$handler_timeout => '24:00'$$, $$handler_timeout => '178000000 years'$$, $$handler_timeout => '-2147483648 days'$$,
	$$start_at => '0'$$]) WITH ORDINALITY x(x, n) ORDER BY n;
SELECT pm.unregister('y');
SELECT x AS start_at, left(try(format('pm.register(%L, ''note_time'', ''{x}'', start_at => %L)', 'y' || n, x)), 120) AS result FROM unnest(ARRAY[
	'9223372036854775807', '9223372036854775808', '-1', '-9223372036854775808', '3', '1e30', '', 'infinity', '-infinity', '294276-12-31 23:59:59.999999+00', '294277-01-01 00:00:00+00', '4714-11-24 00:00:00+00 BC', '5000-01-01 BC', '00000000000000000003']) WITH ORDINALITY x(x, n) ORDER BY n;
SELECT x AS start_at, (SELECT position FROM pm.cursor WHERE process_manager = 'y' || n) AS position FROM unnest(ARRAY[
	'9223372036854775807', '9223372036854775808', '-1', '-9223372036854775808', '3', '1e30', '', 'infinity', '-infinity', '294276-12-31 23:59:59.999999+00', '294277-01-01 00:00:00+00', '4714-11-24 00:00:00+00 BC', '5000-01-01 BC', '00000000000000000003']) WITH ORDINALITY x(x, n) ORDER BY n;
SELECT count(pm.unregister(name)) > 0 AS unregistered FROM pm.process_manager WHERE name <> 'x';
-- timers
TRUNCATE handled;
SELECT pm.append('x', 'a', 't', '{"due": "infinity"}') > 0 AS appended;
SELECT try($$pm.catch_up('x')$$);
SELECT pm.seek('x', 'x', pm.high_water_mark('x'), true);
SELECT pm.append('x', 'a', 't', '{"due": "-infinity"}') > 0 AS appended;
SELECT try($$pm.catch_up('x')$$);
SELECT pm.seek('x', 'x', pm.high_water_mark('x'), true);
SELECT count(pm.append('x', 'a', 't', jsonb_build_object('due', due, 'type', due))) FROM unnest('{294276-12-31 23:59:59.999999+00,294276-12-31 23:59:59.999998+00,4714-11-24 00:00:00+00 BC}'::timestamptz[]) due;
SELECT pm.catch_up('x');
SELECT type FROM pm.timer ORDER BY due;
-- the views can show timers that are long overdue, and those at the end of time
BEGIN;
UPDATE pm_catalog.timer SET due = '4714-11-24 00:00:00+00 BC' WHERE due < '294276-12-31 23:59:59.999999+00';
SELECT (SELECT count(*) FROM pm.status) AS status, (SELECT count(*) FROM pm.timer) AS timer, (SELECT count(*) FROM pm.blocker) AS blocker, (SELECT count(*) FROM pm.worker) >= 0 AS worker;
UPDATE x SET recorded_at = r FROM unnest('{infinity,-infinity,294276-12-31 23:59:59.999999+00,4714-11-24 00:00:00+00 BC}'::timestamptz[]) WITH ORDINALITY r(r, n) WHERE position = n;
UPDATE pm_catalog.cursor SET position = 0, moved_at = 'infinity';
SELECT oldest_unhandled, lag > 0 AS lag, coalesce(eta > '0', true) AS eta FROM pm.status;
UPDATE pm_catalog.cursor SET position = 1, moved_at = '-infinity', rate = 'infinity';
SELECT oldest_unhandled, lag > 0 AS lag, coalesce(eta >= '0', true) AS eta FROM pm.status;
UPDATE pm_catalog.cursor SET position = 3, moved_at = '294276-12-31', rate = 'NaN';
SELECT oldest_unhandled, lag > 0 AS lag, coalesce(eta >= '0', true) AS eta FROM pm.status;
UPDATE pm_catalog.lane SET state = 'retrying', reason = 'x', retry_at = '294276-12-31 23:59:59.999999+00', since = '-infinity';
SELECT state FROM pm.status;
UPDATE pm_catalog.lane SET state = 'waiting', retry_at = '-infinity', since = 'infinity';
SELECT state FROM pm.status;
ROLLBACK;
SELECT pm.catch_up('x', '294276-12-31 23:59:59.999998+00'), pm.catch_up('x', '294276-12-31 23:59:59.999999+00');
SELECT count(*) AS fired FROM handled WHERE pos IS NULL;
SELECT state, lag, parked FROM pm.status;
-- a timer set by a timer comes later than that timer; at the end of time nothing is later
SELECT pm.append('x', 'b', 't', '{"due": "294276-12-31 23:59:59.999998+00", "then": {"due": "294276-12-31 23:59:59.999998+00", "then": {"due": "294276-12-31 23:59:59.999998+00", "then": {}}}}') > 0 AS appended;
SELECT try($$pm.catch_up('x', '294276-12-31 23:59:59.999998+00')$$);
SELECT due FROM pm.timer;
SELECT try($$pm.catch_up('x', '294276-12-31 23:59:59.999999+00')$$);
SELECT due FROM pm.timer;
-- the time of the next attempt is a valid time
SELECT try($$pm.catch_up('x', '294276-12-31 23:59:59.999999+00', on_failure => 'policy')$$);
SELECT bool_and(coalesce(retry_at, now()) <= '294276-12-31 23:59:59.999999+00') AS can_be_restored FROM pm_catalog.parked;
SELECT bool_and(coalesce(retry_at, now()) <= '294276-12-31 23:59:59.999999+00') AS can_be_restored FROM pm_catalog.lane;
CREATE FUNCTION always(e pm.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'always'; END $$;
SELECT pm.register('p', 'always', '{x}', start_at => 'end', backoff => '24:00', max_attempts => 5), pm.register('h', 'always', '{x}', start_at => 'end', backoff => '24:00', max_attempts => 5, on_failure => 'halt');
INSERT INTO x (stream, type, recorded_at) VALUES ('c', 't', '294276-12-31 23:30+00');
CREATE PROCEDURE at_the_end(m text, t timestamptz) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pm.resume();
	PERFORM pm.catch_up(m, t, on_failure => 'policy');
	PERFORM pm.catch_up(m, t, on_failure => 'policy');
END $$;
CREATE FUNCTION kept_in_time() RETURNS TABLE (kept text, state text, attempts int, can_be_restored boolean) LANGUAGE sql AS $$
	SELECT 'parked ' || process_manager, state, attempts, coalesce(retry_at, now()) <= '294276-12-31 23:59:59.999999+00'::timestamptz FROM pm_catalog.parked WHERE log IS NOT NULL
	UNION ALL SELECT 'lane ' || process_manager, state, attempts, coalesce(retry_at, now()) <= '294276-12-31 23:59:59.999999+00'::timestamptz FROM pm_catalog.lane WHERE process_manager <> 'x' ORDER BY 1 $$;
CALL at_the_end('p', '294276-12-31 23:30+00'); CALL at_the_end('h', '294276-12-31 23:30+00');
SELECT * FROM kept_in_time();
CALL at_the_end('p', '4714-11-24 00:00:00+00 BC'); CALL at_the_end('h', '4714-11-24 00:00:00+00 BC');
SELECT * FROM kept_in_time();
CALL at_the_end('p', '294276-12-31 23:59:59.999999+00'); CALL at_the_end('h', '294276-12-31 23:59:59.999999+00');
SELECT * FROM kept_in_time();
SELECT pm.unregister('x'), pm.unregister('p'), pm.unregister('h');

-- ---- the last positions ------------------------------------------------------

SELECT pm.create_log('z');
SELECT pm.register('z', 'note_time', '{z}');
SELECT pm.append('z', 's', 't'), setval(pg_get_serial_sequence('z', 'position'), 9223372036854775806), pm.append('z', 's', 't');
SELECT try($$pm.append('z', 's', 't')$$);
UPDATE pm_catalog.cursor SET rate = 1, moved_at = now();
SELECT position, lag, coalesce(eta > '0', true) AS eta FROM pm.status;
SELECT pm.catch_up('z'), pm.wait_for('z', timeout => '0'), pm.high_water_mark('z'), (SELECT count(*) FROM pm.read('z', 9223372036854775806)), (SELECT count(*) FROM pm.trace('z', 9223372036854775807));
SELECT position, lag FROM pm.status;
SELECT try($$pm.seek('z', 'z', 9223372036854775807)$$), pm.trim('z', 9223372036854775807);
SELECT try($$pm.register('y', 'note_time', '{z}', start_at => '9223372036854775807')$$);
SELECT pm.unregister('z'), pm.unregister('y');
-- a sequence that starts with a negative value
SELECT pm.create_log('n');
ALTER TABLE n ALTER position SET MINVALUE -9223372036854775808 SET START -9223372036854775808 RESTART;
SELECT try($$pm.create_log('n')$$);
SELECT pm.drop_log('n');

SELECT count(pm.drop_log(l)) FROM unnest('{loose,out,d,k,v,w,t,x,z}'::text[]) l;
DROP TABLE loose, out, d, k, v, w, t, x, z, n, handled, broken, odd, kept;
DROP FUNCTION try(text), pass_on(pm.event), pass_on_state(pm.event, jsonb), echo(pm.event, jsonb), ask(pm.event, jsonb), note(pm.event, jsonb), end_by(pm.event, jsonb), wrap_sql(), wrap_volatile(), wrap_liar(),
	count_up(pm.event, jsonb), key_of(pm.event), nothing(), no_space(pm.event), note_time(pm.event, jsonb), always(pm.event), kept_in_time();
DROP PROCEDURE later(), at_the_end(text, timestamptz);
