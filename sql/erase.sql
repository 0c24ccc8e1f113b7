-- pm.erase: the data of a stream's events, wherever it is kept
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all
SET client_min_messages = notice;

-- in which private tables and logs a word occurs
CREATE FUNCTION found(word text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	t text;
	n bigint;
BEGIN
	FOR t IN SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND (relnamespace = 'pm_catalog'::regnamespace OR oid IN (SELECT source FROM pm_catalog.log)) ORDER BY 1 LOOP
		EXECUTE format('SELECT count(*) FROM %s t WHERE t::text LIKE %L', t, '%' || word || '%') INTO n;
		IF n > 0 THEN RETURN NEXT t || ': ' || n; END IF;
	END LOOP;
	FOR n IN SELECT count(*) FROM (SELECT s::text FROM pm.status s UNION ALL SELECT p::text FROM pm.parked p) v(x) WHERE x LIKE '%' || word || '%' HAVING count(*) > 0 LOOP
		RETURN NEXT 'views: ' || n;
	END LOOP;
END $$;

SELECT pm.create_log('people');
-- keeps the words in its state, timers, what it sends and its errors
CREATE FUNCTION keep(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF e.type = 'fail' THEN RAISE EXCEPTION 'cannot handle %', e.data USING DETAIL = e.data::text, HINT = e.data::text; END IF;
	IF e.type = 'timed' THEN PERFORM pm.set_timer('later', '2100-01-01', e.data), pm.send('keyed', 'other', 'told', e.data); END IF;
	IF e.type = 'end' THEN RETURN pm.done(e.data); END IF;
	RETURN jsonb_build_object('last', e.data, 'before', s -> 'last');
END $$;
CREATE FUNCTION key_of(e pm.event) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'key-' || e.stream $$;
CREATE FUNCTION halt(e pm.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN IF e.type = 'fail' THEN RAISE EXCEPTION 'cannot handle %', e.data USING HINT = e.data::text; END IF; END $$;
SELECT pm.register('byname', 'keep', '{people}', journal => true, keep_ended => '1 day', backoff => '1 h');
SELECT pm.register('keyed', 'keep', '{people}', correlate => 'key_of', journal => true, backoff => '1 h');
SELECT pm.register('dark', 'keep', '{people}', correlate => 'key_of', backoff => '1 h');
SELECT pm.register('halting', 'halt', '{people}', on_failure => 'halt', max_attempts => 1);
SELECT pm.append('people', 'ann', 'made', '{"w": "secretword"}'), pm.append('people', 'ann', 'timed', '{"w": "secretword"}'), pm.append('people', 'bob', 'made', '{"w": "otherword"}'),
	pm.append('people', 'ann', 'end', '{"w": "secretword"}'), pm.append('people', 'ann', 'made', '{"w": "secretword"}'), pm.append('people', 'ann', 'timed', '{"w": "secretword"}'),
	pm.append('people', 'ann', 'fail', '{"w": "secretword"}'), pm.append('people', 'ann', 'behind', '{"w": "secretword"}');
SELECT pm.catch_up(n, on_failure => 'policy') FROM unnest('{byname,dark,halting}'::text[]) n;
SELECT pm.catch_up('keyed', on_failure => 'policy', max_count => 5);
SELECT * FROM found('secretword');
SELECT * FROM found('otherword');
CREATE TABLE before AS SELECT position, stream, version, type, metadata, recorded_at FROM people;
CREATE TABLE journal_before AS SELECT process_manager, key, seq, type FROM pm.journal;

SELECT pm.erase('people', 'ann', '{"gone": 1}');
-- only the states of live instances have it; those of the named process managers
SELECT * FROM found('secretword');
SELECT process_manager, key FROM pm.instance WHERE state::text LIKE '%secretword%' ORDER BY 1, 2;
SELECT * FROM found('otherword');
SELECT count(*) FROM people p JOIN before b USING (position, stream, version, type, metadata, recorded_at);
SELECT count(*) FROM pm.journal j JOIN journal_before b USING (process_manager, key, seq, type);
SELECT process_manager, state, message, detail, context, (event).data FROM pm.parked WHERE log IS NOT NULL ORDER BY 1, "position";
SELECT reason FROM pm.status WHERE process_manager = 'halting';
SELECT process_manager, data FROM pm.timer ORDER BY 1;
SELECT process_manager, state, result FROM pm.ended ORDER BY 1;
-- the owner changes the states
SELECT pm.set_state(process_manager, key, '{}', 'erased') FROM pm.instance WHERE state::text LIKE '%secretword%' ORDER BY process_manager, key;
SELECT * FROM found('secretword');
-- it continues with the state that is there now
SELECT pm.retry(process_manager, log, position) FROM pm.parked WHERE state = 'failing' AND log IS NOT NULL ORDER BY process_manager;
SELECT count(pm.catch_up(n, on_failure => 'policy')) FROM unnest('{byname,keyed,dark}'::text[]) n;
SELECT * FROM found('secretword');

-- ---- refused, or nothing ----------------------------------------------------

SELECT pm.erase('people', 'nobody');
SELECT pm.erase(NULL, 'ann');
SELECT pm.erase('people', NULL);
SELECT pm.erase('nosuch', 'ann');
CREATE ROLE regress_pm_stranger;
GRANT USAGE ON SCHEMA pm TO regress_pm_stranger;
GRANT ALL ON people TO regress_pm_stranger;
SET ROLE regress_pm_stranger;
-- terse: the hint names the superuser, who has another name on each server
\set VERBOSITY terse
SELECT pm.erase('people', 'ann');
\set VERBOSITY default
RESET ROLE;
-- a superuser does not run what the owner of the table has attached to it
ALTER TABLE people OWNER TO regress_pm_stranger;
SELECT pm.erase('people', 'ann');
SET ROLE regress_pm_stranger;
SELECT pm.erase('people', 'bob');
RESET ROLE;
SELECT * FROM found('otherword');
ALTER TABLE people OWNER TO CURRENT_USER;
REVOKE ALL ON people FROM regress_pm_stranger;
REVOKE USAGE ON SCHEMA pm FROM regress_pm_stranger;
DROP ROLE regress_pm_stranger;
BEGIN READ ONLY;
SELECT pm.erase('people', 'ann');
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT pm.erase('people', 'ann');
ROLLBACK;
CREATE FUNCTION erasing(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN PERFORM pm.erase('people', 'ann'); RETURN '{}'; END $$;
SELECT pm.register('erasing', 'erasing', '{people}', start_at => 'beginning');
SELECT pm.catch_up('erasing');

SET client_min_messages = warning;
SELECT count(pm.unregister(name)) FROM pm.process_manager;
DROP FUNCTION found, keep, key_of, halt, erasing;
SELECT pm.drop_log('people');
DROP TABLE people, before, journal_before;
