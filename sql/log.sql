-- Logs: creating and dropping, reading and trimming them
\set SHOW_CONTEXT never

-- ---- names ------------------------------------------------------------------

CREATE SCHEMA sales;
CREATE SCHEMA "Odd One";
SELECT pm.create_log('orders');
SELECT pm.create_log('Payments');				-- folded to lower case as in SQL
SELECT pm.create_log('"Refunds"');				-- unless quoted
SELECT pm.create_log('sales.orders');
SELECT pm.create_log('"Odd One"."a.b"');
SELECT pm.create_log(' shipping ');				-- spaces are ignored as in SQL
SELECT name, "table", pos, stream, version, type, data, metadata, recorded_at FROM pm.log ORDER BY name COLLATE "C";
SELECT a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull, a.attidentity, pg_get_expr(d.adbin, d.adrelid) AS "default" FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum WHERE a.attrelid = 'orders'::regclass AND a.attnum > 0 ORDER BY a.attnum;
SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'orders'::regclass ORDER BY 1;
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'orders'::regclass AND contype = 'c';
SELECT pg_get_triggerdef(oid), tgenabled FROM pg_trigger WHERE tgrelid = 'orders'::regclass AND NOT tgisinternal ORDER BY tgname;
SELECT a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull, a.attidentity, pg_get_expr(d.adbin, d.adrelid) AS "default" FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum WHERE a.attrelid = 'sales.orders'::regclass AND a.attnum > 0 ORDER BY a.attnum;
SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'sales.orders'::regclass ORDER BY 1;
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'sales.orders'::regclass AND contype = 'c';
SELECT pg_get_triggerdef(oid), tgenabled FROM pg_trigger WHERE tgrelid = 'sales.orders'::regclass AND NOT tgisinternal ORDER BY tgname;

-- invalid names
SELECT pm.create_log('');
SELECT pm.create_log('a.b.c');
SELECT pm.create_log('two words');
SELECT pm.create_log('"open');
SELECT pm.create_log('a..b');
SELECT pm.create_log('nowhere.orders');
SELECT pm.create_log(NULL) IS NULL AS strict;
-- a temporary table is refused
SELECT pm.create_log('pg_temp.orders');
SET search_path = pg_temp, public;
SELECT pm.create_log('temporary');
RESET search_path;

-- a log exists once, however its name is written
SELECT pm.create_log('orders');
SELECT pm.create_log('ORDERS');
SELECT pm.create_log('public.payments');		-- the table already belongs to another log
CREATE TABLE taken (i int);
SELECT pm.create_log('taken');
SELECT count(*) FROM pm.log WHERE name IN ('taken', 'temporary', 'public.payments');
DROP TABLE taken;

-- which log a name refers to
SELECT pm.append('ORDERS', 'o-1', 'Placed'), pm.append('"orders"', 'o-1', 'Paid'), pm.append('sales.orders', 'o-1', 'Placed');
SELECT pm.append('Refunds', 'r-1', 'Refunded'), pm.append('"Refunds"', 'r-1', 'Refunded');
SELECT pm.append('refunds', 'r-1', 'Refunded');
SELECT pm.append('nosuch', 'x', 'y');
SELECT pm.append('"Odd One"."a.b"', 'x', 'y');
SELECT log, "position", stream, version, type FROM pm.read('sales.orders');

-- ---- dropping ---------------------------------------------------------------

-- the table stays, without its triggers and its constraint
SELECT pm.drop_log('"Refunds"');
SELECT pm.drop_log('"Refunds"');
SELECT count(*) FROM "Refunds";
SELECT tgname FROM pg_trigger WHERE tgrelid = '"Refunds"'::regclass AND NOT tgisinternal;
SELECT conname FROM pg_constraint WHERE conrelid = '"Refunds"'::regclass AND contype = 'c';
INSERT INTO "Refunds" ("position", stream, type) OVERRIDING SYSTEM VALUE VALUES (99, 'r', 'free now');
TRUNCATE "Refunds";
SELECT pm.read('"Refunds"');
-- it becomes a log again, and its positions continue
SELECT pm.create_log('"Refunds"');
SELECT pm.append('"Refunds"', 'r-1', 'Refunded');
DROP TABLE "Refunds";
SELECT pm.create_log('"Refunds"');
SELECT pm.append('"Refunds"', 'r-1', 'Refunded');

-- dropping the table drops the log, and its name is free
DROP TABLE payments;
SELECT name FROM pm.log WHERE name = 'payments';
SELECT pm.append('payments', 'p', 'Paid');
SELECT pm.read('payments');
SELECT pm.read_stream('payments', 'p');
SELECT pm.high_water_mark('payments');
SELECT pm.trim('payments', 1);
SELECT pm.create_log('payments');
SELECT pm.append('payments', 'p', 'Paid');
SELECT "position", version, type FROM pm.read('payments');
-- dropped and created again as another kind of table
DROP TABLE payments;
CREATE TABLE payments (i int);
SELECT pm.read('payments');
SELECT pm.drop_log('payments');
DROP TABLE payments;
SELECT pm.create_log('payments');

-- in a transaction that rolls back
BEGIN;
SELECT pm.create_log('passing');
SELECT pm.append('passing', 's', 't');
ROLLBACK;
SELECT pm.read('passing');
BEGIN;
SELECT pm.append('orders', 'o-2', 'Placed');
SELECT pm.drop_log('orders');
ROLLBACK;
SELECT pm.high_water_mark('orders');

-- DROP SCHEMA CASCADE drops the table
SELECT pm.drop_log('"Odd One"."a.b"');
DROP SCHEMA "Odd One" CASCADE;

-- renaming the table: the log keeps its name
ALTER TABLE shipping RENAME TO shipments;
SELECT pm.append('shipping', 's-1', 'Sent');
SELECT log, "position", stream FROM pm.read('shipping');
SELECT name, "table" FROM pm.log WHERE name = 'shipping';
SELECT pm.drop_log('shipping');
DROP TABLE shipments;

-- wrong columns
SELECT pm.create_log('crooked');
ALTER TABLE crooked RENAME COLUMN stream TO stem;
SELECT pm.read('crooked');
SELECT pm.append('crooked', 's', 't');
ALTER TABLE crooked RENAME COLUMN stem TO stream;
ALTER TABLE crooked ADD COLUMN extra int, ALTER COLUMN data TYPE text;
SELECT pm.read('crooked');
ALTER TABLE crooked ALTER COLUMN data DROP DEFAULT, ALTER COLUMN data TYPE jsonb USING data::jsonb, ALTER COLUMN data SET DEFAULT '{}';
ALTER TABLE crooked DROP COLUMN extra;
SELECT pm.append('crooked', 's', 't');
SELECT stream, version, type, data, metadata FROM pm.read('crooked');
ALTER TABLE crooked DROP COLUMN version CASCADE;
SELECT pm.append('crooked', 's', 't');
SELECT pm.drop_log('crooked');
DROP TABLE crooked;

-- ---- pm.read ----------------------------------------------------------------

SELECT pm.create_log('events');
INSERT INTO events (stream, type, data, metadata) VALUES
	('a', 'Placed', '{"n": 1}', '{"by": "me"}'), ('a', 'Paid', DEFAULT, DEFAULT), ('b', 'Placed', '[1, 2]', DEFAULT);
SELECT pm.append('events', 'a', 'Sent'), pm.append('events', 'b', 'Sent');
COPY events (stream, type, data) FROM stdin;
c	Copied	{"from": "file"}
c	Copied	"text"
\.
SELECT log, "position", stream, version, type, data, metadata, recorded_at IS NOT NULL AS recorded FROM pm.read('events');
SELECT "position" FROM pm.read('events', 3);
SELECT "position" FROM pm.read('events', after => 3, max_count => 2);
SELECT "position" FROM pm.read('events', max_count => 0);
SELECT count(*) FROM pm.read('events', max_count => NULL);
SELECT "position" FROM pm.read('events', after => NULL, max_count => 1);
SELECT "position" FROM pm.read('events', after => -5, max_count => 1);
SELECT "position" FROM pm.read('events', after => 9223372036854775807);
SELECT "position", type FROM pm.read('events', types => '{Sent,Copied}');
SELECT "position", type FROM pm.read('events', 4, 2, '{Sent,Copied}');
SELECT "position" FROM pm.read('events', types => '{}');
SELECT "position", type FROM pm.read('events', types => '{Sent,NULL}');
SELECT pm.read('events', max_count => -1);
SELECT pm.read(NULL);
-- the caller's own uncommitted events are not below the mark
BEGIN;
INSERT INTO events (stream, type) VALUES ('d', 'Open');
SELECT pm.high_water_mark('events'), (SELECT max("position") FROM pm.read('events')) AS last_read, (SELECT max("position") FROM events) AS last_there;
ROLLBACK;
SELECT pm.high_water_mark('events'), (SELECT max("position") FROM pm.read('events')) AS last_read;
SELECT pm.high_water_mark(NULL) IS NULL AS strict;
SELECT pm.high_water_mark('nosuch');
-- the order is that of the positions, whatever the plan
SET enable_indexscan = off;
SET enable_bitmapscan = off;
SELECT array_agg("position") FROM pm.read('events');
RESET enable_indexscan;
RESET enable_bitmapscan;
-- a column is added, and dropped
ALTER TABLE events ADD COLUMN note text DEFAULT 'n';
SELECT "position", type FROM pm.read('events', max_count => 1);
ALTER TABLE events DROP COLUMN note;
SELECT "position", type FROM pm.read('events', max_count => 1);
-- a child table is not part of the log
CREATE TABLE child () INHERITS (events);
INSERT INTO child ("position", stream, type) VALUES (1, 'child', 'x');
SELECT count(*) FROM pm.read('events');
DROP TABLE child;

-- ---- pm.read_stream ---------------------------------------------------------

SELECT "position", stream, version, type FROM pm.read_stream('events', 'a');
SELECT "position", version, type FROM pm.read_stream('events', 'a', 1);
INSERT INTO events (stream, version, type) VALUES ('e', 3, 'three'), ('e', NULL, 'none'), ('e', 1, 'one'), ('e', NULL, 'none');
SELECT "position", version, type FROM pm.read_stream('events', 'e');
SELECT "position", version, type FROM pm.read_stream('events', 'e', 1);
SELECT "position", version, type FROM pm.read_stream('events', 'e', 0, 1);
SELECT "position", version, type FROM pm.read_stream('events', 'e', max_count => 0);
SELECT count(*) FROM pm.read_stream('events', 'e', NULL, NULL);
SELECT count(*) FROM pm.read_stream('events', 'nobody');
SELECT pm.read_stream('events', NULL);
SELECT pm.read_stream(NULL, 'e');
SELECT pm.read_stream('events', 'e', max_count => -1);
-- everything visible, including the caller's own uncommitted events
BEGIN;
SELECT pm.append('events', 'a', 'Open');
SELECT "position", version, type FROM pm.read_stream('events', 'a', 1);
ROLLBACK;

-- ---- pm.trim ----------------------------------------------------------------

SELECT count(*), min("position") FROM events;
SELECT pm.trim('events', 2);
SELECT pm.trim('events', 2);
SELECT pm.trim('events', 7, 3);
SELECT pm.trim('events', 7, 3);
SELECT pm.trim('events', 7, 0);
SELECT pm.trim('events', -1);
SELECT pm.trim('events', 7, -1);
SELECT pm.trim(NULL, 7) IS NULL AS strict;
SELECT min("position") FROM pm.read('events');
-- the positions of trimmed events are not used again
SELECT pm.append('events', 'f', 'next');
SELECT pm.trim('events', 9223372036854775807);
SELECT count(*) FROM events;
SELECT pm.append('events', 'f', 'next');
SELECT pm.high_water_mark('events');

-- not past the cursor of a process manager
CREATE FUNCTION nothing(e pm.event) RETURNS void LANGUAGE sql AS '';
SET client_min_messages = error;
SELECT pm.register('follower', 'nothing', '{events}', start_at => 'beginning');
SELECT pm.pause('follower');
RESET client_min_messages;
SELECT pm.seek('follower', 'events', 5);
SELECT pm.trim('events', 6);
SELECT pm.trim('events', 5);
SELECT pm.trim('sales.orders', 100);
SELECT pm.drop_log('events');
DROP TABLE events;
SELECT pm.create_log('events');
DROP TABLE events CASCADE;
SELECT name, logs FROM pm.process_manager;
SELECT pm.unregister('follower');
SELECT pm.create_log('events');
SELECT pm.drop_log('events');

-- ---- rights -----------------------------------------------------------------

CREATE ROLE regress_pm_alice;
CREATE ROLE regress_pm_bob;
GRANT USAGE ON SCHEMA pm TO regress_pm_alice, regress_pm_bob;
CREATE SCHEMA alice AUTHORIZATION regress_pm_alice;
GRANT USAGE ON SCHEMA alice TO regress_pm_bob;
SET ROLE regress_pm_alice;
SELECT pm.create_log('alice.notes');
SELECT pm.append('alice.notes', 'n', 'Noted');
SELECT count(*) FROM pm.read('alice.notes');
SELECT pm.create_log('sales.notes');
SELECT name FROM pm.log WHERE name LIKE '%notes';
RESET ROLE;
SELECT tableowner FROM pg_tables WHERE tablename = 'notes';
SET ROLE regress_pm_bob;
SELECT pm.append('alice.notes', 'n', 'Noted');
SELECT pm.read('alice.notes');
SELECT pm.read_stream('alice.notes', 'n');
SELECT pm.high_water_mark('alice.notes');
SELECT pm.trim('alice.notes', 1);
SELECT pm.drop_log('alice.notes');
SELECT name FROM pm.log;
RESET ROLE;
GRANT INSERT ON alice.notes TO regress_pm_bob;
SET ROLE regress_pm_bob;
INSERT INTO alice.notes (stream, type) VALUES ('n', 'Noted');
SELECT pm.append('alice.notes', 'n', 'Noted');		-- SELECT is needed as well
RESET ROLE;
GRANT SELECT ON alice.notes TO regress_pm_bob;
SET ROLE regress_pm_bob;
SELECT pm.append('alice.notes', 'n', 'Noted');
SELECT "position", version FROM pm.read('alice.notes');
SELECT pm.high_water_mark('alice.notes');
SELECT pm.trim('alice.notes', 1);
SELECT pm.drop_log('alice.notes');
RESET ROLE;
-- the table has row level security, which would silently hide events
ALTER TABLE alice.notes ENABLE ROW LEVEL SECURITY;
SET ROLE regress_pm_bob;
SELECT pm.read('alice.notes');
SELECT pm.high_water_mark('alice.notes');
RESET ROLE;
-- a superuser may do everything
SELECT pm.drop_log('alice.notes');
DROP SCHEMA alice CASCADE;
DROP OWNED BY regress_pm_alice, regress_pm_bob;
DROP ROLE regress_pm_alice, regress_pm_bob;

DO $$ DECLARE l record; BEGIN FOR l IN SELECT name, "table" FROM pm.log LOOP PERFORM pm.drop_log(l.name); EXECUTE 'DROP TABLE ' || l."table"; END LOOP; END $$;
DROP TABLE events;
DROP SCHEMA sales CASCADE;
DROP FUNCTION nothing(pm.event);

-- ---- memory -----------------------------------------------------------------

-- a session forgets logs that are gone
CREATE PROCEDURE churn() LANGUAGE plpgsql AS $$ BEGIN
	FOR i IN 1 .. 60 LOOP
		PERFORM pm.create_log('gone' || i), pm.append('gone' || i, 's', 't');
		EXECUTE 'DROP TABLE gone' || i;
		COMMIT;
	END LOOP;
END $$;
CREATE VIEW known AS SELECT coalesce(sum(used_bytes), 0) AS bytes FROM pg_backend_memory_contexts WHERE name IN ('pm logs', 'pm relations of logs');
SELECT bytes AS before FROM known \gset
CALL churn();
SELECT bytes - :before < 2000 AS few FROM known;
DROP VIEW known;
DROP PROCEDURE churn;
