-- Parked events are references into their logs: they are read when they are tried
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all

SELECT current_user AS super \gset
CREATE ROLE regress_pm_keeper LOGIN;
CREATE ROLE regress_pm_stranger LOGIN;
GRANT USAGE ON SCHEMA pm TO regress_pm_keeper, regress_pm_stranger;
GRANT CREATE, USAGE ON SCHEMA public TO regress_pm_keeper;
SELECT pm.create_log('orders'), pm.create_log('payments');
GRANT SELECT ON orders, payments TO regress_pm_keeper;
\c - regress_pm_keeper
CREATE TABLE handled (n serial, log text, key text, type text, data jsonb);
CREATE FUNCTION handle(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF e.data ? 'bad' THEN RAISE 'bad data: %', e.data ->> 'bad'; END IF;
	INSERT INTO handled (log, key, type, data) VALUES (e.log, e.stream, e.type, e.data);
END $$;
SELECT pm.register('m', 'handle', '{orders,payments}', max_attempts => 3, backoff => '10 min');
\c - :super
CREATE FUNCTION make_due() RETURNS void LANGUAGE sql AS $$ UPDATE pm_catalog.lane SET lane = lane; UPDATE pm_catalog.parked SET retry_at = clock_timestamp() WHERE retry_at IS NOT NULL $$;
GRANT SELECT, UPDATE ON pm_catalog.parked, pm_catalog.lane TO regress_pm_keeper;
CREATE VIEW aside AS SELECT (event).type, (event).data, (event).position = position AS placed, state, attempts, message, detail, sqlstate, retry_at > clock_timestamp() AS later
	FROM pm.parked ORDER BY parked_at, log, position;
GRANT SELECT ON aside TO regress_pm_keeper, regress_pm_stranger;

-- ---- nothing is copied, and the log is read ---------------------------------

SELECT pm.append('orders', 'a', 'a1', '{"bad": 1}') AS a1, pm.append('orders', 'a', 'a2', '{"n": 2}') AS a2, pm.append('payments', 'a', 'a3', '{"n": 3}') AS a3, pm.append('orders', 'a', 'a4', '{"n": 4}') AS a4 \gset
\c - regress_pm_keeper
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT * FROM aside;
\c - :super
SELECT count(*), count(stream), count(type), count(data), count(metadata), count(recorded_at) FROM pm_catalog.parked;
-- a correction in the log takes effect: of the event that failed, and of one behind it
UPDATE orders SET data = '{"good": 1}' WHERE "position" = :a1;
UPDATE payments SET data = '{"n": 33}' WHERE "position" = :a3;
SELECT type, data FROM aside;
-- one that is gone is discarded, and those behind it are handled
DELETE FROM orders WHERE "position" = :a2;
SELECT type, data, placed FROM aside;
SELECT make_due();
\c - regress_pm_keeper
SELECT pm.catch_up('m');
SELECT log, type, data FROM handled ORDER BY n;
SELECT count(*) FROM pm.parked;
TRUNCATE handled;
\c - :super
-- so is a head
SELECT pm.append('orders', 'b', 'b1', '{"bad": 1}') AS b1, pm.append('orders', 'b', 'b2', '{"n": 2}') AS b2 \gset
\c - regress_pm_keeper
SELECT pm.catch_up('m', on_failure => 'policy');
\c - :super
-- pm.trim does not delete what is parked
SELECT pm.trim('orders', :b1);
DELETE FROM orders WHERE "position" = :b1;
\c - regress_pm_keeper
SELECT pm.retry('m', 'orders', :b1);
SELECT pm.catch_up('m');
SELECT log, type, data FROM handled ORDER BY n;
SELECT count(*) FROM pm.parked;
TRUNCATE handled;
\c - :super

-- ---- a log that cannot be read ----------------------------------------------

SELECT pm.append('payments', 'c', 'c1', '{"bad": 1}') AS c1, pm.append('orders', 'd', 'd1', '{"bad": 1}') AS d1 \gset
\c - regress_pm_keeper
SELECT pm.catch_up('m', on_failure => 'policy');
\c - :super
UPDATE payments SET data = '{"good": 1}' WHERE "position" = :c1;
UPDATE orders SET data = '{"good": 1}' WHERE "position" = :d1;
REVOKE SELECT ON payments FROM regress_pm_keeper;
SELECT make_due();
\c - regress_pm_keeper
-- the view shows what may be read; the other key is handled, and no attempt is counted
SELECT * FROM aside;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT * FROM aside;
SELECT log, type, data FROM handled ORDER BY n;
-- asked to raise, pm.catch_up says why
UPDATE pm_catalog.lane SET lane = lane; UPDATE pm_catalog.parked SET retry_at = clock_timestamp() WHERE retry_at IS NOT NULL;
\set VERBOSITY terse
SELECT pm.catch_up('m');
\set VERBOSITY default
\c - :super
GRANT SELECT ON payments TO regress_pm_keeper;
\c - regress_pm_keeper
SELECT pm.catch_up('m');
SELECT log, type, data FROM handled ORDER BY n;
SELECT count(*) FROM pm.parked;
TRUNCATE handled;
\c - :super
-- without an index of positions
SELECT pm.append('payments', 'c', 'c2', '{"bad": 1}') AS c2 \gset
\c - regress_pm_keeper
SELECT pm.catch_up('m', on_failure => 'policy');
\c - :super
BEGIN;
ALTER TABLE payments DROP CONSTRAINT payments_pkey;
SELECT make_due();
COMMIT;
\c - regress_pm_keeper
SELECT * FROM aside;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT * FROM aside;
\c - :super
ALTER TABLE payments ADD PRIMARY KEY ("position");

-- ---- which roles may see it -------------------------------------------------

\c - regress_pm_stranger
SELECT * FROM aside;
-- the function behind the view gives nothing away
SELECT (e).type, (e).data FROM pm_catalog.parked_event('payments', :c2, 'regress_pm_keeper'::regrole) e;
SELECT (e).type, (e).data FROM pm_catalog.parked_event('payments', :c2, 'regress_pm_stranger'::regrole) e;
\c - :super
-- a member of the owner's role sees what the owner may see
GRANT regress_pm_keeper TO regress_pm_stranger;
\c - regress_pm_stranger
SELECT type, data FROM aside;
SELECT (e).type, (e).data FROM pm_catalog.parked_event('payments', :c2, 'regress_pm_keeper'::regrole) e;
\c - :super
ALTER TABLE payments ENABLE ROW LEVEL SECURITY;
\c - regress_pm_stranger
SELECT type, data FROM aside;
\c - :super
ALTER TABLE payments DISABLE ROW LEVEL SECURITY;
REVOKE regress_pm_keeper FROM regress_pm_stranger;
-- without the event, the view does not read the log
CREATE FUNCTION reads(query text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE line text; found boolean := false;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN VERBOSE ' || query LOOP found := found OR line LIKE '%parked_event%'; END LOOP;
	RETURN found;
END $$;
SELECT reads('SELECT state FROM pm.parked') AS state, reads('SELECT event FROM pm.parked') AS event;
DROP FUNCTION reads;

-- ---- what an older version has copied ---------------------------------------

UPDATE pm_catalog.parked SET stream = 'old', type = 'old', data = '{"old": true}', metadata = '{}', recorded_at = now();
UPDATE payments SET data = '{"good": 1}' WHERE "position" = :c2;
SELECT type, data FROM aside;
\c - regress_pm_keeper
SELECT pm.retry('m', 'payments', :c2);
SELECT pm.catch_up('m');
SELECT log, type, data FROM handled ORDER BY n;
TRUNCATE handled;
\c - :super

-- ---- a table that is rewritten, and one that is dropped ---------------------

SELECT pm.append('payments', 'c', 'c3', '{"bad": 1}') AS c3 \gset
\c - regress_pm_keeper
SELECT pm.catch_up('m', on_failure => 'policy');
\c - :super
UPDATE payments SET data = '{"good": 1}' WHERE "position" = :c3;
CLUSTER payments USING payments_pkey;
SELECT type, data FROM aside;
DROP TABLE payments CASCADE;
SELECT * FROM aside;

SELECT pm.unregister('m');
SELECT pm.drop_log('orders');
DROP TABLE orders, handled;
DROP FUNCTION handle, make_due;
DROP VIEW aside;
REVOKE ALL ON pm_catalog.parked, pm_catalog.lane FROM regress_pm_keeper;
DROP OWNED BY regress_pm_keeper, regress_pm_stranger;
DROP ROLE regress_pm_keeper, regress_pm_stranger;
