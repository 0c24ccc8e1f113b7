-- pm.associate, pm.dissociate, pm.associated: instances that are found by something other than their keys
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
ALTER SYSTEM SET pm.batch_duration = '1h';
\i :no_workers
\set ECHO all

SELECT pm.create_log('events');
CREATE TABLE poison (type text, key text);
CREATE FUNCTION keep(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE v text;
BEGIN
	FOR v IN SELECT jsonb_array_elements_text(e.data -> 'associate') LOOP PERFORM pm.associate('item', v); END LOOP;
	FOR v IN SELECT jsonb_array_elements_text(e.data -> 'dissociate') LOOP RAISE NOTICE 'dissociate %: %', v, pm.dissociate('item', v); END LOOP;
	IF EXISTS (SELECT FROM poison p WHERE p.type = e.type AND p.key = pm.key()) THEN RAISE 'no % for %', e.type, pm.key(); END IF;
	IF e.data ? 'try' THEN
		BEGIN PERFORM pm.associate('item', e.data ->> 'try'); RAISE 'never mind'; EXCEPTION WHEN raise_exception THEN NULL; END;
	END IF;
	IF e.data ? 'none' THEN RETURN state; END IF;
	RETURN CASE WHEN e.type = 'end' THEN pm.done() ELSE coalesce(state, '[]') || to_jsonb(e.type) END;
END $$;
CREATE FUNCTION keys(e pm.event) RETURNS text[] LANGUAGE sql STABLE AS
$$ SELECT CASE WHEN e.data ? 'item' THEN pm.associated('item', e.data ->> 'item') ELSE ARRAY[e.stream] END $$;
CREATE FUNCTION event(stream text, type text, data jsonb DEFAULT '{}') RETURNS bigint LANGUAGE sql AS $$ SELECT pm.append('events', stream, type, data) $$;
CREATE VIEW i AS SELECT key, state FROM pm.instance ORDER BY process_manager, key;
CREATE VIEW a AS SELECT process_manager AS pm, kind, left(value, 12) AS value, key FROM pm_catalog.association ORDER BY 1, 2, value, key;
CREATE FUNCTION make_due() RETURNS void LANGUAGE sql AS $$ UPDATE pm_catalog.lane SET lane = lane; UPDATE pm_catalog.parked SET retry_at = clock_timestamp() WHERE retry_at IS NOT NULL $$;

-- ---- those of the same batch are found --------------------------------------

SELECT pm.register('m', 'keep', '{events}', correlate => 'keys', max_attempts => 3, backoff => '10 min');
SELECT event('o1', 'placed', '{"associate": ["a", "b", "a"]}'), event('o2', 'placed', '{"associate": ["b", "c"]}'),
	event('x', 'picked', '{"item": "b"}'), event('x', 'picked', '{"item": "a"}'), event('x', 'picked', '{"item": "z"}') \g /dev/null
SELECT pm.catch_up('m');
SELECT * FROM i;
SELECT * FROM a;
-- in later batches, too; and they end one by one
SELECT event('o1', 'moved', '{"dissociate": ["a", "z"], "associate": ["d"]}'), event('x', 'packed', '{"item": "a"}'), event('x', 'packed', '{"item": "d"}'), event('x', 'packed', '{"item": "b"}') \g /dev/null
SELECT pm.catch_up('m');
SELECT * FROM i;
SELECT * FROM a;
-- with the instance, all of its associations end, also those of the call that ends it
SELECT event('o1', 'end', '{"associate": ["e"]}'), event('x', 'sent', '{"item": "b"}'), event('x', 'sent', '{"item": "e"}') \g /dev/null
SELECT pm.catch_up('m');
SELECT * FROM i;
SELECT * FROM a;
-- what an aborted subtransaction has made is not there
SELECT event('o2', 'tried', '{"try": "f"}'), event('x', 'sent', '{"item": "f"}') \g /dev/null
SELECT pm.catch_up('m');
SELECT * FROM i;
SELECT * FROM a;

-- ---- a call that fails, and an event that waits behind it -------------------

INSERT INTO poison VALUES ('bad', 'o2');
SELECT event('o2', 'bad', '{"associate": ["g"]}') AS bad, event('x', 'seen', '{"item": "g"}') AS unseen, event('x', 'seen', '{"item": "c"}') AS seen \gset
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT * FROM a;
SELECT (event).type, key, state FROM pm.parked ORDER BY position;
DELETE FROM poison;
SELECT pm.retry('m', 'events', :bad);
SELECT event('x', 'seen', '{"item": "g"}') \g /dev/null
SELECT pm.catch_up('m');
SELECT * FROM i;
SELECT * FROM a;
-- a parked event keeps its key: if the instance has ended before it, it is handled without a state
INSERT INTO poison VALUES ('end', 'o2');
SELECT event('o2', 'end'), event('x', 'late', '{"item": "g"}') \g /dev/null
SELECT pm.catch_up('m', on_failure => 'policy');
DELETE FROM poison;
SELECT make_due();
SELECT pm.catch_up('m');
SELECT * FROM i;
SELECT * FROM a;

-- ---- the event that makes the association comes later -----------------------

CREATE OR REPLACE FUNCTION keys(e pm.event) RETURNS text[] LANGUAGE plpgsql STABLE AS $$
DECLARE found text[] := ARRAY[e.stream];
BEGIN
	IF e.data ? 'item' THEN found := pm.associated('item', e.data ->> 'item'); END IF;
	IF found = '{}' THEN PERFORM pm.defer('10 min', 'no ' || (e.data ->> 'item')); END IF;
	RETURN found;
END $$;
SELECT event('y', 'early', '{"item": "h"}'), event('o3', 'placed', '{"associate": ["h"]}'), event('o4', 'placed', '{"associate": ["h"]}'), event('y', 'later', '{"item": "h"}') \g /dev/null
SELECT pm.catch_up('m');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT (event).type, key, state, attempts, message, retry_at BETWEEN clock_timestamp() + '9 min' AND clock_timestamp() + '11 min' AS later FROM pm.parked;
SELECT * FROM i;
SELECT make_due();
UPDATE pm_catalog.parked SET retry_at = clock_timestamp();
SELECT pm.catch_up('m');
SELECT * FROM i;
SELECT count(*) FROM pm.parked;
SELECT pm.seek('m', 'events', pm.high_water_mark('events'), reset => true);
CREATE OR REPLACE FUNCTION keys(e pm.event) RETURNS text[] LANGUAGE sql STABLE AS
$$ SELECT CASE WHEN e.data ? 'item' THEN pm.associated('item', e.data ->> 'item') ELSE ARRAY[e.stream] END $$;

-- ---- what is refused --------------------------------------------------------

SELECT pm.associate('item', 'a');
SELECT pm.dissociate('item', 'a');
SELECT pm.associated('item', 'a');
-- without an instance
SELECT event('nobody', 'placed', '{"associate": ["a"], "none": true}') AS none \gset
SELECT pm.catch_up('m');
SELECT * FROM a;
UPDATE events SET data = '{"try": "a", "none": true}' WHERE "position" = :none;
SELECT pm.catch_up('m');
-- names and values
CREATE OR REPLACE FUNCTION keep(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pm.associate(CASE e.data ->> 'kind' WHEN 'long' THEN repeat('k', 201) ELSE e.data ->> 'kind' END, CASE e.data ->> 'value' WHEN 'long' THEN repeat('v', 2000) ELSE e.data ->> 'value' END);
	RETURN '{}';
END $$;
SELECT event('n', 'k', '{"kind": "", "value": "v"}') AS n \gset
SELECT pm.catch_up('m');
UPDATE events SET data = '{"kind": "long", "value": "v"}' WHERE "position" = :n;
SELECT pm.catch_up('m');
UPDATE events SET data = '{"kind": null, "value": "v"}' WHERE "position" = :n;
SELECT pm.catch_up('m');
UPDATE events SET data = '{"kind": "k"}' WHERE "position" = :n;
SELECT pm.catch_up('m');
UPDATE events SET data = '{"kind": "k", "value": "long"}' WHERE "position" = :n;
SELECT pm.catch_up('m');
SELECT * FROM a;
CREATE OR REPLACE FUNCTION keys(e pm.event) RETURNS text[] LANGUAGE sql STABLE AS $$ SELECT pm.associated('k', repeat('v', 2000)) $$;
SELECT event('n', 'k', '{"kind": "k", "value": "w"}') \g /dev/null
SELECT pm.catch_up('m');
SELECT * FROM a;
-- an IMMUTABLE function is asked before the handlers run
ALTER FUNCTION keys IMMUTABLE;
SELECT event('n', 'k', '{"kind": "k", "value": "w"}') \g /dev/null
SELECT pm.catch_up('m');
ALTER FUNCTION keys STABLE;
-- with several lanes
SELECT pm.register('m', 'keep', '{events}', correlate => 'keys', lanes => 2);
ALTER FUNCTION keys IMMUTABLE;
SELECT pm.register('m', 'keep', '{events}', correlate => 'keys', lanes => 2);
SELECT pm.catch_up('m');
SELECT pm.register('m', 'keep', '{events}', correlate => 'keys');
ALTER FUNCTION keys STABLE;

-- ---- which roles see which associations, and what deletes them ---------------

SELECT pm.seek('m', 'events', pm.high_water_mark('events'), reset => true);
SELECT * FROM a;
CREATE OR REPLACE FUNCTION keep(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pm.associate('stream', e.stream);
	RETURN to_jsonb(pm.associated('stream', e.stream));
END $$;
CREATE OR REPLACE FUNCTION keys(e pm.event) RETURNS text[] LANGUAGE sql STABLE AS $$ SELECT e.stream || pm.associated('stream', e.stream) $$;
SELECT pm.register('m', 'keep', '{events}', correlate => 'keys');
CREATE FUNCTION other(e pm.event) RETURNS text LANGUAGE sql STABLE AS $$ SELECT 'other ' || cardinality(pm.associated('stream', e.stream)) $$;
SELECT pm.register('o', 'keep', '{events}', correlate => 'other', start_at => 'end');
SELECT event('s', 'a'), event('s', 'b') \g /dev/null
SELECT pm.catch_up();
SELECT process_manager, key, state FROM pm.instance ORDER BY 1, 2;
SELECT * FROM a;
SELECT pm.unregister('o');
SELECT * FROM a;
SELECT pm.unregister('m');
SELECT * FROM a;

DROP TABLE events, poison;
DROP VIEW i, a;
DROP FUNCTION keep, keys, other, event, make_due;
ALTER SYSTEM RESET pm.batch_duration;
SELECT pg_reload_conf();
