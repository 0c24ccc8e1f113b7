-- pm.stat: what is counted, and what is not
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
-- a batch ends only after batch_size events, even on a slow machine
ALTER SYSTEM SET pm.batch_duration = '1h';
\i :no_workers
\set ECHO all

SELECT pm.create_log('orders');
CREATE TABLE seen (n serial, pos bigint);
CREATE FUNCTION handle(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO seen (pos) VALUES (e.position);
	CASE e.type
		WHEN 'Slow' THEN PERFORM pg_sleep(0.02);
		WHEN 'Bad' THEN RAISE EXCEPTION 'bad';
		WHEN 'Never' THEN PERFORM pm.fail_permanently('never');
		WHEN 'Later' THEN PERFORM pm.defer('1 h');
		ELSE NULL;
	END CASE;
END $$;
SELECT pm.register('m', 'handle', '{orders}', start_at => 'beginning', batch_size => 4, backoff => '1 h');
CREATE VIEW counted AS SELECT process_manager AS pm, lane, events, calls, batches, failures, conflicts, deferred, failing, behind, dead, timers, timers_overdue AS overdue,
	oldest_unhandled >= '0' AS unhandled, total_time >= max_time AS total, max_time >= 0 AS max FROM pm.stat;
CREATE TEMP TABLE t AS SELECT now() AS began;

-- nothing is counted yet: reset_at is the time of registration
SELECT * FROM counted;
SELECT reset_at = (SELECT registered_at FROM pm.process_manager) AS registered FROM pm.stat;
SELECT count(pm.append('orders', 'o-' || i, 'Placed')) FROM generate_series(1, 10) i;
SELECT * FROM counted;
SELECT pm.catch_up('m');
SELECT * FROM counted;

-- counted when the transaction commits
SELECT count(pm.append('orders', 'o-' || i, 'Placed')) FROM generate_series(1, 3) i;
BEGIN;
SELECT pm.catch_up('m');
SELECT events FROM pm.stat;
ROLLBACK;
SELECT * FROM counted;
BEGIN;
SAVEPOINT a;
SELECT pm.catch_up('m', max_count => 1);
ROLLBACK TO a;
SAVEPOINT b;
SELECT pm.catch_up('m', max_count => 2);
RELEASE b;
SAVEPOINT c;
SAVEPOINT d;
SELECT pm.catch_up('m');
RELEASE d;
ROLLBACK TO c;
SELECT pm.catch_up('m', max_count => 1);
COMMIT;
SELECT events, calls FROM counted;

-- times
SELECT pm.append('orders', 'o-1', 'Slow');
SELECT pm.catch_up('m');
SELECT max_time >= 20 AS longest, total_time >= 20 AS in_all, max_time < 100000 AS sane FROM pm.stat;

-- failures: what was rolled back counts only as such
SELECT pm.stat_reset('m');
SELECT events, calls, batches, total_time, max_time, failures, conflicts, reset_at > (SELECT began FROM t) AS now FROM pm.stat;
SELECT pm.append('orders', 'o-1', 'Bad'), pm.append('orders', 'o-1', 'Placed'), pm.append('orders', 'o-2', 'Never'), pm.append('orders', 'o-3', 'Later'), pm.append('orders', 'o-4', 'Placed');
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT * FROM counted;
SELECT pm.discard('m');
SELECT deferred, failing, behind, dead FROM pm.stat;
-- raised: nothing is recorded
SELECT pm.append('orders', 'o-5', 'Bad');
SELECT pm.catch_up('m');
SELECT events, calls, failures FROM pm.stat;
SELECT oldest_unhandled < '1 h' AS age FROM pm.stat;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT events, calls, failures, failing FROM pm.stat;

-- any time can be in a log
BEGIN;
SELECT pm.create_log('odd');
INSERT INTO odd (stream, type, recorded_at) VALUES ('s', 't', '-infinity');
SELECT pm.register('odd', 'handle', '{odd}', start_at => 'beginning');
SELECT oldest_unhandled FROM pm.stat WHERE process_manager = 'odd';
SELECT oldest_unhandled, oldest_age, lag, lag_events FROM pm.status WHERE process_manager = 'odd';
DELETE FROM odd;
INSERT INTO odd (stream, type, recorded_at) SELECT 's', 't', 'infinity' FROM generate_series(1, 1003);
SELECT oldest_unhandled FROM pm.stat WHERE process_manager = 'odd';
SELECT oldest_unhandled, oldest_age, lag, lag_events FROM pm.status WHERE process_manager = 'odd';
ROLLBACK;
SELECT log, lag, lag_events, oldest_age >= '0' AS age FROM pm.status;

-- arrays, instances with timers, several instances
CREATE FUNCTION many(e pm.event[]) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION keep(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF e.type = 'Remind' THEN RETURN pm.done(); END IF;
	PERFORM pm.set_timer('Remind', pm.now() + CASE e.type WHEN 'Slow' THEN interval '1 h' ELSE '-1 s' END);
	RETURN '{}';
END $$;
CREATE FUNCTION two_keys(e pm.event) RETURNS text[] IMMUTABLE LANGUAGE sql AS $$ SELECT ARRAY[e.stream, 'all'] $$;
SELECT pm.register('many', 'many', '{orders}', start_at => 'beginning', batch_size => 5);
SELECT pm.register('keep', 'keep', '{orders}', start_at => 'beginning', types => '{Slow,Later}');
SELECT pm.register('two', 'handle', '{orders}', start_at => 'beginning', types => '{Placed}', correlate => 'two_keys');
SELECT pm.catch_up();
SELECT pm, events, calls, batches >= 1 AS batches, timers, overdue FROM counted WHERE pm <> 'm' ORDER BY pm;
SELECT pm.send('keep', 'o-1', 'Remind');
SELECT timers, timers_overdue FROM pm.stat WHERE process_manager = 'keep';
SELECT pm.catch_up('keep');
SELECT events, calls, timers FROM counted WHERE pm = 'keep';

-- a rehearsal does not count
SELECT count(*) FROM pm.rehearse('many', log => 'orders');
SELECT count(*), sum(events) FROM pm.stat WHERE process_manager IN ('many', '');

-- lanes: the sum stays
SELECT pm.register('lanes', 'handle', '{orders}', start_at => 'beginning', types => '{Placed}', lanes => 4);
SELECT pm.catch_up('lanes');
SELECT count(*), sum(events) = (SELECT count(*) FROM orders WHERE type = 'Placed') AS all, max(events) < sum(events) AS shared FROM pm.stat WHERE process_manager = 'lanes';
BEGIN;
SELECT pm.alter('lanes', lanes => 2);
ROLLBACK;
SELECT count(*), sum(events) = (SELECT count(*) FROM orders WHERE type = 'Placed') AS all FROM pm.stat WHERE process_manager = 'lanes';
SELECT pm.alter('lanes', lanes => 2);
SELECT count(*), sum(events) = (SELECT count(*) FROM orders WHERE type = 'Placed') AS all FROM pm.stat WHERE process_manager = 'lanes';
SELECT pm.alter('lanes', lanes => 3);
SELECT lane, events > 0 AS counted FROM pm.stat WHERE process_manager = 'lanes' ORDER BY lane;

-- a process manager is unregistered, and another one gets the same name
BEGIN;
SELECT pm.unregister('lanes');
ROLLBACK;
SELECT sum(events) > 0 AS kept FROM pm.stat WHERE process_manager = 'lanes';
SELECT pm.unregister('lanes');
SELECT count(*) FROM pm.stat WHERE process_manager = 'lanes';
SELECT pm.register('lanes', 'handle', '{orders}', start_at => 'beginning', types => '{Slow}', lanes => 4);
SELECT sum(events), sum(calls), sum(batches), sum(total_time), sum(max_time) FROM pm.stat WHERE process_manager = 'lanes';
BEGIN;
SELECT pm.unregister('lanes');
SELECT pm.register('lanes', 'handle', '{orders}', start_at => 'beginning', types => '{Slow}', lanes => 4);
SELECT pm.catch_up('lanes');
COMMIT;
SELECT sum(events) FROM pm.stat WHERE process_manager = 'lanes';
SELECT pm.unregister('lanes');

-- consumers
SELECT pm.register('mailer', NULL, '{orders}', start_at => 'beginning', types => '{Placed}', backoff => '1 h');
SELECT count(*) FROM pm.fetch('mailer', 'c', 3);
SELECT pm.advance('mailer', 'c', 0);
SELECT count(*) FROM pm.fetch('mailer', 'c', 2);
SELECT pm.fail('mailer', 'c', 'orders', 4, 'it is down');
SELECT pm.fail('mailer', 'c', 'orders', 5, NULL, '1 h');
SELECT * FROM counted WHERE pm = 'mailer';
BEGIN;
SELECT count(*) FROM pm.fetch('mailer', 'c', 2);
SELECT pm.advance('mailer', 'c', 0);
ROLLBACK;
SELECT events, batches FROM counted WHERE pm = 'mailer';

-- the functions that PostgreSQL counts
SET track_functions = 'pl';
SELECT pm.append('orders', 'o-9', 'Placed');
SELECT pm.catch_up('m');
SELECT pg_stat_force_next_flush();
SELECT funcname, calls FROM pg_stat_user_functions WHERE funcname = 'handle';
RESET track_functions;

-- removed by a transaction that was prepared, and added again
SELECT pm.register('again', 'handle', '{orders}', start_at => 'beginning', lanes => 2, batch_size => 4, backoff => '1 h');
SELECT pm.catch_up('again', max_count => 1);
SELECT sum(calls) > 0 AS counted FROM pm.stat WHERE process_manager = 'again';
BEGIN;
SELECT pm.unregister('again');
PREPARE TRANSACTION 'stat';
COMMIT PREPARED 'stat';
SELECT pm.register('again', 'handle', '{orders}', start_at => 'beginning', lanes => 2);
SELECT sum(events) AS events, sum(calls) AS calls, sum(batches) AS batches FROM pm.stat WHERE process_manager = 'again';
SELECT pm.unregister('again');

-- who may set them to zero
CREATE ROLE pm_test_other;
CREATE ROLE pm_test_monitor IN ROLE pg_monitor;
GRANT USAGE ON SCHEMA pm TO pm_test_other, pm_test_monitor;
SET ROLE pm_test_other;
SELECT count(*) FROM pm.stat;
SELECT pm.stat_reset('m');
SELECT pm.stat_reset();
SET ROLE pm_test_monitor;
SELECT process_manager, events > 0 AS counted FROM pm.stat ORDER BY 1;
SELECT pm.stat_reset('m');
SELECT pm.stat_reset();
RESET ROLE;
SELECT process_manager, events > 0 AS counted FROM pm.stat ORDER BY 1;
SELECT pm.stat_reset('nobody');
-- at once, whatever the transaction does
BEGIN;
SELECT pm.stat_reset();
ROLLBACK;
SELECT process_manager, events > 0 AS counted FROM pm.stat ORDER BY 1;
SET pm.log_min_duration = 1;
RESET pm.log_min_duration;
SET ROLE pm_test_other;
SET pm.log_min_duration = 1;
RESET ROLE;
DROP OWNED BY pm_test_other, pm_test_monitor;
DROP ROLE pm_test_other, pm_test_monitor;

SELECT pm.unregister(name) FROM pm.process_manager ORDER BY name;
DROP VIEW counted;
DROP FUNCTION handle, many, keep, two_keys;
SELECT pm.drop_log(name) FROM pm.log ORDER BY name;
DROP TABLE orders, seen;
ALTER SYSTEM RESET pm.batch_duration;
SELECT pg_reload_conf();
