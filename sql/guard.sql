-- The guard of a log's positions refuses everything that could make an event appear at a position
-- that readers have already passed. It also refuses it for the owner of the table.
\set SHOW_CONTEXT never
SELECT pm.create_log('orders');
INSERT INTO orders (stream, type) SELECT 'o-' || i, 'Placed' FROM generate_series(1, 5) i;
SELECT pm.high_water_mark('orders');

-- ---- positions that the sequence has not assigned ---------------------------

INSERT INTO orders ("position", stream, type) VALUES (3, 'x', 'y');
INSERT INTO orders ("position", stream, type) OVERRIDING SYSTEM VALUE VALUES (3, 'x', 'y');
INSERT INTO orders ("position", stream, type) OVERRIDING SYSTEM VALUE VALUES (0, 'x', 'y');
INSERT INTO orders ("position", stream, type) OVERRIDING SYSTEM VALUE VALUES (-7, 'x', 'y');
INSERT INTO orders ("position", stream, type) OVERRIDING SYSTEM VALUE VALUES (100, 'x', 'y');
INSERT INTO orders ("position", stream, type) OVERRIDING SYSTEM VALUE VALUES (9223372036854775807, 'x', 'y');
INSERT INTO orders ("position", stream, type) OVERRIDING USER VALUE VALUES (3, 'drawn', 'all the same');
\set VERBOSITY sqlstate
INSERT INTO orders ("position", stream, type) OVERRIDING SYSTEM VALUE VALUES (3, 'x', 'y');
\set VERBOSITY default
COPY orders ("position", stream, type) FROM stdin;
3	x	y
\.
COPY orders ("position", stream, type) FROM stdin;
200	x	y
\.
COPY orders (stream, type) FROM stdin;
copied	y
copied	y
\.
-- a position drawn beforehand
SELECT nextval('orders_position_seq') AS drawn \gset
INSERT INTO orders ("position", stream, type) OVERRIDING SYSTEM VALUE VALUES (:drawn, 'x', 'y');
-- a position drawn by the statement, or by a transaction that has already written to the log
INSERT INTO orders ("position", stream, type) OVERRIDING SYSTEM VALUE VALUES (nextval('orders_position_seq'), 'by the statement', 'y');
BEGIN;
INSERT INTO orders (stream, type) VALUES ('first', 'y');
SELECT nextval('orders_position_seq') AS drawn \gset
INSERT INTO orders ("position", stream, type) OVERRIDING SYSTEM VALUE VALUES (:drawn, 'by the writer', 'y');
COMMIT;
SELECT "position", stream FROM pm.read('orders', 5);

-- ---- savepoints -------------------------------------------------------------

BEGIN;
SAVEPOINT s;
INSERT INTO orders (stream, type) VALUES ('undone', 'y') RETURNING "position" AS undone \gset
ROLLBACK TO s;
INSERT INTO orders ("position", stream, type) OVERRIDING SYSTEM VALUE VALUES (:undone, 'reused', 'y');
ROLLBACK;
BEGIN;
SAVEPOINT s;
INSERT INTO orders (stream, type) VALUES ('undone', 'y') RETURNING "position" AS undone \gset
ROLLBACK TO s;
INSERT INTO orders (stream, type) VALUES ('kept', 'y');
SAVEPOINT t;
INSERT INTO orders ("position", stream, type) OVERRIDING SYSTEM VALUE VALUES (:undone, 'reused', 'y');
ROLLBACK TO t;
INSERT INTO orders (stream, type) VALUES ('kept', 'y');
COMMIT;
-- the transaction has written before the savepoint and still holds its lock: the position can be reused
BEGIN;
INSERT INTO orders (stream, type) VALUES ('kept', 'z');
SAVEPOINT s;
INSERT INTO orders (stream, type) VALUES ('undone', 'z') RETURNING "position" AS undone \gset
ROLLBACK TO s;
INSERT INTO orders ("position", stream, type) OVERRIDING SYSTEM VALUE VALUES (:undone, 'kept', 'reused while it held the mark');
COMMIT;
SELECT stream, type, count(*) FROM pm.read('orders') WHERE stream IN ('kept', 'undone', 'reused') GROUP BY 1, 2 ORDER BY 1, 2;

-- ---- UPDATE -----------------------------------------------------------------

UPDATE orders SET "position" = 300 WHERE "position" = 1;
UPDATE orders SET "position" = DEFAULT WHERE "position" = 1;
UPDATE orders SET data = '{"seen": 1}' WHERE "position" <= 2;
BEGIN;
INSERT INTO orders (stream, type) VALUES ('then', 'an update');
UPDATE orders SET data = '{"seen": 2}' WHERE "position" <= 2 OR stream = 'then';
INSERT INTO orders (stream, type) VALUES ('and', 'an insert');
UPDATE orders SET metadata = '{"all": true}';
COMMIT;
SELECT count(*), count(*) FILTER (WHERE data->>'seen' = '2') AS seen, bool_and(metadata = '{"all": true}') AS updated FROM orders;
-- an UPDATE that was undone or suppressed does not allow its position to be written again
BEGIN;
UPDATE orders SET data = '{"seen": 3}' WHERE "position" = 1;
SAVEPOINT s;
\set VERBOSITY terse
UPDATE orders SET type = NULL WHERE "position" = 2;
\set VERBOSITY default
ROLLBACK TO s;
DELETE FROM orders WHERE "position" = 2;
INSERT INTO orders ("position", stream, type) OVERRIDING SYSTEM VALUE VALUES (2, 'forged', 'y');
ROLLBACK;
CREATE FUNCTION suppress() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER zz_suppress BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION suppress();
BEGIN;
UPDATE orders SET type = 'suppressed' WHERE "position" = 2;
DELETE FROM orders WHERE "position" = 2;
INSERT INTO orders ("position", stream, type) OVERRIDING SYSTEM VALUE VALUES (2, 'forged', 'y');
ROLLBACK;
-- not within one statement either
BEGIN;
WITH u AS (UPDATE orders SET type = 'suppressed' WHERE "position" = 2 RETURNING 1),
	 d AS (DELETE FROM orders WHERE "position" = 2 RETURNING 1)
INSERT INTO orders ("position", stream, type) OVERRIDING SYSTEM VALUE VALUES (2, 'forged', 'y');
ROLLBACK;
DROP TRIGGER zz_suppress ON orders;
-- a trigger that runs after pm's trigger and changes the position
CREATE FUNCTION move() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.position := 3; RETURN NEW; END';
CREATE TRIGGER zz_move BEFORE INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION move();
INSERT INTO orders (stream, type) VALUES ('moved', 'y');
UPDATE orders SET type = 'moved' WHERE "position" = 5;
DROP TRIGGER zz_move ON orders;
DROP FUNCTION suppress(), move();

-- ---- INSERT ... ON CONFLICT, MERGE ------------------------------------------

SELECT pm.append('orders', 'conflict', 'one') > 0 AS appended;
INSERT INTO orders (stream, version, type) VALUES ('conflict', 1, 'again') ON CONFLICT DO NOTHING;
INSERT INTO orders (stream, version, type) VALUES ('conflict', 1, 'again'), ('conflict', 2, 'two')
	ON CONFLICT (stream, version) DO UPDATE SET data = jsonb_build_object('conflicts', true);
INSERT INTO orders ("position", stream, type) OVERRIDING SYSTEM VALUE VALUES (4, 'conflict', 'forged')
	ON CONFLICT ("position") DO UPDATE SET type = EXCLUDED.type;
INSERT INTO orders (stream, version, type) VALUES ('conflict', 1, 'again')
	ON CONFLICT (stream, version) DO UPDATE SET "position" = DEFAULT;
MERGE INTO orders o USING (VALUES ('conflict', 1), ('conflict', 3)) v(stream, version) ON o.stream = v.stream AND o.version = v.version
	WHEN MATCHED THEN UPDATE SET type = 'merged'
	WHEN NOT MATCHED THEN INSERT (stream, version, type) VALUES (v.stream, v.version, 'merged');
MERGE INTO orders o USING (VALUES (4::bigint)) v(pos) ON o."position" = v.pos AND false
	WHEN NOT MATCHED THEN INSERT ("position", stream, type) OVERRIDING SYSTEM VALUE VALUES (v.pos, 'forged', 'merged');
SELECT version, type, data FROM pm.read_stream('orders', 'conflict');
SELECT count(*) FROM orders WHERE stream = 'forged' OR type = 'forged';

-- ---- TRUNCATE, setval, RESTART ----------------------------------------------

TRUNCATE orders;
TRUNCATE orders RESTART IDENTITY;
TRUNCATE orders CASCADE;
SELECT pm.high_water_mark('orders') AS mark \gset
-- the sequence is set back: no position is used twice, and readers get an error
SELECT setval('orders_position_seq', 2);
INSERT INTO orders (stream, type) VALUES ('after setval', 'y');
DELETE FROM orders WHERE "position" IN (3, 4);
INSERT INTO orders (stream, type) VALUES ('after setval', 'y');
SELECT count(*) FROM orders WHERE stream = 'after setval';
SELECT pm.high_water_mark('orders') = :mark AS stays;
SELECT pm.create_log('orders');
SELECT setval('orders_position_seq', :mark);
SELECT pm.append('orders', 'after setval', 'y') > :mark AS appended;
SELECT pm.high_water_mark('orders') > :mark AS moved;
-- the sequence is restarted
SELECT max("position") AS last FROM orders \gset
ALTER SEQUENCE orders_position_seq RESTART WITH 2;
SELECT pm.read('orders');
SELECT pm.high_water_mark('orders');
SELECT pm.append('orders', 's', 'y');
INSERT INTO orders (stream, type) VALUES ('after restart', 'y');
\set VERBOSITY sqlstate
SELECT pm.create_log('orders');
\set VERBOSITY default
SELECT setval('orders_position_seq', :last) IS NOT NULL AS set;
SELECT pm.create_log('orders');
SELECT count(*) > 0 AS readable FROM pm.read('orders');
SELECT pm.append('orders', 's', 'y') > :last AS appended;
-- restarted in a transaction that reads the mark and rolls back: nothing of it is remembered
SELECT pm.high_water_mark('orders') AS mark \gset
BEGIN;
ALTER SEQUENCE orders_position_seq RESTART WITH 1000000;
SELECT count(*) FROM pm.status;
SELECT pm.high_water_mark('orders');
ROLLBACK;
BEGIN;
ALTER SEQUENCE orders_position_seq RESTART WITH 1000000;
SELECT last_position IS NOT NULL AND high_water_mark > 999990 AS told FROM pm_catalog.log_state('orders');
ROLLBACK;
BEGIN;
ALTER SEQUENCE orders_position_seq RESTART WITH 1000000;
SELECT pm.create_log('orders');
SELECT count(*) FROM pm.status;
SELECT pm.high_water_mark('orders') > 999990 AS told;
ROLLBACK;
SELECT pm.high_water_mark('orders') = :mark AS same;
INSERT INTO orders (stream, type) VALUES ('after rollback', 'y');
SELECT pm.high_water_mark('orders') = :mark + 1 AS moved;
-- restarted with a higher value: a gap
SELECT pm.high_water_mark('orders') AS mark \gset
ALTER TABLE orders ALTER COLUMN "position" RESTART WITH 500;
SELECT pm.high_water_mark('orders');
SELECT pm.create_log('orders');
SELECT pm.append('orders', 'ahead', 'y');
SELECT pm.high_water_mark('orders');
-- setval with a higher value is a gap, too
SELECT setval('orders_position_seq', 600);
SELECT pm.append('orders', 'ahead', 'y');
SELECT array_agg("position") FROM pm.read('orders', 499);

-- ---- the sequence's settings ------------------------------------------------

ALTER TABLE orders ALTER COLUMN "position" SET CACHE 10;
SELECT pm.high_water_mark('orders');
SELECT pm.append('orders', 'cache', 'y');
INSERT INTO orders (stream, type) VALUES ('cache', 'one');
INSERT INTO orders (stream, type) VALUES ('cache', 'two');
SELECT pm.create_log('orders');
ALTER TABLE orders ALTER COLUMN "position" SET CACHE 1;
SELECT pm.create_log('orders');
SELECT pm.append('orders', 'cache', 'y') > 600 AS appended;
ALTER TABLE orders ALTER COLUMN "position" SET CYCLE;
SELECT pm.read('orders');
ALTER TABLE orders ALTER COLUMN "position" SET NO CYCLE SET INCREMENT -1;
SELECT pm.read('orders');
INSERT INTO orders (stream, type) VALUES ('backwards', 'y');
ALTER TABLE orders ALTER COLUMN "position" SET INCREMENT 5 SET MAXVALUE 9223372036854775807;
SELECT pm.create_log('orders');
SELECT setval('orders_position_seq', 700);
SELECT pm.create_log('orders');
SELECT pm.append('orders', 'steps', 'y'), pm.append('orders', 'steps', 'y');
ALTER TABLE orders ALTER COLUMN "position" SET GENERATED BY DEFAULT;
SELECT pm.read('orders');
INSERT INTO orders ("position", stream, type) VALUES (2, 'by default', 'y');
ALTER TABLE orders ALTER COLUMN "position" SET GENERATED ALWAYS;
ALTER TABLE orders ALTER COLUMN "position" DROP IDENTITY;
SELECT pm.read('orders');
SELECT pm.create_log('orders');
SELECT pm.append('orders', 's', 'y');
INSERT INTO orders ("position", stream, type) VALUES (5000, 'no identity', 'y');
ALTER TABLE orders ALTER COLUMN "position" ADD GENERATED ALWAYS AS IDENTITY (START 10000);
SELECT pm.create_log('orders');
SELECT pm.append('orders', 'new sequence', 'y');

-- ---- the guard itself -------------------------------------------------------

-- disabled triggers
ALTER TABLE orders DISABLE TRIGGER pm_before_write;
INSERT INTO orders (stream, type) VALUES ('unguarded', 'y');
SELECT pm.read('orders');
SELECT pm.append('orders', 's', 'y');
SELECT pm.create_log('orders');
SELECT pm.append('orders', 's', 'y') > 0 AS appended;
ALTER TABLE orders ENABLE TRIGGER pm_before_write;		-- enabled, but not ALWAYS
SELECT pm.high_water_mark('orders');
SELECT pm.create_log('orders');
ALTER TABLE orders DISABLE TRIGGER ALL;
SELECT pm.high_water_mark('orders');
SELECT pm.create_log('orders');
ALTER TABLE orders DISABLE TRIGGER pm_before_update;
SELECT pm.high_water_mark('orders');
UPDATE orders SET "position" = DEFAULT WHERE "position" = 1;
SELECT pm.create_log('orders');
ALTER TABLE orders DISABLE TRIGGER pm_before_truncate;
SELECT pm.high_water_mark('orders');
SELECT pm.create_log('orders');
SELECT pm.create_log('orders');
-- under session_replication_role = replica
SET session_replication_role = replica;
INSERT INTO orders ("position", stream, type) OVERRIDING SYSTEM VALUE VALUES (3, 'replica', 'y');
INSERT INTO orders (stream, type) VALUES ('replica', 'y');
TRUNCATE orders;
RESET session_replication_role;
-- dropped triggers and constraints
ALTER TABLE orders DROP CONSTRAINT pm_position_is_new;
SELECT pm.read('orders');
SELECT pm.create_log('orders');
INSERT INTO orders ("position", stream, type) OVERRIDING SYSTEM VALUE VALUES (3, 'again guarded', 'y');
DROP TRIGGER pm_before_write ON orders;
SELECT pm.read('orders');
INSERT INTO orders (stream, type) VALUES ('unguarded', 'y');
SELECT pm.create_log('orders');
-- another trigger of the same name
DROP TRIGGER pm_before_truncate ON orders;
CREATE FUNCTION harmless() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER pm_before_truncate BEFORE TRUNCATE ON orders EXECUTE FUNCTION harmless();
ALTER TABLE orders ENABLE ALWAYS TRIGGER pm_before_truncate;
SELECT pm.high_water_mark('orders');
SELECT pm.create_log('orders');
TRUNCATE orders;
DROP TRIGGER pm_before_truncate ON orders;
SELECT pm.create_log('orders');
ALTER TABLE orders DROP CONSTRAINT pm_position_is_new;
ALTER TABLE orders ADD CONSTRAINT pm_position_is_new CHECK ("position" > 0);
SELECT pm.high_water_mark('orders');
DO $$
BEGIN
	INSERT INTO orders ("position", stream, type) OVERRIDING SYSTEM VALUE VALUES (3, 'past a forged check', 'y');
	RAISE NOTICE 'accepted';
EXCEPTION WHEN OTHERS THEN
	RAISE NOTICE 'refused';
END $$;
SELECT pm.create_log('orders');
ALTER TABLE orders DROP CONSTRAINT pm_position_is_new;
SELECT pm.create_log('orders');
DROP FUNCTION harmless();
-- the constraint cannot be validated
ALTER TABLE orders VALIDATE CONSTRAINT pm_position_is_new;
SELECT convalidated FROM pg_constraint WHERE conname = 'pm_position_is_new' AND conrelid = 'orders'::regclass;
SELECT pm.append('orders', 's', 'y') > 0 AS appended;
-- its functions cannot be used for anything else
SELECT pm_catalog.before_write();
SELECT pm_catalog.position_is_new('orders'::regclass, 3);
CREATE TABLE plain (i int);
CREATE TRIGGER t BEFORE INSERT ON plain EXECUTE FUNCTION pm_catalog.before_write();
INSERT INTO plain VALUES (1);
DROP TRIGGER t ON plain;
CREATE TRIGGER t BEFORE INSERT ON plain FOR EACH ROW EXECUTE FUNCTION pm_catalog.before_write();
INSERT INTO plain VALUES (1);
DROP TRIGGER t ON plain;
CREATE TRIGGER t BEFORE UPDATE ON plain FOR EACH ROW EXECUTE FUNCTION pm_catalog.before_update();
UPDATE plain SET i = 2;
DROP TABLE plain;

-- ---- kinds of tables --------------------------------------------------------

ALTER TABLE orders SET UNLOGGED;
SELECT pm.read('orders');
SELECT pm.append('orders', 's', 'y');
ALTER TABLE orders SET LOGGED;
SELECT pm.create_log('orders');
SELECT pm.append('orders', 's', 'y') > 0 AS appended;
-- a partition is refused, also for writes through its parent
CREATE TABLE parent (LIKE orders INCLUDING DEFAULTS) PARTITION BY RANGE ("position");
ALTER TABLE orders ALTER COLUMN "position" DROP IDENTITY;
ALTER TABLE parent ATTACH PARTITION orders DEFAULT;
SELECT pm.read('orders');
INSERT INTO parent ("position", stream, type, data, metadata, recorded_at) VALUES (2, 'through the parent', 'y', '{}', '{}', now());
ALTER TABLE parent DETACH PARTITION orders;
ALTER TABLE orders ALTER COLUMN "position" ADD GENERATED ALWAYS AS IDENTITY (START 20000);
SELECT pm.create_log('orders');
DROP TABLE parent;
-- a child of another table
CREATE TABLE parent (stream text NOT NULL);
ALTER TABLE orders INHERIT parent;
SELECT pm.append('orders', 's', 'y') > 0 AS appended;
UPDATE parent SET stream = stream;
DELETE FROM parent WHERE stream = 's';
TRUNCATE parent;
ALTER TABLE orders NO INHERIT parent;
DROP TABLE parent;
SELECT pm.high_water_mark('orders') >= 20000 AS readable;
-- rewriting the table's file keeps everything
VACUUM FULL orders;
CLUSTER orders USING orders_pkey;
ALTER TABLE orders ALTER COLUMN type TYPE varchar(100);
ALTER TABLE orders ALTER COLUMN type TYPE text;
SELECT pm.append('orders', 's', 'y') > 20000 AS appended;

-- readers get exactly those events that were accepted in this test
SELECT (SELECT count(*) FROM orders) = (SELECT count(*) FROM pm.read('orders', max_count => NULL)) AS complete;
SELECT stream FROM orders WHERE stream IN ('x', 'reused', 'forged', 'moved', 'unguarded', 'after restart', 'through the parent', 'by default', 'past a forged check', 'again guarded');

SELECT pm.drop_log('orders');
DROP TABLE orders;
