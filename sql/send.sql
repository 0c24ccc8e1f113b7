-- pm.send: an event to one instance, without a log
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all

SELECT pm.create_log('steps');
SELECT pm.create_log('effects');
CREATE TABLE calls (n serial, pm text, key text, type text, log text, version bigint, state jsonb, data jsonb, metadata jsonb);
CREATE FUNCTION note(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO calls (key, type, log, version, state, data, metadata) VALUES (e.stream, e.type, e.log, e.version, s, e.data, e.metadata);
	IF e.data ? 'fail' THEN RAISE EXCEPTION 'no'; END IF;
	IF e.data ? 'timer' THEN PERFORM pm.set_timer('ring', '2100-01-01'); END IF;
	IF e.data ? 'cancel' THEN PERFORM pm.set_timer('kept', pm.cancel_timer('ring')::text::date); END IF;
	IF e.data ? 'send' THEN PERFORM pm.send('m', 'other', 'from handler', '{"n": 1}'); END IF;
	IF e.data ? 'append' THEN PERFORM pm.append('effects', 'e', 'caused'); END IF;
	IF e.data ? 'done' THEN RETURN pm.done(); END IF;
	IF e.data ? 'ignore' THEN RETURN NULL; END IF;
	RETURN jsonb_build_object('n', coalesce((s ->> 'n')::int, 0) + 1);
END $$;
CREATE FUNCTION plain(e pm.event) RETURNS void LANGUAGE sql AS '';
SELECT pm.register('m', 'note', '{steps}', start_at => 'end', types => '{step}', journal => true, backoff => '1 h');

-- ---- what is handled --------------------------------------------------------

-- no instance; types does not apply to it; queued, never replaced
SELECT pm.send('m', 'a', 'hello', '{"x": 1}');
SELECT pm.send('m', 'a', 'hello', '{"x": 2}'), pm.send('m', 'b', 'hello');
SELECT pm.append('steps', 'a', 'step') > 0, pm.append('steps', 'a', 'other') > 0;
SELECT pm.catch_up('m');
SELECT key, type, log, version, state, data, metadata = jsonb_build_object('sent_by', current_user) OR log IS NOT NULL AS sent_by FROM calls ORDER BY n;
SELECT count(*) FROM pm_catalog.sent;
SELECT count(*) FROM pm.timer;
SELECT key, seq, log, type, state, by = current_user AS by FROM pm.journal ORDER BY key, seq;
-- it is not a timer: set_timer, cancel_timer and the end of the instance do not affect it
TRUNCATE calls;
SELECT pm.send('m', 'a', 'ring', '{"timer": 1}');
SELECT pm.catch_up('m');
SELECT type, due > '2099-01-01' AS later FROM pm.timer;
BEGIN;
SELECT pm.send('m', 'a', 'ring', '{"timer": 1}'), pm.send('m', 'a', 'ring', '{"done": 1}'), pm.send('m', 'a', 'ring', '{"x": 3}');
SELECT pm.catch_up('m', max_count => 1);
SELECT type, count(*) FROM pm.timer GROUP BY type;
SELECT pm.catch_up('m', max_count => 1);
SELECT count(*) FROM pm.timer;
SELECT pm.catch_up('m');
SELECT key, type, state, data FROM calls ORDER BY n;
ROLLBACK;
-- from a handler, also to its own process manager, and what that has caused
TRUNCATE calls;
SELECT pm.append('steps', 'c', 'step', '{"send": 1}', '{"correlation": "x"}') AS pos \gset
SELECT pm.catch_up('m');
SELECT key, type, state, metadata -> 'causation' = jsonb_build_object('log', 'steps', 'position', :pos) AS caused, metadata -> 'correlation' AS correlation FROM calls WHERE type = 'from handler';
SELECT pm.send('m', 'c', 'go', '{"append": 1}');
SELECT pm.catch_up('m');
SELECT metadata FROM effects;
-- a key that is stored as its hash
SELECT pm.send('m', repeat('k', 2000), 'long');
SELECT pm.catch_up('m');
SELECT pm.send('m', key, 'again') FROM pm.instance WHERE key LIKE 'sha256:%';
SELECT pm.catch_up('m');
SELECT state FROM pm.instance WHERE key LIKE 'sha256:%';

-- ---- order ------------------------------------------------------------------

TRUNCATE calls;
DO $$ BEGIN PERFORM pm.send('m', 'o' || i % 3, 'n', jsonb_build_object('i', i)) FROM generate_series(1, 2500) i; END $$;
SELECT pm.catch_up('m');
SELECT key, count(*), bool_and(ordered) AS ordered FROM (SELECT key, (data ->> 'i')::int > coalesce(lag((data ->> 'i')::int) OVER (PARTITION BY key ORDER BY n), 0) AS ordered FROM calls) c GROUP BY key ORDER BY key;
-- among the events: by time
TRUNCATE calls;
INSERT INTO steps (stream, type, recorded_at) VALUES ('t', 'step', now() - interval '1 s'), ('t', 'step', now() + interval '1 h');
SELECT pm.send('m', 't', 'between');
SELECT pm.catch_up('m');
SELECT type, state FROM calls ORDER BY n;
-- whatever pm.now() is
BEGIN;
SELECT pm.send('m', 't', 'early');
SELECT pm.catch_up('m', as_of => '2000-01-01');
SELECT handled_at = '2000-01-01' AS then FROM pm.journal WHERE type = 'early';
ROLLBACK;

-- ---- failures ---------------------------------------------------------------

TRUNCATE calls;
SELECT pm.send('m', 'f', 'bad', '{"fail": 1}'), pm.send('m', 'f', 'next', '{"x": 1}'), pm.send('m', 'g', 'fine');
SELECT pm.append('steps', 'f', 'step') > 0;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT key, log, state, (event).type, (event).version, (event).data, attempts, message FROM pm.parked ORDER BY (event).type;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT pm.discard('m', log, "position") FROM pm.parked WHERE state = 'failing';
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT key, seq, log, type, by = current_user AS by FROM pm.journal WHERE key = 'f' ORDER BY seq;
SELECT count(*) FROM pm.parked;

-- ---- undone and refused -----------------------------------------------------

BEGIN;
SELECT pm.send('m', 'u', 'undone');
SELECT pm.catch_up('m');
ROLLBACK;
SELECT pm.catch_up('m');
SELECT count(*) FROM pm.instance WHERE key = 'u';
SELECT pm.send(NULL, 'a', 't');
SELECT pm.send('m', NULL, 't');
SELECT pm.send('m', 'a', NULL);
SELECT pm.send('m', 'a', '');
SELECT pm.send('m', 'a', repeat('t', 1001));
SELECT pm.send('nobody', 'a', 't');
SELECT pm.register('plain', 'plain', '{steps}', start_at => 'end');
SELECT pm.send('plain', 'a', 't');
CREATE ROLE regress_pm_stranger;
GRANT USAGE ON SCHEMA pm TO regress_pm_stranger;
SET ROLE regress_pm_stranger;
SELECT pm.send('m', 'a', 't');
RESET ROLE;
REVOKE USAGE ON SCHEMA pm FROM regress_pm_stranger;
DROP ROLE regress_pm_stranger;
-- while a sent event waits, the kind of handler cannot change, but the number of lanes can; reset removes the event
SELECT pm.send('m', 'w', 'waits');
SELECT pm.register('m', 'plain', '{steps}');
CREATE FUNCTION run(name text) RETURNS bigint LANGUAGE sql AS 'SELECT pm.catch_up(name)';
SELECT pm.alter('m', lanes => 3);
DO $$ BEGIN PERFORM pm.send('m', 'w' || i, 'lanes') FROM generate_series(1, 20) i; END $$;
SELECT pm.catch_up('m');
SELECT count(*) FROM pm.instance WHERE key LIKE 'w%';
SELECT pm.send('m', 'w', 'gone');
SELECT pm.seek('m', 'steps', 0, true);
SELECT pm.seek('m', 'steps', (SELECT max(position) FROM steps));
SELECT pm.catch_up('m');
SELECT pm.send('m', 'w', 'gone');
SELECT pm.unregister(name) FROM pm.process_manager ORDER BY name;
SELECT count(*) FROM pm_catalog.sent;

DROP FUNCTION note, plain, run;
SELECT pm.drop_log(name) FROM pm.log ORDER BY name;
DROP TABLE steps, effects, calls;
