-- After a promotion the sequence of a log skips positions before the first write. The promotion itself is in test/t/072; here
-- the notes are changed, as if they had been made on another timeline. Each session looks at them once.
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all
SHOW pm.promotion_gap;
SET pm.promotion_gap = 0;
SELECT context, boot_val, min_val, max_val FROM pg_settings WHERE name = 'pm.promotion_gap';
SELECT pm.timeline(), pm.timeline() = ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int AS same;

SELECT pm.create_log('orders');
CREATE PROCEDURE promote() LANGUAGE sql AS 'UPDATE pm_catalog.promotion SET timeline = 0';
-- what each log has skipped, and the positions of its events; in gaps, and the rest above them
CREATE VIEW skipped AS SELECT log, timeline, skipped_from % 10000000 AS from, (skipped_to - skipped_from + 1) / 10000000 AS gaps FROM pm.promotion;
CREATE VIEW positions AS SELECT position / 10000000 AS gaps, position % 10000000 AS rest, type FROM orders;

-- a new log skips nothing
INSERT INTO orders (stream, type) VALUES ('a', 'first'), ('a', 'second');
SELECT * FROM positions ORDER BY gaps, rest;
SELECT count(*) FROM pm.promotion;
\c -
INSERT INTO orders (stream, type) VALUES ('a', 'still the same timeline');
SELECT * FROM positions ORDER BY gaps, rest;

-- several rows, and again in the same session and in another one
CALL promote();
\c -
INSERT INTO orders (stream, type) SELECT 'a', 'rows' FROM generate_series(1, 3);
INSERT INTO orders (stream, type) VALUES ('a', 'next');
\c -
INSERT INTO orders (stream, type) VALUES ('a', 'another session');
SELECT * FROM positions WHERE gaps >= 1 ORDER BY gaps, rest;
SELECT * FROM skipped ORDER BY gaps, log;

-- COPY
CALL promote();
\c -
COPY orders (stream, type) FROM stdin;
a	copied
a	copied
\.
SELECT * FROM positions WHERE gaps >= 2 ORDER BY gaps, rest;

-- MERGE, a data-modifying WITH, and a position that was drawn before
CALL promote();
\c -
MERGE INTO orders o USING (VALUES ('m')) s(stream) ON o.stream = s.stream WHEN NOT MATCHED THEN INSERT (stream, type) VALUES (s.stream, 'merged');
SELECT * FROM positions WHERE gaps >= 3 ORDER BY gaps, rest;
CALL promote();
\c -
WITH i AS (INSERT INTO orders (stream, type) VALUES ('w', 'with') RETURNING position) SELECT position / 10000000 AS gaps FROM i;
CALL promote();
\c -
BEGIN;
SELECT nextval('orders_position_seq') AS drawn \gset
INSERT INTO orders (position, stream, type) OVERRIDING SYSTEM VALUE VALUES (:drawn, 'd', 'drawn before');
ROLLBACK;
INSERT INTO orders (stream, type) VALUES ('d', 'after that') RETURNING position / 10000000 AS gaps;

-- a prepared plan, pm.append and pm.append_all
CALL promote();
\c -
PREPARE ins AS INSERT INTO orders (stream, type) VALUES ('p', 'prepared') RETURNING position / 10000000 AS gaps;
EXECUTE ins;
EXECUTE ins;
CALL promote();
\c -
SELECT pm.append('orders', 'x', 'appended') / 10000000 AS gaps;
SELECT pm.append('orders', 'x', 'appended') / 10000000 AS gaps;
CALL promote();
\c -
SELECT n / 10000000 AS gaps FROM unnest(pm.append_all('orders', 'x', '[{"type": "t"}, {"type": "t"}]')) n;

-- The note is rolled back with its transaction, the skip is not: the next session skips once more. The same with a savepoint.
CALL promote();
\c -
BEGIN;
INSERT INTO orders (stream, type) VALUES ('r', 'rolled back') RETURNING position / 10000000 AS gaps;
ROLLBACK;
INSERT INTO orders (stream, type) VALUES ('r', 'same session') RETURNING position / 10000000 AS gaps;
\c -
BEGIN ISOLATION LEVEL SERIALIZABLE;
SAVEPOINT s;
INSERT INTO orders (stream, type) VALUES ('r', 'another session') RETURNING position / 10000000 AS gaps;
ROLLBACK TO s;
INSERT INTO orders (stream, type) VALUES ('r', 'another session') RETURNING position / 10000000 AS gaps;
COMMIT;
\c -
BEGIN ISOLATION LEVEL REPEATABLE READ;
INSERT INTO orders (stream, type) VALUES ('r', 'a third session') RETURNING position / 10000000 AS gaps;
COMMIT;
\c -
INSERT INTO orders (stream, type) VALUES ('r', 'a fourth session') RETURNING position / 10000000 AS gaps;
SELECT count(*) - count(DISTINCT position) AS twice, count(*) FROM orders;
SELECT * FROM skipped ORDER BY "from", gaps LIMIT 3;

-- followers, status and trim work across the gap
CREATE FUNCTION keep(e pm.event) RETURNS void LANGUAGE sql AS 'SELECT';
SELECT pm.register('keep', 'keep', '{orders}', start_at => 'beginning');
SELECT pm.catch_up('keep') = (SELECT count(*) FROM orders) AS all;
SELECT lag, lag_events, high_water_mark = (SELECT max(position) FROM orders) AS at_the_end FROM pm.status;
SELECT pm.wait_for('keep');
SELECT pm.trim('orders', (SELECT min(skipped_to) FROM pm.promotion));
SELECT count(*) FROM pm.read('orders', 0, 1000) WHERE position < 10000000;
SELECT pm.unregister('keep');

-- with a larger increment, as many draws are skipped
SELECT pm.create_log('steps');
ALTER TABLE steps ALTER COLUMN position SET INCREMENT BY 10;
INSERT INTO steps (stream, type) VALUES ('a', 'A') RETURNING position;
CALL promote();
\c -
INSERT INTO steps (stream, type) VALUES ('a', 'A') RETURNING position;

-- a maximum, and the end of bigint
SELECT pm.create_log('few');
INSERT INTO few (stream, type) VALUES ('a', 'A') RETURNING position;
ALTER TABLE few ALTER COLUMN position SET MAXVALUE 10000000;
CALL promote();
\c -
INSERT INTO few (stream, type) VALUES ('a', 'A') RETURNING position;
SELECT pm.append('few', 'a', 'A');
SELECT last_value FROM few_position_seq;
ALTER TABLE few ALTER COLUMN position SET MAXVALUE 10000002;
INSERT INTO few (stream, type) VALUES ('a', 'A') RETURNING position;
SELECT pm.create_log('far');
SELECT setval('far_position_seq', 9223372036854775807 - 5);
CALL promote();
\c -
INSERT INTO far (stream, type) VALUES ('a', 'A') RETURNING position;
ALTER TABLE far ALTER COLUMN position SET INCREMENT BY 4611686018427387904;
INSERT INTO far (stream, type) VALUES ('a', 'A') RETURNING position;

-- the notes of a dropped log are deleted, and a new log of the same table has its own
SELECT pm.drop_log('few');
SELECT count(*) FROM pm_catalog.promotion WHERE source = 'few'::regclass;
SELECT pm.create_log('few');
SELECT count(*) FROM pm_catalog.promotion WHERE source = 'few'::regclass;
DROP TABLE few;
SELECT count(*) FROM pm_catalog.promotion p WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = p.source);

-- a note of another cluster does not count
\c -
UPDATE pm_catalog.promotion SET system_identifier = 1 WHERE source = 'steps'::regclass;
\c -
INSERT INTO steps (stream, type) VALUES ('a', 'A') RETURNING position;

-- who sees it
CREATE ROLE stranger_promotion;
GRANT USAGE ON SCHEMA pm TO stranger_promotion;
SET ROLE stranger_promotion;
SELECT count(*) FROM pm.promotion;
SELECT count(*) FROM pm_catalog.promotion;
SELECT pm.timeline() > 0 AS timeline;
RESET ROLE;
REVOKE USAGE ON SCHEMA pm FROM stranger_promotion;
DROP ROLE stranger_promotion;
DROP VIEW positions, skipped;
DROP PROCEDURE promote();
DROP FUNCTION keep(pm.event);
SELECT pm.drop_log(name) FROM pm.log;
DROP TABLE orders, steps, far;
