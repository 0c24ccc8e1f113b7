-- pm.done(result), pm.ended and pm.journal
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all

SELECT pm.create_log('steps');
SELECT pm.create_log('effects');
-- Does what the data say.
CREATE FUNCTION walk(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	n int := coalesce((s ->> 'n')::int, 0) + 1;
BEGIN
	IF e.data ? 'fail' THEN RAISE EXCEPTION 'no'; END IF;
	IF e.data ? 'ignore' THEN RETURN NULL; END IF;
	IF e.data ? 'append' THEN
		PERFORM pm.append('effects', 'e', 'one');
		BEGIN
			PERFORM pm.append('effects', 'e', 'undone'), pm.set_timer('undone', '2100-01-01');
			RAISE EXCEPTION 'undo';
		EXCEPTION WHEN raise_exception THEN NULL;
		END;
		PERFORM pm.append_all('effects', 'e', '[{"type": "two"}, {"type": "three"}]');
	END IF;
	IF e.data ? 'timer' THEN
		PERFORM pm.set_timer('later', '2100-01-01');
		PERFORM pm.set_timer('ring', e.recorded_at);
	END IF;
	IF e.data ? 'done' THEN RETURN pm.done(e.data -> 'done'); END IF;
	IF e.data ? 'end' THEN RETURN pm.done(); END IF;
	RETURN jsonb_build_object('n', n);
END $$;
-- positions in the log effects depend on which batches were undone, so the types of these events are shown instead
CREATE FUNCTION entries(name text) RETURNS TABLE (key text, life bigint, seq bigint, log text, pos bigint, type text, state jsonb, appended text, timers text) LANGUAGE sql AS $$
	SELECT key, dense_rank() OVER (PARTITION BY key ORDER BY started_at), seq, log, position, type, state,
		(SELECT string_agg(a ->> 'log' || ':' || (SELECT e.type FROM effects e WHERE e.position = (a ->> 'position')::bigint), ' ') FROM jsonb_array_elements(appended) a),
		(SELECT string_agg(t ->> 'type' || ':' || ((t ->> 'due')::timestamptz > now()), ' ') FROM jsonb_array_elements(timers) t)
	FROM pm.journal WHERE process_manager = name ORDER BY key, started_at, seq
$$;

-- ---- what they contain ------------------------------------------------------

SELECT pm.register('w', 'walk', '{steps}', start_at => 'beginning', keep_ended => '1 day', journal => true, batch_size => 3, backoff => '1 h');
SELECT pm.register('off', 'walk', '{steps}', start_at => 'beginning', batch_size => 3, backoff => '1 h');
SELECT pm.register('ends', 'walk', '{steps}', start_at => 'beginning', keep_ended => '1 day', batch_size => 3, backoff => '1 h');
SELECT pm.register('entries', 'walk', '{steps}', start_at => 'beginning', journal => true, backoff => '1 h');
INSERT INTO steps (stream, type, data) VALUES ('a', 'start', '{}'), ('a', 'append', '{"append": 1}'), ('b', 'ignored', '{"ignore": 1}'), ('a', 'timer', '{"timer": 1}'),
	('a', 'end', '{"done": {"total": 7}}'), ('a', 'again', '{}'), ('c', 'fails', '{"fail": 1}'), ('a', 'end', '{"end": 1}'), ('d', 'only', '{"done": "x"}'), ('c', 'behind', '{}'),
	('e', 'start', '{}'), ('e', 'end', '{"done": null}');
SELECT pm.catch_up(name, on_failure => 'policy') FROM unnest('{w,off,ends,entries}'::text[]) name;
SELECT key, state, result, reason, ended_by, started_at <= ended_at AS ordered FROM pm.ended WHERE process_manager = 'w' ORDER BY key, ended_at;
SELECT * FROM entries('w');
SELECT bool_and(started_at <= handled_at AND by IS NULL AND reason IS NULL) AS fits FROM pm.journal;
-- all entries of an instance have the same started_at, and so has pm.ended
SELECT count(*) AS ended, count(j.n) AS with_journal, bool_and(j.n = j.last) AS numbered
FROM pm.ended e LEFT JOIN (SELECT process_manager, key, started_at, count(*) AS n, max(seq) AS last FROM pm.journal GROUP BY 1, 2, 3) j USING (process_manager, key, started_at) WHERE process_manager = 'w';
-- each setting alone; without both, nothing is left
SELECT process_manager, count(*) FROM pm.ended GROUP BY 1 ORDER BY 1;
SELECT process_manager, count(*) FROM pm.journal GROUP BY 1 ORDER BY 1;
-- the size of the batches does not matter
SELECT (SELECT array_agg(e) FROM entries('entries') e) = (SELECT array_agg(e) FROM entries('w') e) AS same;

-- ---- the journal continues --------------------------------------------------

-- from parked events, in the next batch, and after the journal was off
SELECT pm.append('steps', 'f', 'start'), pm.append('steps', 'f', 'more') > 0;
SELECT pm.catch_up('w', on_failure => 'policy');
CREATE OR REPLACE FUNCTION mend() RETURNS void LANGUAGE sql AS $$ UPDATE steps SET data = '{}' WHERE stream = 'c' $$;
SELECT mend(), pm.discard('w', 'steps', 7);
SELECT pm.append('steps', 'f', 'third') > 0;
SELECT pm.catch_up('w', on_failure => 'policy');
SELECT pm.alter('w', journal => false);
SELECT pm.append('steps', 'f', 'silent') > 0;
SELECT pm.catch_up('w', on_failure => 'policy');
SELECT pm.alter('w', journal => true);
SELECT pm.append('steps', 'f', 'fifth') > 0;
SELECT pm.catch_up('w', on_failure => 'policy');
SELECT key, life, seq, pos, type, state FROM entries('w') WHERE key IN ('c', 'f');
-- a read of pm.instance by a handler writes instances in the middle of a batch
CREATE FUNCTION look(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RETURN jsonb_build_object('seen', (SELECT count(*) FROM pm.instance WHERE process_manager = 'look'));
END $$;
SELECT pm.register('look', 'look', '{steps}', start_at => 'beginning', journal => true);
SELECT pm.catch_up('look');
SELECT key, array_agg(seq ORDER BY seq) AS seqs, count(DISTINCT started_at) AS lives FROM pm.journal WHERE process_manager = 'look' GROUP BY key ORDER BY key;

-- ---- pm.done() --------------------------------------------------------------

SELECT pm.done(), pm.done(NULL), pm.done('null'), pm.done('{"a": [1]}'), pm.done('[]'), pm.done('"x"');
-- only as it is
CREATE FUNCTION spoilt(e pm.event, s jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT pm.done('{"a": 1}') || '{"b": 2}' $$;
CREATE FUNCTION merged(e pm.event, s jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT pm.done('{"a": 1}') || '{"result": [2]}' $$;
CREATE FUNCTION two(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN PERFORM pm.done('1'); RETURN pm.done('2'); END $$;
CREATE FUNCTION kept(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN IF s IS NULL THEN RETURN jsonb_build_object('kept', pm.done('1')); END IF; RETURN s -> 'kept'; END $$;
SELECT pm.create_log('done');
SELECT pm.append('done', 's', 'one');
SELECT pm.register('spoilt', 'spoilt', '{done}', start_at => 'beginning');
SELECT pm.catch_up('spoilt');
SELECT pm.register('merged', 'merged', '{done}', start_at => 'beginning', keep_ended => '1 day');
SELECT pm.catch_up('merged');
SELECT pm.register('two', 'two', '{done}', start_at => 'beginning', keep_ended => '1 day');
SELECT pm.catch_up('two');
SELECT pm.register('kept', 'kept', '{done}', start_at => 'beginning');
SELECT pm.catch_up('kept');
SELECT pm.append('done', 's', 'two');
SELECT pm.catch_up('kept');
SELECT process_manager, result FROM pm.ended WHERE process_manager IN ('merged', 'two') ORDER BY 1;

-- ---- at another time --------------------------------------------------------

BEGIN;
INSERT INTO steps (stream, type, data, recorded_at) VALUES ('g', 'timer', '{"timer": 1}', '2099-12-31 08:00 UTC');
SELECT pm.catch_up('w', as_of => '2100-01-02', on_failure => 'policy');
SELECT seq, log IS NULL AS is_timer, type, handled_at, state FROM pm.journal WHERE key = 'g' AND process_manager = 'w' ORDER BY seq;
ROLLBACK;
SELECT count(*) FROM pm.journal WHERE key = 'g';

-- ---- they are removed with what they belong to ------------------------------

SELECT pm.seek('w', 'steps', 0, true);
SELECT count(*) FROM pm.ended WHERE process_manager = 'w';
SELECT count(*) FROM pm.journal WHERE process_manager = 'w';
-- even if nothing else is left
SELECT pm.seek('two', 'done', 0, true);
SELECT count(*) FROM pm.ended WHERE process_manager = 'two';
SELECT pm.catch_up('w', on_failure => 'policy');
SELECT count(*) > 0 AS again FROM pm.journal WHERE process_manager = 'w';
SELECT pm.unregister(name) FROM pm.process_manager ORDER BY name;
SELECT count(*) FROM pm_catalog.ended;
SELECT count(*) FROM pm_catalog.journal;

DROP FUNCTION walk, entries, mend, look, spoilt, merged, two, kept;
SELECT pm.drop_log(name) FROM pm.log ORDER BY name;
DROP TABLE steps, effects, done;
