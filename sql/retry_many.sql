-- Parked events of many keys that are retried together
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all
SET client_min_messages = error;

SELECT pm.create_log('orders');
CREATE TABLE broken (stream text PRIMARY KEY, how text);
CREATE TABLE seen (stream text, "position" bigint, id bigint GENERATED ALWAYS AS IDENTITY);
CREATE FUNCTION handle(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	b text := (SELECT how FROM broken WHERE stream = e.stream);
BEGIN
	IF b = 'fails' THEN RAISE EXCEPTION 'broken'; END IF;
	IF b = 'defers' THEN PERFORM pm.defer('1 ms'); END IF;
	INSERT INTO seen (stream, position) VALUES (e.stream, e.position);
END $$;
SELECT pm.register('m', 'handle', '{orders}', max_attempts => 1, park_limit => 1000);
-- events that were not handled once or not in order, apart from broken streams
CREATE VIEW wrong AS
	SELECT o.stream, o.position, count(s.id) FROM orders o LEFT JOIN seen s USING (position)
	WHERE o.stream NOT IN (SELECT stream FROM broken) GROUP BY 1, 2 HAVING count(s.id) <> 1
	UNION ALL SELECT a.stream, a.position, -1 FROM seen a JOIN seen b ON a.stream = b.stream AND a.position < b.position AND a.id > b.id;

-- the first event of each stream is dead, with others behind it
INSERT INTO broken SELECT 'o-' || i, 'fails' FROM generate_series(1, 15) i;
SELECT count(pm.append('orders', 'o-' || (i - 1) % 15 + 1, 'Placed')) FROM generate_series(1, 60) i;
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT state, count(*), min(attempts), max(attempts) FROM pm.parked GROUP BY 1 ORDER BY 1;
-- they are retried in a few batches
DELETE FROM broken;
SELECT pm.retry('m');
SELECT pm.stat_reset();
SELECT pm.catch_up('m', on_failure => 'policy');
SELECT count(*) FROM pm.parked;
TABLE wrong;
SELECT events, batches < 10 AS few, failures FROM pm.stat;

-- some of them fail again
TRUNCATE seen;
INSERT INTO broken SELECT 'o-' || i, 'fails' FROM generate_series(1, 15) i;
SELECT pm.trim('orders', 60);
SELECT count(pm.append('orders', 'o-' || (i - 1) % 15 + 1, 'Placed')) FROM generate_series(1, 60) i;
SELECT pm.catch_up('m', on_failure => 'policy');
DELETE FROM broken WHERE stream NOT IN ('o-3', 'o-9', 'o-10');
SELECT pm.retry('m');
SELECT pm.stat_reset();
SELECT pm.catch_up('m', on_failure => 'policy');
TABLE wrong;
SELECT (event).stream, state, count(*), max(attempts), min(message) FROM pm.parked GROUP BY 1, 2 ORDER BY 1, 2;
SELECT events, failures FROM pm.stat;
DELETE FROM broken;
SELECT pm.retry('m');
SELECT pm.catch_up('m', on_failure => 'policy');
TABLE wrong;

-- deferred events, some of which are deferred again
TRUNCATE seen;
INSERT INTO broken SELECT 'o-' || i, 'defers' FROM generate_series(1, 15) i;
SELECT pm.trim('orders', 120);
SELECT count(pm.append('orders', 'o-' || (i - 1) % 15 + 1, 'Placed')) FROM generate_series(1, 30) i;
SELECT pm.catch_up('m', max_count => 30, on_failure => 'policy');
SELECT state, count(*), max(attempts) FROM pm.parked GROUP BY 1 ORDER BY 1;
DELETE FROM broken WHERE stream NOT IN ('o-3', 'o-9', 'o-10');
SELECT pg_sleep(0.01);
SELECT pm.stat_reset();
SELECT pm.catch_up('m', max_count => 24, on_failure => 'policy');
TABLE wrong;
SELECT (event).stream, state, count(*), max(attempts) FROM pm.parked GROUP BY 1, 2 ORDER BY 1, 2;
DELETE FROM broken;
SELECT pg_sleep(0.01);
SELECT pm.catch_up('m', on_failure => 'policy');
TABLE wrong;
SELECT count(*) FROM pm.parked;

SELECT pm.unregister('m');
DROP VIEW wrong;
DROP FUNCTION handle;
SELECT pm.drop_log('orders');
DROP TABLE orders, seen, broken;
