-- pm.rename_log: another name and schema for a log; process managers, parked events, journals and ids follow
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
SET client_min_messages = notice;
\set ECHO all

CREATE SCHEMA sales;
SELECT pm.create_log('orders');
SELECT pm.create_log('effects');
CREATE FUNCTION handle(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF e.type = 'Bad' THEN RAISE EXCEPTION 'bad'; END IF;
	PERFORM pm.append('effects', e.stream, 'Seen', jsonb_build_object('log', e.log, 'position', e.position));
	RETURN coalesce(s, '[]') || jsonb_build_array(e.log);
END $$;
SET client_min_messages = error;
SELECT pm.register('handle', 'handle', '{orders}', journal => true, keep_ended => '1 day', max_attempts => 1);
SELECT pm.register('mail', NULL, '{orders}', consumers => ARRAY[current_user::text], lease => '1 h');
SELECT pm.append('orders', 'a', 'Good', id => 'one'), pm.append('orders', 'b', 'Bad'), pm.append('orders', 'b', 'Good'), pm.append('orders', 'c', 'Good');
SELECT pm.catch_up('handle', on_failure => 'policy');
SELECT log, position, key FROM pm.fetch('mail', 'me', 2);
SELECT pm.trim('effects', (SELECT max(position) FROM effects WHERE stream = 'a'));

SET client_min_messages = notice;

-- ---- renamed ----------------------------------------------------------------

SELECT pm.rename_log('orders', 'sales.invoices');
SELECT name, "table" FROM pm.log ORDER BY name COLLATE "C";
SELECT to_regclass('orders'), pg_get_serial_sequence('sales.invoices', 'position');
SELECT name, logs, appends_to FROM pm.process_manager ORDER BY name COLLATE "C";
SELECT process_manager, log, position FROM pm.cursor ORDER BY process_manager COLLATE "C";
SELECT process_manager, log, lag, parked FROM pm.status ORDER BY process_manager COLLATE "C";
SELECT log, position, key, state, (event).log AS event_log FROM pm.parked ORDER BY position;
SELECT key, log, position, type FROM pm.journal ORDER BY position;
SELECT log, position, type, status FROM pm.history('handle', 'b');
SELECT log, position, stream FROM pm.read('sales.invoices');
SELECT event_log, position, cause_log, cause_position, depth FROM pm.trace('sales.invoices', 4);
SELECT event_log, position, cause_log, depth FROM pm.trace('effects', (SELECT max(position) FROM effects));
-- an old name still means the log
SELECT pm.append('orders', 'a', 'Good', id => 'one');	-- known
SELECT pm.append('ORDERS', 'd', 'Good'), pm.append('sales.invoices', 'd', 'Good');
SELECT pm.high_water_mark('orders');
SELECT pm.wait_for('handle', 'orders', 1);
-- events come under the new name
SELECT pm.catch_up('handle', on_failure => 'policy');
SELECT state FROM pm.instance WHERE key = 'd';
-- a consumer advances under the old name, and under the new one
SELECT pm.advance('mail', 'me', 0, 'orders', 1);
SELECT pm.advance('mail', 'me', 0, 'sales.invoices', 2);
SELECT log, position, key FROM pm.fetch('mail', 'me', 2);
SELECT pm.fail('mail', 'me', 'sales.invoices', 3, 'no', permanent => true);
SELECT process_manager, log, position, state FROM pm.parked ORDER BY process_manager COLLATE "C", position;
SELECT pm.discard('mail', 'sales.invoices', 3);
-- parked events
SELECT pm.discard('handle', 'sales.invoices', 2);
SELECT pm.catch_up('handle');
SELECT log, position FROM pm.parked;
-- data is erased wherever it is kept
UPDATE sales.invoices SET data = '{"secret": 1}' WHERE stream = 'd';
SELECT pm.erase('sales.invoices', 'd', '{"gone": true}');
SELECT pm.seek('handle', 'sales.invoices', 70);
-- followed under either name
SET client_min_messages = error;
SELECT pm.register('handle', 'handle', '{orders,sales.invoices,effects}', journal => true, keep_ended => '1 day', start_at => 'end');
SELECT logs FROM pm.process_manager WHERE name = 'handle';
SELECT pm.unfollow('handle', 'effects');
SET client_min_messages = notice;

-- ---- names that are taken ---------------------------------------------------

SELECT pm.create_log('orders');
SELECT pm.create_log('sales.invoices');
SELECT pm.rename_log('effects', 'orders');
SELECT pm.rename_log('effects', 'sales.invoices');
SELECT pm.rename_log('sales.invoices', 'effects');
SELECT pm.rename_log('sales.invoices', 'bills');
SELECT pm.rename_log('effects', 'sales.invoices');		-- it was its name
SELECT name, "table" FROM pm.log ORDER BY name COLLATE "C";
SELECT pm.rename_log('bills', 'orders');				-- back
SELECT name, "table" FROM pm.log ORDER BY name COLLATE "C";
SELECT pm.append('sales.invoices', 'x', 'Good') = pm.append('bills', 'x', 'Good') - 1 AS same_log;
-- a schema in which a table already has the old name
CREATE TABLE sales.effects (i int);
SELECT pm.rename_log('effects', 'sales.other');
DROP TABLE sales.effects;
SELECT pm.rename_log('effects', 'sales.effects');
SELECT pm.rename_log('sales.effects', 'more');
SELECT name, "table" FROM pm.log ORDER BY name COLLATE "C";
-- ALTER TABLE leaves the log's name as it is, until pm.rename_log
ALTER TABLE more RENAME TO plenty;
SELECT name, "table" FROM pm.log ORDER BY name COLLATE "C";
SELECT pm.rename_log('more', 'plenty');
SELECT name, "table" FROM pm.log ORDER BY name COLLATE "C";
CREATE TABLE taken (i int);
SELECT pm.rename_log('plenty', 'taken');
SELECT pm.rename_log('plenty', 'two words');
SELECT pm.rename_log('plenty', 'nowhere.x');
SELECT pm.rename_log('plenty', 'pg_temp.x');
SELECT pm.rename_log('nosuch', 'x');
SELECT pm.rename_log(NULL, 'x') IS NULL AS strict;
-- a rename is rolled back with its transaction
BEGIN;
SELECT pm.rename_log('plenty', 'undone');
SELECT name FROM pm.log ORDER BY name COLLATE "C";
ROLLBACK;
SELECT name, "table" FROM pm.log ORDER BY name COLLATE "C";

-- ---- who may ----------------------------------------------------------------

CREATE ROLE regress_pm_other;
GRANT USAGE ON SCHEMA pm TO regress_pm_other;
SET ROLE regress_pm_other;
SELECT pm.rename_log('orders', 'mine');
RESET ROLE;
GRANT SELECT ON plenty TO regress_pm_other;
ALTER TABLE orders OWNER TO regress_pm_other;
SET ROLE regress_pm_other;
SELECT pm.rename_log('orders', 'sales.mine');			-- no CREATE on the schema
RESET ROLE;
ALTER TABLE orders OWNER TO CURRENT_USER;

-- ---- replica logs: their tables keep the name by which subscriptions find them

SELECT pm.create_replica_log('arrived');
SELECT pm.rename_log('arrived', 'from_north');
SELECT name, "table" FROM pm.log WHERE kind = 'replica';
-- also where no table moves, the name is one that the caller could give to a table
SELECT pm.rename_log('from_north', 'taken');
SELECT pm.rename_log('from_north', 'pg_temp.x');
ALTER TABLE arrived OWNER TO regress_pm_other;
SET ROLE regress_pm_other;
SELECT pm.rename_log('from_north', 'sales.squatted');
RESET ROLE;
SELECT pm.drop_log('from_north');

-- ---- dropped: all names are free --------------------------------------------

SELECT pm.unregister('handle'), pm.unregister('mail');
SELECT pm.drop_log('bills');
SELECT log, name FROM pm_catalog.log_alias ORDER BY name COLLATE "C";
DROP TABLE plenty;
SELECT count(*) FROM pm_catalog.log_alias;
SELECT pm.create_log('sales.invoices');
SELECT pm.drop_log('sales.invoices');
DROP TABLE orders, arrived, taken;
DROP FUNCTION handle;
DROP SCHEMA sales CASCADE;
REVOKE USAGE ON SCHEMA pm FROM regress_pm_other;
DROP ROLE regress_pm_other;
