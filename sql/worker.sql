-- Workers: they handle events after the commit, retry, halt, and continue after pm.resume.
\set SHOW_CONTEXT never
ALTER SYSTEM RESET pm.launcher;
-- wait for the scheduler, which shows that the setting is in force
DO $$ BEGIN PERFORM pg_reload_conf(); FOR i IN 1 .. 300 LOOP EXIT WHEN EXISTS (SELECT FROM pm.worker WHERE kind = 'scheduler' AND database = current_database()); PERFORM pg_sleep(0.1); END LOOP; END $$;
\connect -
CREATE PROCEDURE wait_until(query text, seconds int DEFAULT 60) LANGUAGE plpgsql AS $$
DECLARE
	result boolean;
BEGIN
	FOR i IN 1 .. seconds * 20 LOOP
		EXECUTE query INTO result;
		EXIT WHEN result;
		COMMIT;
		PERFORM pg_sleep(0.05);
	END LOOP;
	IF result IS NOT TRUE THEN RAISE WARNING 'waited in vain for: %', query; END IF;
END $$;

SELECT pm.create_log('orders'), pm.create_log('payments');
CREATE TABLE handled (n serial, who text, stream text, type text);
CREATE TABLE poison (type text);
CREATE FUNCTION handle(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO handled (who, stream, type) VALUES (CASE WHEN current_user = session_user THEN current_user ELSE 'somebody else' END, e.stream, e.type);
	IF e.type IN (SELECT p.type FROM poison p) THEN RAISE 'no % today', e.type USING DETAIL = 'it is poison'; END IF;
END $$;

-- ---- handled ----------------------------------------------------------------

SELECT pm.register('m', 'handle', '{orders,payments}');
SELECT pm.append('orders', 'o-1', 'Placed'), pm.append('payments', 'o-1', 'Paid');
SELECT pm.wait_for('m', timeout => '60 s');
SELECT who = current_user AS owner, string_agg(type, ' ' ORDER BY type) FROM handled GROUP BY who;
SELECT log, state, lag, handled, errors, reason, hint FROM pm.status ORDER BY log;
SELECT kind, database = current_database() AS here, role = current_user AS mine, process_manager, overdue FROM pm.worker WHERE kind = 'dispatcher' AND database = current_database();
-- many events in one transaction, some rolled back, in order
BEGIN;
INSERT INTO orders (stream, type) SELECT 'bulk', 'b' || i FROM generate_series(1, 500) i;
SAVEPOINT s;
INSERT INTO orders (stream, type) VALUES ('bulk', 'undone');
ROLLBACK TO s;
INSERT INTO orders (stream, type) VALUES ('bulk', 'b501');
COMMIT;
SELECT pm.wait_for('m', 'orders', timeout => '60 s');
SELECT count(*), count(DISTINCT type), array_agg(type ORDER BY n) = array_agg(type ORDER BY substr(type, 2)::int) AS in_order FROM handled WHERE stream = 'bulk';

-- ---- pm.wait_for ------------------------------------------------------------

SELECT pm.wait_for('m', 'payments', 1);
SELECT pm.wait_for('m', up_to => 1);
SELECT pm.wait_for('m', 'nosuch');
SELECT pm.wait_for('nobody');
SELECT pm.wait_for(NULL);
SELECT pm.wait_for('m', 'payments', 99, '100 ms');
BEGIN;
SELECT pm.append('payments', 'own', 'Open') > 0 AS appended;
SELECT pm.wait_for('m', 'payments');
ROLLBACK;

-- ---- paused, resumed --------------------------------------------------------

SELECT pm.pause('m');
SELECT pm.append('payments', 'paused', 'Paid') AS pos \gset
SELECT pm.wait_for('m', 'payments', :pos, '300 ms');
SELECT DISTINCT state, reason, hint FROM pm.status;
SELECT count(*) FROM handled WHERE stream = 'paused';
SELECT pm.resume('m');
SELECT pm.wait_for('m', timeout => '60 s');
SELECT count(*) FROM handled WHERE stream = 'paused';

-- ---- retried, halted, corrected ---------------------------------------------

SELECT pm.register('m', 'handle', '{orders,payments}', on_failure => 'halt', max_attempts => 3, backoff => '50 ms');
INSERT INTO poison VALUES ('Fish');
BEGIN;
SELECT pm.append('orders', 'before', 'Meat') AS before, pm.append('orders', 'bad', 'Fish') AS bad, pm.append('orders', 'behind', 'Meat') AS behind \gset
COMMIT;
CALL wait_until($$ SELECT bool_and(state = 'halted') FROM pm.status $$);
SELECT DISTINCT process_manager, state, replace(reason, :'bad', 'N') AS reason, hint, attempts, retry_at, errors FROM pm.status;
SELECT "position" = :before AS stands_before, lag FROM pm.status WHERE log = 'orders';
SELECT stream, count(*) FROM handled WHERE stream IN ('before', 'bad', 'behind') GROUP BY stream ORDER BY stream;
\set VERBOSITY sqlstate
SELECT pm.wait_for('m', 'orders', :behind);
\set VERBOSITY default
SELECT pm.wait_for('m', 'orders', :before);
-- resumed without a correction it halts again
SELECT pm.resume('m');
CALL wait_until($$ SELECT bool_and(state = 'halted' AND errors = 6) FROM pm.status $$);
DELETE FROM poison;
SELECT pm.resume('m');
SELECT pm.wait_for('m', timeout => '60 s');
SELECT stream, count(*) FROM handled WHERE stream IN ('before', 'bad', 'behind') GROUP BY stream ORDER BY stream;
SELECT log, lag, state, attempts, reason FROM pm.status ORDER BY log;

-- retrying, with the time of the next attempt
SELECT pm.register('m', 'handle', '{orders,payments}', on_failure => 'halt', max_attempts => 3, backoff => '1 hour');
INSERT INTO poison VALUES ('Fish');
SELECT pm.append('orders', 'bad', 'Fish') AS bad \gset
CALL wait_until($$ SELECT bool_and(state = 'retrying') FROM pm.status $$);
SELECT DISTINCT state, replace(reason, :'bad', 'N') AS reason, replace(hint, :'bad', 'N') AS hint, attempts, retry_at > now() + '50 min' AS later FROM pm.status;
SELECT pm.seek('m', 'orders', :bad);
SELECT pm.wait_for('m', timeout => '60 s');
SELECT count(*) FROM handled WHERE stream = 'bad';
SELECT DISTINCT state, attempts FROM pm.status;

-- ---- parked, tried again, dead, corrected ----------------------------------

SELECT pm.register('m', 'handle', '{orders,payments}', backoff => '1 hour');
BEGIN;
SELECT pm.append('orders', 'park', 'Fish') AS bad, pm.append('orders', 'park', 'Meat') AS behind, pm.append('orders', 'other', 'Meat') AS other \gset
COMMIT;
CALL wait_until($$ SELECT parked = 2 AND lag = 0 FROM pm.status WHERE log = 'orders' $$);
SELECT log, state, lag, parked, reason, hint, attempts, retry_at > now() + '50 min' AS later FROM pm.status ORDER BY log;
SELECT key, (event).type, state, attempts, message FROM pm.parked ORDER BY "position";
SELECT stream, count(*) FROM handled WHERE stream IN ('park', 'other') GROUP BY stream ORDER BY stream;
\set VERBOSITY sqlstate
SELECT pm.wait_for('m', timeout => '60 s');
\set VERBOSITY default
-- pm.retry: the dispatcher tries it at once, and it fails
SELECT max(errors) AS errors FROM pm.status \gset
SELECT pm.retry('m', 'orders', :bad);
CALL wait_until(format($$ SELECT bool_and(errors > %s) FROM pm.status $$, :errors));
SELECT state, attempts, retry_at > now() + '50 min' AS later FROM pm.parked ORDER BY "position";
-- retried by itself until max_attempts
SELECT pm.register('m', 'handle', '{orders,payments}', max_attempts => 3, backoff => '50 ms');
CALL wait_until($$ SELECT state = 'dead' FROM pm.parked ORDER BY "position" LIMIT 1 $$);
SELECT state, attempts, retry_at FROM pm.parked ORDER BY "position";
DELETE FROM poison;
SELECT pm.retry('m', 'orders', :bad);
CALL wait_until($$ SELECT NOT EXISTS (SELECT FROM pm.parked) $$);
SELECT type FROM handled WHERE stream = 'park' ORDER BY n;
SELECT pm.wait_for('m', timeout => '60 s');
-- discarded: the event behind it is handled at once
INSERT INTO poison VALUES ('Fish');
SELECT pm.register('m', 'handle', '{orders,payments}', backoff => '1 hour');
BEGIN;
SELECT pm.append('orders', 'give up', 'Fish') AS bad, pm.append('orders', 'give up', 'Meat') AS behind \gset
COMMIT;
CALL wait_until($$ SELECT count(*) = 2 FROM pm.parked $$);
SELECT pm.discard('m', 'orders', :bad);
CALL wait_until($$ SELECT NOT EXISTS (SELECT FROM pm.parked) $$);
SELECT type FROM handled WHERE stream = 'give up' ORDER BY n;
DELETE FROM poison;
SELECT log, state, parked, reason FROM pm.status ORDER BY log;

-- ---- instances and their timers ---------------------------------------------

CREATE FUNCTION remind(e pm.event, state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO handled (who, stream, type) VALUES ('remind', e.stream, e.type);
	CASE e.type
		WHEN 'Placed' THEN PERFORM pm.set_timer('Overdue', clock_timestamp() + (e.data->>'after')::interval);
		WHEN 'Paid' THEN RETURN pm.done();
		WHEN 'Overdue' THEN
			IF clock_timestamp() < e.recorded_at THEN RAISE WARNING 'too early'; END IF;
			PERFORM pm.set_timer('Lost', '2100-01-01');
		ELSE NULL;
	END CASE;
	RETURN coalesce(state, '[]') || to_jsonb(e.type);
END $$;
SELECT pm.register('r', 'remind', '{orders,payments}', start_at => 'end');
SELECT pm.append('orders', 't-1', 'Placed', '{"after": "300 ms"}') > 0, pm.append('orders', 't-2', 'Placed', '{"after": "1 hour"}') > 0;
SELECT pm.wait_for('r', timeout => '60 s');
SELECT pm.append('payments', 't-2', 'Paid') > 0 AS appended;
CALL wait_until($$ SELECT EXISTS (SELECT FROM pm.timer WHERE type = 'Lost') $$);
SELECT pm.wait_for('r', timeout => '60 s');
SELECT key, state FROM pm.instance WHERE process_manager = 'r';
SELECT key, type, due FROM pm.timer;
SELECT stream, string_agg(type, ' ' ORDER BY n) FROM handled WHERE who = 'remind' GROUP BY stream ORDER BY stream;
SELECT pm.unregister('r');

-- ---- changes while it runs --------------------------------------------------

CREATE OR REPLACE FUNCTION handle(e pm.event) RETURNS void LANGUAGE sql AS $$ INSERT INTO handled (who, stream, type) VALUES ('replaced', e.stream, e.type) $$;
SELECT pm.append('orders', 'new', 'Meat') > 0 AS appended;
SELECT pm.wait_for('m', timeout => '60 s');
SELECT who FROM handled WHERE stream = 'new';
-- the handler is dropped: the lane waits, and gives the reason
DROP FUNCTION handle(pm.event);
SELECT pm.append('orders', 'dropped', 'Meat') > 0 AS appended;
CALL wait_until($$ SELECT bool_and(state = 'waiting') FROM pm.status $$);
SELECT DISTINCT state, reason, hint FROM pm.status;
CREATE FUNCTION handle(e pm.event) RETURNS void LANGUAGE sql AS $$ INSERT INTO handled (who, stream, type) VALUES ('made again', e.stream, e.type) $$;
SELECT pm.wait_for('m', timeout => '60 s');
SELECT who FROM handled WHERE stream = 'dropped';
-- the trigger is disabled: the lane waits, and loses no event
ALTER TABLE orders DISABLE TRIGGER pm_before_write;
CALL wait_until($$ SELECT state = 'waiting' FROM pm.status WHERE log = 'orders' $$);
SELECT state, reason, hint FROM pm.status WHERE log = 'orders';
SELECT pm.create_log('orders');
SELECT pm.append('orders', 'mended', 'Meat') > 0 AS appended;
SELECT pm.wait_for('m', timeout => '60 s');
SELECT count(*) FROM handled WHERE stream = 'mended';
-- the log is dropped and created again
SELECT pm.unfollow('m', 'orders');
SELECT pm.drop_log('orders');
DROP TABLE orders;
SELECT pm.create_log('orders');
SELECT pm.register('m', 'handle', '{orders,payments}');
SELECT pm.append('orders', 'anew', 'Meat');
SELECT pm.wait_for('m', timeout => '60 s');
SELECT count(*) FROM handled WHERE stream = 'anew';

-- ---- run as the owner -------------------------------------------------------

CREATE ROLE regress_pm_alice LOGIN;
GRANT USAGE ON SCHEMA pm TO regress_pm_alice;
GRANT SELECT ON orders TO regress_pm_alice;
CREATE FUNCTION as_whom(e pm.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN INSERT INTO handled (who, stream, type) VALUES (current_user || ' ' || session_user, e.stream, e.type); END $$;
SET ROLE regress_pm_alice;
SELECT pm.register('a', 'as_whom', '{orders}', start_at => 'end', on_failure => 'halt', max_attempts => 2, backoff => '50 ms');
RESET ROLE;
SELECT pm.append('orders', 'alice', 'Meat') > 0 AS appended;
CALL wait_until($$ SELECT state = 'halted' FROM pm.status WHERE process_manager = 'a' $$);
SELECT state, regexp_replace(reason, 'position \d+', 'position N') AS reason FROM pm.status WHERE process_manager = 'a';
GRANT INSERT ON handled TO regress_pm_alice;
GRANT USAGE ON SEQUENCE handled_n_seq TO regress_pm_alice;
SELECT pm.resume('a');
SELECT pm.wait_for('a', timeout => '60 s');
SELECT who FROM handled WHERE who LIKE 'regress_pm_alice%';
SELECT pm.unregister('a');
CALL wait_until($$ SELECT NOT EXISTS (SELECT FROM pm.worker WHERE role = 'regress_pm_alice') $$);
DROP OWNED BY regress_pm_alice;
DROP ROLE regress_pm_alice;

-- ---- the end ----------------------------------------------------------------

SELECT pm.unregister('m');
CALL wait_until($$ SELECT NOT EXISTS (SELECT FROM pm.worker WHERE kind = 'dispatcher' AND database = current_database()) $$);
SELECT pm.drop_log('orders'), pm.drop_log('payments');
DROP TABLE orders, payments, handled, poison;
DROP FUNCTION handle(pm.event), as_whom(pm.event), remind(pm.event, jsonb);
DROP PROCEDURE wait_until(text, int);
