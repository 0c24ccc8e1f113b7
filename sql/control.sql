-- pm.pause, pm.resume, pm.seek, pm.unfollow, pm.unregister, and what the views show
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all

SELECT pm.create_log('orders');
CREATE SCHEMA sales;
SELECT pm.create_log('sales.payments');
CREATE TABLE handled (n serial, log text, "position" bigint);
CREATE FUNCTION handle(e pm.event) RETURNS void LANGUAGE sql AS $$ INSERT INTO handled (log, "position") VALUES (e.log, e."position") $$;
INSERT INTO orders (stream, type) SELECT 'o-' || i, 'Placed' FROM generate_series(1, 5) i;
SELECT pm.append('sales.payments', 'p-1', 'Paid');
SELECT pm.register('m', 'handle', '{orders,sales.payments}', start_at => 'beginning');
CREATE VIEW s AS SELECT process_manager AS pm, log, lane, "position" AS pos, high_water_mark AS mark, lag, state, reason, hint, attempts, retry_at, handled, errors,
	rate >= 0 AS rated, eta IS NULL OR eta > '0' AS eta_ok, oldest_unhandled IS NOT NULL AS old FROM pm.status;

-- ---- pause and resume -------------------------------------------------------

SELECT * FROM s ORDER BY pm, log;
SELECT pm.pause('m');
SELECT pm.pause('m');
SELECT * FROM s ORDER BY pm, log;
SELECT pm.catch_up('m');
SELECT pm.catch_up();
SELECT pm.resume('m');
SELECT pm.resume('m');
SELECT paused FROM pm.process_manager;
SELECT pm.catch_up('m', max_count => 2);
SELECT * FROM s ORDER BY pm, log;
SELECT pm.catch_up('m');
SELECT * FROM s ORDER BY pm, log;
SELECT process_manager, log, lane, "position", moved_at <= clock_timestamp() AS moved FROM pm.cursor ORDER BY log;
BEGIN;
SELECT pm.pause('m');
ROLLBACK;
SELECT paused FROM pm.process_manager;
SELECT pm.pause('nobody');
SELECT pm.resume('nobody');
SELECT pm.pause(NULL) IS NULL AS strict;

-- ---- seek -------------------------------------------------------------------

SELECT pm.seek('m', 'orders', 3);
SELECT pm.catch_up();
SELECT array_agg("position" ORDER BY n) FROM handled WHERE log = 'orders';
SELECT pm.seek('m', 'ORDERS', 0);
SELECT pm.seek('m', 'orders', 5);
SELECT pm.catch_up();
SELECT pm.seek('m', 'orders', 6);
SELECT pm.seek('m', 'orders', -1);
SELECT pm.seek('m', 'orders', NULL) IS NULL AS strict;
SELECT pm.seek('m', 'payments', 0);
SELECT pm.seek('m', 'nosuch', 0);
SELECT pm.seek('nobody', 'orders', 0);
-- forward past events that are not below the mark: refused
BEGIN;
SELECT pm.append('orders', 'o-6', 'Placed');
SELECT pm.seek('m', 'orders', 7);
ROLLBACK;
-- forward skips events
SELECT pm.append('orders', 'o-7', 'Placed'), pm.append('orders', 'o-7', 'Paid');
SELECT pm.seek('m', 'orders', 7);
SELECT pm.catch_up();
SELECT array_agg("position" ORDER BY n) FROM handled WHERE log = 'orders';
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pm.seek('m', 'orders', 0);
ROLLBACK;

-- ---- retrying and halted ----------------------------------------------------

CREATE FUNCTION fail(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF e.data ? 'poison' THEN RAISE 'no % today', e.type USING DETAIL = 'it is poison', ERRCODE = 'P0042'; END IF;
	INSERT INTO handled (log, "position") VALUES (e.log, e."position");
END $$;
TRUNCATE handled;
SELECT pm.register('f', 'fail', '{orders}', start_at => 'end', on_failure => 'halt', max_attempts => 3, backoff => '1 hour');
SELECT pm.append('orders', 'good', 'Fish') AS good, pm.append('orders', 'bad', 'Fish', '{"poison": 1}') AS bad, pm.append('orders', 'good', 'Fish') AS behind \gset
SELECT pm.catch_up('f', on_failure => 'policy');
SELECT array_agg("position" = :good) FROM handled;
SELECT process_manager, "position" = :good AS before_it, lag, attempts, retry_at > clock_timestamp() + '50 min' AS later, handled, errors FROM pm.status WHERE process_manager = 'f';
-- not tried before it is due
SELECT pm.catch_up('f', on_failure => 'policy');
SELECT attempts, errors FROM pm.status WHERE process_manager = 'f';
-- other process managers are not delayed
SELECT pm.catch_up('m');
-- registered again it gets three new attempts, and no more
SELECT pm.register('f', 'fail', '{orders}', on_failure => 'halt', max_attempts => 3, backoff => '0');
SELECT attempts, errors FROM pm.status WHERE process_manager = 'f';
CREATE PROCEDURE try_again() LANGUAGE plpgsql AS $$
BEGIN
	WHILE clock_timestamp() < (SELECT retry_at FROM pm.status WHERE process_manager = 'f') LOOP END LOOP;
	PERFORM pm.catch_up('f', on_failure => 'policy');
END $$;
CALL try_again();
SELECT attempts, errors, retry_at IS NOT NULL AS again FROM pm.status WHERE process_manager = 'f';
CALL try_again();
SELECT attempts, errors, retry_at IS NOT NULL AS again FROM pm.status WHERE process_manager = 'f';
CALL try_again();
SELECT process_manager, state, regexp_replace(reason, '\d+', 'N') AS reason, hint, attempts, retry_at, errors FROM pm.status WHERE process_manager = 'f';
SELECT state, log, "position" = :bad AS bad, message, detail, split_part(context, chr(10), 1) AS context, sqlstate FROM pm_catalog.lane WHERE process_manager = 'f';
-- halted: only pm.catch_up with its name raises an error
\set VERBOSITY sqlstate
SELECT pm.catch_up('f');
\set VERBOSITY default
SELECT pm.catch_up();
SELECT pm.resume('f');
SELECT state, reason, attempts, retry_at, errors FROM pm.status WHERE process_manager = 'f';
\set VERBOSITY sqlstate
SELECT pm.catch_up('f');
\set VERBOSITY default
-- the handler is corrected
CREATE OR REPLACE FUNCTION fail(e pm.event) RETURNS void LANGUAGE sql AS $$ INSERT INTO handled (log, "position") VALUES (e.log, e."position") $$;
SELECT pm.catch_up('f');
SELECT "position" IN (:good, :bad, :behind) AS those, count(*) FROM handled WHERE "position" >= :good GROUP BY "position" ORDER BY "position";
SELECT state, attempts, lag FROM pm.status WHERE process_manager = 'f';

-- pm.seek passes the failing event
CREATE OR REPLACE FUNCTION fail(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF e.data ? 'poison' THEN RAISE 'no % today', e.type; END IF;
	INSERT INTO handled (log, "position") VALUES (e.log, e."position");
END $$;
SELECT pm.register('f', 'fail', '{orders}', on_failure => 'halt', max_attempts => 1);
SELECT pm.append('orders', 'bad', 'Meat', '{"poison": 1}') AS bad, pm.append('orders', 'good', 'Meat') AS good \gset
SELECT pm.catch_up('f', on_failure => 'policy');
SELECT state, attempts FROM pm.status WHERE process_manager = 'f';
SELECT pm.seek('f', 'orders', :bad);
SELECT state = 'halted' AS halted, attempts FROM pm.status WHERE process_manager = 'f';
SELECT pm.catch_up('f');
-- pm.resume() without a name resumes everything that the role may resume
SELECT pm.append('orders', 'bad', 'Salt', '{"poison": 1}') AS bad \gset
SELECT pm.catch_up('f', on_failure => 'policy');
SELECT pm.pause('m');
SELECT process_manager, state FROM pm.status ORDER BY process_manager, log;
SELECT pm.resume();
SELECT count(*) FROM pm.status WHERE state IN ('paused', 'halted');
SELECT pm.unregister('f');

-- ---- unfollow, unregister ---------------------------------------------------

SELECT pm.unfollow('m', 'sales.payments');
SELECT pm.unfollow('m', 'sales.payments');
SELECT pm.unfollow('m', 'orders');
SELECT pm.unfollow('m', 'nosuch');
SELECT pm.unfollow('nobody', 'orders');
SELECT log FROM pm.cursor WHERE process_manager = 'm';
-- followed again: start_at says where it begins
SELECT pm.register('m', 'handle', '{orders,sales.payments}');
SELECT pm.register('m', 'handle', '{orders,sales.payments}', start_at => 'end');
SELECT log, "position" FROM pm.cursor WHERE process_manager = 'm' AND log = 'sales.payments';
SELECT pm.unregister('m');
SELECT pm.unregister('m');
SELECT (SELECT count(*) FROM pm.process_manager) + (SELECT count(*) FROM pm.cursor) + (SELECT count(*) FROM pm.status) + (SELECT count(*) FROM pm_catalog.lane) AS left_over;
SELECT pm.drop_log('sales.payments');

-- ---- waiting: problems outside of the process manager -----------------------

SELECT pm.register('w', 'handle', '{orders}', start_at => 'end');
SELECT pm.append('orders', 'o', 'wait') AS pos \gset
ALTER TABLE orders DISABLE TRIGGER pm_before_write;
SELECT pm.catch_up('w');
SELECT pm.catch_up('w', on_failure => 'policy');
SELECT state, errors, high_water_mark IS NOT NULL AS marked, oldest_unhandled IS NULL AS unknown FROM pm.status;
SELECT state, reason FROM pm_catalog.lane;
SELECT pm.create_log('orders');
SELECT pm.catch_up('w', on_failure => 'policy');
SELECT state FROM pm_catalog.lane;
ALTER FUNCTION handle(pm.event) RENAME TO handle_not;
SELECT pm.append('orders', 'o', 'wait') > 0 AS appended;
SELECT pm.catch_up('w');
SELECT pm.catch_up('w', on_failure => 'policy');
SELECT state, reason, hint FROM pm_catalog.lane;
ALTER FUNCTION handle_not(pm.event) RENAME TO handle;
SELECT pm.catch_up('w', on_failure => 'policy');
-- the sequence is set back behind the cursor
SELECT setval('orders_position_seq', 3);
\set VERBOSITY terse
SELECT regexp_replace(pm.catch_up('w')::text, '\d', 'N');
\set VERBOSITY default
SELECT setval('orders_position_seq', (SELECT "position" FROM pm.cursor)) > 0 AS set_again;
SELECT pm.catch_up('w');
-- the table is dropped while the event trigger is disabled
ALTER EVENT TRIGGER pm_after_drop DISABLE;
DROP TABLE orders CASCADE;
ALTER EVENT TRIGGER pm_after_drop ENABLE ALWAYS;
SELECT pm.catch_up('w', on_failure => 'policy');
SELECT state, reason, hint FROM pm_catalog.lane;
SELECT process_manager, log, high_water_mark, lag, oldest_unhandled FROM pm.status;
SELECT pm.unfollow('w', 'orders');
SELECT pm.unregister('w');
SELECT pm.drop_log('orders');

-- ---- who may call them ------------------------------------------------------

SELECT pm.create_log('orders');
CREATE ROLE regress_pm_alice LOGIN;
CREATE ROLE regress_pm_bob LOGIN;
CREATE ROLE regress_pm_chief;
CREATE ROLE regress_pm_monitor;
GRANT USAGE ON SCHEMA pm TO regress_pm_alice, regress_pm_bob, regress_pm_chief, regress_pm_monitor;
GRANT SELECT ON orders TO regress_pm_alice;
GRANT regress_pm_alice TO regress_pm_chief;
GRANT pg_monitor TO regress_pm_monitor;
SET ROLE regress_pm_alice;
SELECT pm.register('a', 'handle', '{orders}');
RESET ROLE;
SELECT pm.register('super', 'handle', '{orders}');
SET ROLE regress_pm_bob;
SELECT pm.pause('a');
SELECT pm.resume('a');
SELECT pm.seek('a', 'orders', 0);
SELECT pm.unfollow('a', 'orders');
SELECT pm.unregister('a');
SELECT pm.resume();
SELECT (SELECT count(*) FROM pm.process_manager), (SELECT count(*) FROM pm.cursor), (SELECT count(*) FROM pm.status), (SELECT count(*) FROM pm.log), (SELECT count(*) FROM pm.worker), (SELECT count(*) FROM pm.blocker);
RESET ROLE;
SET ROLE regress_pm_chief;
SELECT name FROM pm.process_manager;
SELECT pm.pause('a');
SELECT process_manager, state FROM pm.status;
SELECT pm.pause('super');
SELECT pm.resume();
SELECT name, paused FROM pm.process_manager;
RESET ROLE;
SET ROLE regress_pm_monitor;
SELECT process_manager, log, "position" FROM pm.cursor ORDER BY 1;
SELECT process_manager FROM pm.status ORDER BY 1;
SELECT pm.pause('a');
SELECT pm.read('orders');
SELECT * FROM pm_catalog.cursor;
RESET ROLE;
SELECT pm.unregister(name) FROM pm.process_manager;
DROP OWNED BY regress_pm_alice, regress_pm_bob, regress_pm_chief, regress_pm_monitor;
DROP ROLE regress_pm_alice, regress_pm_bob, regress_pm_chief, regress_pm_monitor;

SELECT pm.drop_log('orders');
DROP VIEW s;
DROP TABLE orders, handled;
DROP FUNCTION handle(pm.event), fail(pm.event);
DROP PROCEDURE try_again();
DROP SCHEMA sales CASCADE;
