-- pm.register: every argument, who may call it, and where process managers start
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all

SELECT pm.create_log('orders');
SELECT pm.create_log('payments');
CREATE FUNCTION handle(e pm.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
CREATE FUNCTION handle_all(e pm.event[]) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
CREATE FUNCTION key_of(e pm.event) RETURNS text LANGUAGE sql AS 'SELECT e.type';

-- ---- what it stores ---------------------------------------------------------

SELECT pm.register('m', 'handle', '{orders}');
SELECT name, owner = current_user AS mine, handler, logs, correlate, types, on_failure, max_attempts, backoff, handler_timeout, batch_size, lanes, park_limit, paused FROM pm.process_manager;
SELECT process_manager, log, lane, "position" FROM pm.cursor;
-- again, with every argument: the settings change, the cursor stays
SELECT pm.append('orders', 'o', 't'), pm.append('orders', 'o', 't');
SELECT pm.seek('m', 'orders', 1);
SELECT pm.register(name => 'm', handler => 'public.handle_all(pm.event[])', logs => '{payments,ORDERS,orders}', correlate => 'key_of', types => '{A,B}',
	start_at => 'end', on_failure => 'halt', max_attempts => 2, backoff => '2 s', handler_timeout => '3 s', batch_size => 7, lanes => 1, park_limit => 9);
SELECT name, handler, logs, correlate, types, on_failure, max_attempts, backoff, handler_timeout, batch_size, lanes, park_limit FROM pm.process_manager;
SELECT process_manager, log, lane, "position" FROM pm.cursor ORDER BY log;
-- an omitted argument gets its default; an omitted log is an error
SELECT pm.register('m', 'handle', '{orders}');
SELECT pm.register('m', 'handle', '{orders,payments}');
SELECT name, handler, logs, correlate, types, on_failure, max_attempts, backoff, handler_timeout, batch_size, lanes, park_limit FROM pm.process_manager;
SELECT process_manager, log, lane, "position" FROM pm.cursor ORDER BY log;
-- a paused process manager stays paused
SELECT pm.pause('m');
SELECT pm.register('m', 'handle', '{orders,payments}');
SELECT name, paused FROM pm.process_manager;
SELECT pm.unregister('m');

-- ---- invalid values ---------------------------------------------------------

SELECT pm.register(NULL, 'handle', '{orders}');
SELECT pm.register('', 'handle', '{orders}');
SELECT pm.register(repeat('x', 64), 'handle', '{orders}');
SELECT pm.register('m', '', '{orders}');
SELECT pm.register('m', 'handle', NULL);
SELECT pm.register('m', 'handle', '{}');
SELECT pm.register('m', 'handle', '{orders,NULL}');
SELECT pm.register('m', 'handle', '{nosuch}');
SELECT pm.register('m', 'handle', '{orders}', correlate => 'nosuch');
SELECT pm.register('m', 'handle', '{orders}', types => '{A,NULL}', start_at => 'end');
SELECT pm.register('m', 'handle', '{orders}', on_failure => NULL);
SELECT pm.register('m', 'handle', '{orders}', on_failure => 'skip');
SELECT pm.register('m', 'handle', '{orders}', on_failure => 'HALT');
SELECT pm.register('m', 'handle', '{orders}', max_attempts => NULL);
SELECT pm.register('m', 'handle', '{orders}', max_attempts => 0);
SELECT pm.register('m', 'handle', '{orders}', max_attempts => -1);
SELECT pm.register('m', 'handle', '{orders}', backoff => NULL);
SELECT pm.register('m', 'handle', '{orders}', backoff => '-1 s');
SELECT pm.register('m', 'handle', '{orders}', backoff => '1 month');
SELECT pm.register('m', 'handle', '{orders}', backoff => '25 hours');
SELECT pm.register('m', 'handle', '{orders}', handler_timeout => NULL);
SELECT pm.register('m', 'handle', '{orders}', handler_timeout => '0');
SELECT pm.register('m', 'handle', '{orders}', handler_timeout => '10 us');
SELECT pm.register('m', 'handle', '{orders}', handler_timeout => '-1 s');
SELECT pm.register('m', 'handle', '{orders}', handler_timeout => '2 days');
SELECT pm.register('m', 'handle', '{orders}', batch_size => NULL);
SELECT pm.register('m', 'handle', '{orders}', batch_size => 0);
SELECT pm.register('m', 'handle', '{orders}', batch_size => 100001);
SELECT pm.register('m', 'handle', '{orders}', lanes => NULL);
SELECT pm.register('m', 'handle', '{orders}', lanes => 0);
SELECT pm.register('m', 'handle', '{orders}', park_limit => NULL);
SELECT pm.register('m', 'handle', '{orders}', park_limit => 0);
SELECT count(*) FROM pm.process_manager;
-- the limits
SELECT pm.register(repeat('x', 63), 'handle', '{orders}', start_at => 'end', max_attempts => 1, backoff => '0', handler_timeout => '1 ms', batch_size => 1, park_limit => 1);
SELECT pm.register(repeat('x', 63), 'handle', '{orders}', max_attempts => 1000000, backoff => '24 hours', handler_timeout => '24 hours', batch_size => 100000, park_limit => 2147483647);
SELECT length(name), max_attempts, backoff, handler_timeout, batch_size, park_limit FROM pm.process_manager;
SELECT pm.unregister(repeat('x', 63));

-- ---- start_at ---------------------------------------------------------------

UPDATE orders SET recorded_at = '2026-01-01 00:00 UTC'::timestamptz + "position" * interval '1 hour';
SELECT pm.append('orders', 'o', 't');
UPDATE orders SET recorded_at = '2026-01-01 03:00 UTC' WHERE "position" = 3;
SELECT pm.register('m', 'handle', '{orders}');
SELECT pm.register('m', 'handle', '{payments}');					-- not needed for an empty log
SELECT pm.register('m', 'handle', '{payments,orders}');			-- needed for a new log that has events
SELECT pm.register('m', 'handle', '{payments,orders}', start_at => 'somewhere');
SELECT pm.register('m', 'handle', '{payments,orders}', start_at => '');
SELECT pm.register('m', 'handle', '{payments,orders}', start_at => '-1');
SELECT pm.register('m', 'handle', '{payments,orders}', start_at => '4');
SELECT pm.register('m', 'handle', '{payments,orders}', start_at => '99999999999999999999');
SELECT pm.register('m', 'handle', '{payments,orders}', start_at => '1.5');
SELECT logs FROM pm.process_manager;
SELECT pm.unregister('m');
CREATE FUNCTION starts(start_at text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE result bigint;
BEGIN
	PERFORM pm.register('starter', 'handle', '{orders}', start_at => starts.start_at);
	SELECT "position" INTO result FROM pm.cursor WHERE process_manager = 'starter';
	PERFORM pm.unregister('starter');
	RETURN result;
END $$;
SELECT s AS start_at, starts(s) FROM unnest(ARRAY['beginning', 'end', '0', '1', '2', '3',
	'2025-12-31 00:00 UTC', '2026-01-01 01:00 UTC', '2026-01-01 01:30 UTC', '2026-01-01 03:00 UTC', '2026-01-01 03:01 UTC', 'infinity', '-infinity', 'now']) s;
-- events that are not yet below the mark are handled, even with start_at => 'end'
BEGIN;
SELECT pm.append('orders', 'o', 'own');
SELECT starts('end') AS own_may_be_passed_over, starts('2026-01-01 02:30 UTC') AS two;
ROLLBACK;

-- ---- the handler ------------------------------------------------------------

CREATE SCHEMA other;
CREATE FUNCTION other.handle(e pm.event) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION public.either(e pm.event) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION public.either(e pm.event[]) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION public.either(e text) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION public."Odd Name"(e pm.event) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION no_argument() RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION other_argument(e jsonb) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION two_arguments(e pm.event, i int) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION a_set(e pm.event) RETURNS SETOF int LANGUAGE sql AS 'SELECT 1';
CREATE PROCEDURE a_procedure(e pm.event) LANGUAGE sql AS '';
CREATE FUNCTION defaulted(e pm.event, i int DEFAULT 5) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION many(VARIADIC e pm.event[]) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION anything(e anyelement) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION an_output(e pm.event, OUT i int) LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION a_trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
SELECT pm.register('m', 'nosuch', '{payments}');
SELECT pm.register('m', 'either', '{payments}');
SELECT pm.register('m', 'either(pm.event[])', '{payments}');
SELECT handler FROM pm.process_manager;
SELECT pm.register('m', 'public.either(pm.event)', '{payments}');
SELECT handler FROM pm.process_manager;
SELECT pm.register('m', 'either(text)', '{payments}');
SELECT pm.register('m', 'either(nosuch)', '{payments}');
SELECT pm.register('m', 'HANDLE', '{payments}');
SELECT pm.register('m', 'other.handle', '{payments}');
SELECT handler FROM pm.process_manager;
SELECT pm.register('m', '"Odd Name"', '{payments}');
SELECT handler FROM pm.process_manager;
SELECT pm.register('m', 'Odd Name', '{payments}');
SELECT pm.register('m', 'nowhere.handle', '{payments}');
SELECT pm.register('m', 'no_argument', '{payments}');
SELECT pm.register('m', 'no_argument()', '{payments}');
SELECT pm.register('m', 'other_argument', '{payments}');
SELECT pm.register('m', 'two_arguments', '{payments}');
SELECT pm.register('m', 'a_set', '{payments}');
SELECT pm.register('m', 'a_procedure', '{payments}');
SELECT pm.register('m', 'defaulted', '{payments}');
SELECT pm.register('m', 'many', '{payments}');
SELECT pm.register('m', 'anything', '{payments}');
SELECT pm.register('m', 'an_output', '{payments}');
SELECT pm.register('m', 'a_trigger', '{payments}');
-- found along the search_path, stored with its schema
SET search_path = other, public;
SELECT pm.register('m', 'handle', '{payments}');
RESET search_path;
SELECT handler FROM pm.process_manager;
SELECT pm.unregister('m');

-- ---- who may call it --------------------------------------------------------

CREATE ROLE regress_pm_nologin;
CREATE ROLE regress_pm_alice LOGIN;
CREATE ROLE regress_pm_bob LOGIN;
CREATE ROLE regress_pm_team LOGIN;
GRANT regress_pm_team TO regress_pm_bob;
GRANT USAGE ON SCHEMA pm TO PUBLIC;
GRANT CREATE ON SCHEMA public TO regress_pm_alice;
SET ROLE regress_pm_nologin;
SELECT pm.register('m', 'handle', '{payments}');
RESET ROLE;
SET ROLE regress_pm_alice;
SELECT pm.register('m', 'handle', '{payments}');				-- no SELECT
RESET ROLE;
GRANT SELECT ON payments TO regress_pm_alice, regress_pm_team;
REVOKE EXECUTE ON FUNCTION handle(pm.event) FROM PUBLIC;
SET ROLE regress_pm_alice;
SELECT pm.register('m', 'handle', '{payments}');				-- no EXECUTE
CREATE FUNCTION alices(e pm.event) RETURNS void LANGUAGE sql AS '';
SELECT pm.register('m', 'alices', '{payments}');
SELECT owner FROM pm.process_manager;
RESET ROLE;
-- a superuser's process manager cannot use a function that alice can replace
CREATE ROLE regress_pm_super LOGIN SUPERUSER;
SET ROLE regress_pm_super;
SELECT pm.register('supers', 'alices', '{payments}');
RESET ROLE;
DROP ROLE regress_pm_super;
ALTER FUNCTION alices(pm.event) OWNER TO regress_pm_bob;
SELECT pm.register('m', 'alices', '{payments}');				-- by a superuser: alice stays the owner
SELECT name, owner FROM pm.process_manager;
-- a name of another role
SET ROLE regress_pm_bob;
SELECT pm.register('m', 'alices', '{payments}');
SELECT pm.pause('m');
SELECT name FROM pm.process_manager;
-- a member of the owner's role
RESET ROLE;
SET ROLE regress_pm_team;
SELECT pm.register('team', 'alices', '{payments}');
RESET ROLE;
SET ROLE regress_pm_bob;
SELECT pm.register('team', 'alices', '{payments}', batch_size => 5);
SELECT name, owner, batch_size FROM pm.process_manager;
RESET ROLE;
REVOKE CONNECT ON DATABASE :"DBNAME" FROM PUBLIC;
SET ROLE regress_pm_alice;
SELECT pm.register('m', 'alices', '{payments}');
RESET ROLE;
GRANT CONNECT ON DATABASE :"DBNAME" TO PUBLIC;
-- row level security
ALTER TABLE payments ENABLE ROW LEVEL SECURITY;
SET ROLE regress_pm_bob;
SELECT pm.unregister('team');
RESET ROLE;
SET ROLE regress_pm_team;
SELECT pm.register('team', 'alices', '{payments}');
RESET ROLE;
ALTER TABLE payments DISABLE ROW LEVEL SECURITY;
SELECT pm.unregister(name) FROM pm.process_manager;

-- ---- in a transaction -------------------------------------------------------

BEGIN;
SELECT pm.register('passing', 'handle', '{payments}');
ROLLBACK;
SELECT count(*) FROM pm.process_manager;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT pm.register('m', 'handle', '{payments}');
ROLLBACK;
BEGIN READ ONLY;
SELECT pm.register('m', 'handle', '{payments}');
ROLLBACK;
-- a log with a problem
ALTER TABLE payments DISABLE TRIGGER pm_before_write;
SELECT pm.register('m', 'handle', '{payments}');
SELECT pm.create_log('payments');
SELECT count(*) FROM pm.process_manager;
-- a warning: no worker will run it
SET client_min_messages = warning;
SELECT pm.register('m', 'handle', '{payments}');
SELECT pm.unregister('m');

DROP OWNED BY regress_pm_nologin, regress_pm_alice, regress_pm_bob, regress_pm_team;
DROP ROLE regress_pm_nologin, regress_pm_alice, regress_pm_bob, regress_pm_team;
REVOKE USAGE ON SCHEMA pm FROM PUBLIC;
SELECT pm.drop_log('orders'), pm.drop_log('payments');
DROP TABLE orders, payments;
DROP FUNCTION handle(pm.event), handle_all(pm.event[]), key_of(pm.event), starts(text), either(pm.event), either(pm.event[]), either(text), "Odd Name"(pm.event),
	no_argument(), other_argument(jsonb), two_arguments(pm.event, int), a_set(pm.event), defaulted(pm.event, int), many(pm.event[]),
	anything(anyelement), an_output(pm.event), a_trigger();
DROP PROCEDURE a_procedure(pm.event);
DROP SCHEMA other CASCADE;
