-- pm.alter: changes what it names and nothing else
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all

SELECT pm.create_log('orders');
SELECT pm.create_log('payments');
CREATE FUNCTION keep(e pm.event, s jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT coalesce(s, '{}') $$;
CREATE FUNCTION keep_too(e pm.event, s jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT coalesce(s, '{}') $$;
CREATE FUNCTION handle(e pm.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
CREATE FUNCTION key_of(e pm.event) RETURNS text LANGUAGE sql AS 'SELECT e.type';
CREATE FUNCTION firm_key_of(e pm.event) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT e.type';
CREATE VIEW settings AS SELECT p.*, (SELECT jsonb_agg(jsonb_build_array(c.log, c.lane, c."position") ORDER BY c.log, c.lane) FROM pm.cursor c WHERE c.process_manager = p.name) AS cursors
	FROM pm.process_manager p;
-- which settings a change has changed
CREATE FUNCTION changes(change text) RETURNS TABLE (setting text, before text, after text) LANGUAGE plpgsql AS $$
DECLARE
	was jsonb := (SELECT to_jsonb(s) FROM settings s WHERE name = 'm');
	is_now jsonb;
BEGIN
	EXECUTE 'SELECT pm.alter(''m'', ' || change || ')';
	is_now := (SELECT to_jsonb(s) FROM settings s WHERE name = 'm');
	RETURN QUERY SELECT k, was ->> k, is_now ->> k FROM jsonb_object_keys(is_now) k WHERE was -> k IS DISTINCT FROM is_now -> k ORDER BY k;
END $$;

SELECT pm.append('orders', 'o', 't'), pm.append('orders', 'o', 't');
SELECT pm.register('m', 'keep', '{orders}', correlate => 'key_of', types => '{A,B}', start_at => 'end', on_failure => 'halt', max_attempts => 2, backoff => '2 s',
	handler_timeout => '3 s', batch_size => 7, park_limit => 9, keep_ended => '1 month 2 days', journal => true);
SELECT keep_ended, journal FROM pm.process_manager;

-- ---- one setting at a time --------------------------------------------------

SELECT * FROM changes('handler => ''keep_too''');
SELECT * FROM changes('correlate => ''firm_key_of''');
SELECT * FROM changes('types => ''{C}''');
SELECT * FROM changes('on_failure => ''park''');
SELECT * FROM changes('max_attempts => 3');
SELECT * FROM changes('backoff => ''4 s''');
SELECT * FROM changes('handler_timeout => ''5 s''');
SELECT * FROM changes('batch_size => 8');
SELECT * FROM changes('lanes => 2');
SELECT * FROM changes('park_limit => 10');
SELECT * FROM changes('keep_ended => ''1 year''');
SELECT * FROM changes('journal => false');
SELECT * FROM changes('logs => ''{orders,payments}''');
-- nothing, or what it is already
SELECT * FROM changes('NULL');
SELECT * FROM changes('lanes => 2, types => ''{C}''');

-- ---- reset ------------------------------------------------------------------

SELECT * FROM changes('reset => ''{types}''');
SELECT * FROM changes('batch_size => 9, reset => ''{park_limit}''');
-- all of them: the same as a registration that gives none
SELECT pm.alter('m', lanes => 1, journal => true, max_attempts => 1, backoff => '7 s');
SELECT pm.alter('m', reset => '{correlate,types,on_failure,max_attempts,backoff,handler_timeout,batch_size,lanes,park_limit,keep_ended,journal}');
SELECT pm.register('fresh', 'keep_too', '{orders,payments}', start_at => 'end');
SELECT (SELECT to_jsonb(p) - '{name,registered_at}'::text[] FROM pm.process_manager p WHERE name = 'm')
	 = (SELECT to_jsonb(p) - '{name,registered_at}'::text[] FROM pm.process_manager p WHERE name = 'fresh') AS same;

-- ---- what is refused --------------------------------------------------------

SELECT pm.alter(NULL);
SELECT pm.alter('nobody');
SELECT pm.alter('m', reset => '{name}');
SELECT pm.alter('m', reset => '{handler}');
SELECT pm.alter('m', reset => '{start_at}');
SELECT pm.alter('m', reset => '{nosuch}');
SELECT pm.alter('m', reset => '{NULL}');
SELECT pm.alter('m', lanes => 2, reset => '{lanes}');
SELECT pm.alter('m', lanes => 0);
SELECT pm.alter('m', types => '{}');
SELECT pm.alter('m', keep_ended => '-1 s');
SELECT pm.alter('m', keep_ended => '101 years');
SELECT pm.alter('m', logs => '{payments}');
SELECT pm.alter('m', handler => 'nosuch');
-- the correlate function that stays must fit several lanes
SELECT pm.alter('m', correlate => 'key_of');
SELECT pm.alter('m', lanes => 2);
SELECT pm.alter('m', lanes => 2, correlate => 'firm_key_of');
SELECT lanes, correlate FROM pm.process_manager WHERE name = 'm';
-- only instances end and have journals
SELECT pm.register('plain', 'handle', '{orders}', start_at => 'end', keep_ended => '1 day');
SELECT pm.register('plain', 'handle', '{orders}', start_at => 'end', journal => true);
SELECT pm.register('plain', 'handle', '{orders}', start_at => 'end', journal => NULL);
SELECT pm.register('plain', 'handle', '{orders}', start_at => 'end');
SELECT pm.alter('plain', journal => true);
SELECT pm.alter('m', journal => true, keep_ended => '0');
SELECT pm.alter('m', handler => 'handle');
-- the hint helps
SELECT pm.alter('m', handler => 'handle', reset => '{keep_ended,journal}');
SELECT handler FROM pm.process_manager WHERE name = 'm';

-- ---- the functions that are not named stay as they are ----------------------

-- one that is gone does not keep other settings from being changed
DROP FUNCTION handle(pm.event);
SELECT pm.alter('m', park_limit => 5);
SELECT handler, park_limit FROM pm.process_manager WHERE name = 'm';
-- one that another role has replaced is not accepted by changing another setting
CREATE ROLE regress_pm_other;
GRANT USAGE ON SCHEMA pm, public TO regress_pm_other;
CREATE FUNCTION handle(e pm.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
ALTER FUNCTION handle(pm.event) OWNER TO regress_pm_other;
SELECT pm.alter('m', park_limit => 6);
SELECT pm.append('orders', 'o', 't');
-- terse: the hint names the superuser, who has another name on each server
\set VERBOSITY terse
SELECT pm.catch_up('m');
SELECT pm.alter('m', handler => 'handle');
\set VERBOSITY default
ALTER FUNCTION handle(pm.event) OWNER TO CURRENT_USER;
SELECT pm.alter('m', handler => 'handle');
SELECT pm.catch_up('m');
-- a pause stays
SELECT pm.pause('m');
SELECT pm.alter('m', park_limit => 7);
SELECT paused, park_limit FROM pm.process_manager WHERE name = 'm';
-- by a stranger
SET ROLE regress_pm_other;
SELECT pm.alter('m', park_limit => 8);
RESET ROLE;

SELECT pm.unregister(name) FROM pm.process_manager ORDER BY name;
DROP VIEW settings;
DROP FUNCTION changes, keep, keep_too, handle, key_of, firm_key_of;
SELECT pm.drop_log('orders'), pm.drop_log('payments');
DROP TABLE orders, payments;
REVOKE ALL ON SCHEMA pm, public FROM regress_pm_other;
DROP ROLE regress_pm_other;
