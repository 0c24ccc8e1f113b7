-- pm.end_instance, pm.set_state and pm.history
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all

SELECT pm.create_log('steps');
CREATE FUNCTION count_up(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF e.data ? 'fail' THEN RAISE EXCEPTION 'no'; END IF;
	IF e.data ? 'timer' THEN PERFORM pm.set_timer('later', '2100-01-01'), pm.set_timer('soon', '2099-01-01'); END IF;
	RETURN jsonb_build_object('n', coalesce((s ->> 'n')::int, 0) + 1);
END $$;
CREATE FUNCTION plain(e pm.event) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION history(key text) RETURNS TABLE (seq bigint, log text, pos bigint, type text, handled text, state jsonb, by boolean, reason text, status text) LANGUAGE sql AS $$
	SELECT seq, log, CASE WHEN log IS NOT NULL THEN position END, type, CASE WHEN handled_at > '2090-01-01' THEN handled_at::date::text WHEN handled_at <= now() + interval '2 h' THEN 'now' END,
		state, by = current_user, reason, status FROM pm.history('m', key)
$$;
SELECT pm.register('m', 'count_up', '{steps}', start_at => 'end', journal => true, keep_ended => '1 day', backoff => '1 h');
SELECT pm.register('bare', 'count_up', '{steps}', start_at => 'end', backoff => '1 h');
SELECT pm.append('steps', 'a', 'one') > 0, pm.append('steps', 'a', 'two', '{"timer": 1}') > 0, pm.append('steps', 'b', 'one', '{"fail": 1}') > 0, pm.append('steps', 'b', 'two') > 0;
SELECT pm.catch_up('m', on_failure => 'policy'), pm.catch_up('bare', on_failure => 'policy');

-- ---- pm.set_state -----------------------------------------------------------

SELECT pm.set_state('m', 'a', '{"n": 100}', 'counted by hand');
SELECT pm.append('steps', 'a', 'three') > 0;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT * FROM history('a');
-- without a journal too
SELECT pm.set_state('bare', 'a', '{"n": 7}', 'no journal');
SELECT process_manager, key, seq, type, state, by = current_user AS by, reason FROM pm.journal WHERE process_manager = 'bare';
SELECT state FROM pm.instance WHERE process_manager = 'bare' AND key = 'a';
-- if there is no instance, it begins
SET client_min_messages = notice;
SELECT pm.set_state('m', 'new', '[]', 'begin');
RESET client_min_messages;
SELECT * FROM history('new');

-- ---- pm.end_instance --------------------------------------------------------

SELECT pm.send('m', 'a', 'pending'), pm.send('m', 'b', 'pending');
SELECT * FROM history('a');
SELECT * FROM history('b');
SELECT count(*) FROM pm.timer WHERE key = 'a' AND process_manager = 'm';
SELECT pm.end_instance('m', 'a', 'the customer is gone');
SELECT * FROM history('a');
SELECT count(*) FROM pm.timer WHERE key = 'a' AND process_manager = 'm';
SELECT key, state, result, reason, ended_by = current_user AS by FROM pm.ended;
SELECT pm.end_instance('m', 'b', 'only parked events');
SELECT * FROM history('b');
SELECT count(*) FROM pm.parked WHERE process_manager = 'm';
SELECT count(*) FROM pm.ended;
SELECT pm.append('steps', 'b', 'free') > 0;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT * FROM history('b');
SELECT key, seq, state, count(*) OVER (PARTITION BY key, started_at) AS life FROM pm.journal WHERE process_manager = 'm' AND key = 'a' ORDER BY started_at, seq;
-- without keep_ended, only its entry in the journal is left
SELECT pm.end_instance('bare', 'a', 'gone');
SELECT process_manager, count(*) FROM pm.ended GROUP BY 1;
SELECT seq, state, reason FROM pm.journal WHERE process_manager = 'bare' ORDER BY seq;

-- ---- refused ----------------------------------------------------------------

SELECT pm.end_instance('m', 'nosuch', 'r');
SELECT pm.end_instance('nobody', 'a', 'r');
SELECT pm.end_instance('m', 'b', NULL);
SELECT pm.end_instance(NULL, 'b', 'r');
SELECT pm.end_instance('m', NULL, 'r');
SELECT pm.set_state('m', 'b', NULL, 'r');
SELECT pm.set_state('m', 'b', '{}', NULL);
SELECT pm.register('plain', 'plain', '{steps}', start_at => 'end');
SELECT pm.set_state('plain', 'b', '{}', 'r');
SELECT pm.end_instance('plain', 'b', 'r');
SELECT * FROM pm.history('plain', 'b');
SELECT * FROM pm.history('nobody', 'b');
SELECT * FROM pm.history(NULL, 'b');
-- by its own handler
CREATE FUNCTION meddle(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN PERFORM pm.set_state('meddle', 'x', '{}', 'r'); RETURN '{}'; END $$;
SELECT pm.register('meddle', 'meddle', '{steps}', start_at => 'beginning');
SELECT pm.catch_up('meddle');
-- in a transaction that cannot see what batches have committed, or must not write
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pm.set_state('m', 'b', '{}', 'r');
ROLLBACK;
BEGIN READ ONLY;
SELECT pm.end_instance('m', 'b', 'r');
ROLLBACK;
CREATE ROLE regress_pm_stranger;
GRANT USAGE ON SCHEMA pm TO regress_pm_stranger;
SET ROLE regress_pm_stranger;
SELECT pm.set_state('m', 'b', '{}', 'r');
SELECT pm.end_instance('m', 'b', 'r');
SELECT * FROM pm.history('m', 'b');
RESET ROLE;
REVOKE USAGE ON SCHEMA pm FROM regress_pm_stranger;
DROP ROLE regress_pm_stranger;

-- ---- a long key, and several lanes ------------------------------------------

SELECT pm.alter('m', lanes => 4);
SELECT pm.set_state('m', repeat('k', 1500), '{"long": true}', 'by the key itself');
SELECT pm.set_state('m', key, '{"long": 2}', 'by its name') FROM pm.instance WHERE key LIKE 'sha256:%';
SELECT h.seq, h.state, h.reason FROM pm.history('m', repeat('k', 1500)) h;
DO $$ BEGIN PERFORM pm.set_state('m', 'l' || i, '{}', 'r'), pm.end_instance('m', 'l' || i, 'r') FROM generate_series(1, 20) i; END $$;
SELECT count(*), count(DISTINCT key) FROM pm.journal WHERE key LIKE 'l%';

-- ---- 10,000 entries ---------------------------------------------------------

INSERT INTO steps (stream, type) SELECT 'many', 'step' FROM generate_series(1, 10000);
SELECT pm.alter('m', batch_size => 5000);
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT count(*), min(seq), max(seq), bool_and(seq = (state ->> 'n')::int) AS fits FROM pm.history('m', 'many');

SELECT pm.unregister(name) FROM pm.process_manager ORDER BY name;
DROP FUNCTION count_up, plain, history, meddle;
SELECT pm.drop_log('steps');
DROP TABLE steps;
