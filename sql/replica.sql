-- Replica logs, as far as one session shows them: a session with session_replication_role = replica writes like a subscription
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
SET client_min_messages = notice;
\set ECHO all

SELECT pm.create_replica_log('sales.orders');
CREATE SCHEMA sales;
SELECT pm.create_replica_log('sales.orders');
SELECT pm.create_replica_log('sales.orders');
SELECT pm.create_log('sales.orders');
SELECT name, kind, "table", pos, stream, version, type, data, metadata, recorded_at FROM pm.log ORDER BY name COLLATE "C";
SELECT a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull, a.attidentity FROM pg_attribute a WHERE a.attrelid = 'sales.orders'::regclass AND a.attnum > 0 ORDER BY a.attnum;
SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'sales.orders'::regclass ORDER BY 1;
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'sales.orders'::regclass AND contype = 'c';
SELECT pg_get_triggerdef(oid), tgenabled FROM pg_trigger WHERE tgrelid = 'sales.orders'::regclass AND NOT tgisinternal ORDER BY tgname;

-- only a subscription writes it
SELECT pm.append('sales.orders', 's', 'T');
SELECT pm.append_all('sales.orders', 's', '[{"type": "T"}]');
INSERT INTO sales.orders (stream, type) VALUES ('s', 'T');
INSERT INTO sales.orders (stream, type, origin_position) VALUES ('s', 'T', 1);
INSERT INTO sales.orders (position, stream, type, origin_position) OVERRIDING SYSTEM VALUE VALUES (1, 's', 'T', 1);

-- events that arrive
CREATE FUNCTION arrive(positions bigint[], stream text, at timestamptz DEFAULT '2026-01-01') RETURNS void LANGUAGE sql
	SET session_replication_role = replica AS $$
	INSERT INTO sales.orders (position, stream, type, recorded_at) OVERRIDING SYSTEM VALUE SELECT p, $2, 'T', $3 FROM unnest($1) p $$;
SELECT arrive('{12,10,17}', 'a');				-- in the order of the publisher's positions
SELECT arrive('{11,12,9}', 'a');				-- 12 is known
SELECT position, origin_position, stream, type FROM sales.orders ORDER BY position;
SELECT "position", stream, type FROM pm.read('sales.orders');
SELECT pm.high_water_mark('sales.orders');
-- another event at a known position
SELECT arrive('{10}', 'b');
SELECT arrive('{10}', 'a', '2026-01-02');
-- a known event whose type and data were corrected here is no error
UPDATE sales.orders SET type = 'Corrected', data = '{"x": 1}' WHERE origin_position = 10;
SELECT arrive('{10}', 'a');
UPDATE sales.orders SET origin_position = 99 WHERE origin_position = 10;
UPDATE sales.orders SET position = 99 WHERE origin_position = 10;
TRUNCATE sales.orders;
-- the failed statement has left nothing behind
BEGIN;
SAVEPOINT x;
SELECT arrive('{20,10}', 'c');
ROLLBACK TO x;
SELECT arrive('{21}', 'c');
COMMIT;
SELECT origin_position, stream, type FROM sales.orders WHERE origin_position > 17 OR type = 'Corrected' ORDER BY position;

-- ---- what was trimmed does not come back ------------------------------------

SELECT pm.trim('sales.orders', (SELECT max(position) FROM sales.orders WHERE origin_position < 17), 3);
SELECT first, last FROM pm_catalog.trimmed_origin ORDER BY last;
SELECT pm.trim('sales.orders', (SELECT max(position) FROM sales.orders), 2);
SELECT first, last FROM pm_catalog.trimmed_origin ORDER BY last;
SELECT arrive('{8,9,10,11,12,13,17,18}', 'a');
SELECT origin_position FROM sales.orders ORDER BY position;
-- a trigger for DELETE
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN old; END';
CREATE TRIGGER audit BEFORE DELETE ON sales.orders FOR EACH ROW EXECUTE FUNCTION audit();
SELECT pm.trim('sales.orders', 1000);
DROP TRIGGER audit ON sales.orders;
-- rows that the owner deletes are forgotten
DELETE FROM sales.orders WHERE origin_position = 13;
SELECT arrive('{13}', 'a');
SELECT count(*) FROM sales.orders WHERE origin_position = 13;

-- ---- process managers -------------------------------------------------------

CREATE TABLE got (pos bigint, origin bigint, stream text);
CREATE FUNCTION keep(e pm.event) RETURNS void LANGUAGE sql AS $$
	INSERT INTO got SELECT e.position, o.origin_position, e.stream FROM sales.orders o WHERE o.position = e.position $$;
SET client_min_messages = error;
SELECT pm.register('keep', 'keep', '{sales.orders}', start_at => 'end');
SELECT arrive('{30,31}', 'd');
SELECT pm.catch_up('keep');
SELECT origin, stream FROM got ORDER BY pos;
-- a handler cannot append to the replica log that it follows
CREATE FUNCTION append(e pm.event) RETURNS void LANGUAGE sql AS $$ SELECT pm.append('sales.orders', 's', 'T') $$;
SELECT pm.register('append', 'append', '{sales.orders}', start_at => 'end', max_attempts => 1);
SELECT arrive('{32}', 'd');
SELECT pm.catch_up('append');
SELECT pm.unregister('append');
SELECT pm.unregister('keep');

SET client_min_messages = notice;

-- ---- broken and repaired ----------------------------------------------------

ALTER TABLE sales.orders DISABLE TRIGGER pm_arrival;
SELECT pm.high_water_mark('sales.orders');
SELECT pm.create_replica_log('sales.orders');
ALTER TABLE sales.orders DROP CONSTRAINT orders_origin_position_key;
SELECT arrive('{40}', 'e');
SELECT pm.high_water_mark('sales.orders');
SELECT pm.create_log('sales.orders');
SELECT arrive('{40,40}', 'e');
ALTER TABLE sales.orders RENAME origin_position TO other;
SELECT pm.high_water_mark('sales.orders');
SELECT arrive('{41}', 'e');
SELECT pm.create_replica_log('sales.orders');
ALTER TABLE sales.orders RENAME other TO origin_position;
SELECT arrive('{41}', 'e');

-- A trigger that is off, missing, renamed, conditional, or another one: rows are refused and not lost. The hint repairs it.
SET client_min_messages = notice;
CREATE PROCEDURE broken(change text) LANGUAGE plpgsql AS $$
DECLARE
	t text; m text; h text; n bigint; did text;
BEGIN
	FOREACH t IN ARRAY '{pm_arrival_begin,pm_arrival,pm_arrival_end}'::text[] LOOP
		EXECUTE replace(change, '%', t);
		n := (SELECT max(origin_position) FROM sales.orders) + 1;
		FOR i IN 1 .. 3 LOOP
			BEGIN
				PERFORM arrive(ARRAY[n + 1, n], 'broken');
				EXIT;
			EXCEPTION WHEN OTHERS THEN
				GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, h = PG_EXCEPTION_HINT;
			END;
			did := substring(h from 'run (.*?)(?:\.$|: it )');
			RAISE NOTICE '%: % | %', t, m, did;
			EXECUTE did;
		END LOOP;
		IF (SELECT array_agg(origin_position ORDER BY position) FROM sales.orders WHERE origin_position >= n) IS DISTINCT FROM ARRAY[n, n + 1] THEN
			RAISE EXCEPTION 'rows are lost, or not in order';
		END IF;
	END LOOP;
END $$;
CREATE FUNCTION other() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CALL broken('ALTER TABLE sales.orders DISABLE TRIGGER %');
CALL broken('ALTER TABLE sales.orders ENABLE TRIGGER %');
CALL broken('ALTER TABLE sales.orders ENABLE REPLICA TRIGGER %');
CALL broken('DROP TRIGGER % ON sales.orders');
CALL broken('ALTER TRIGGER % ON sales.orders RENAME TO other');
CALL broken('CREATE OR REPLACE TRIGGER % BEFORE INSERT ON sales.orders FOR EACH ROW EXECUTE FUNCTION other(); ALTER TABLE sales.orders ENABLE ALWAYS TRIGGER %');
-- a condition
DROP TRIGGER pm_arrival_end ON sales.orders;
CREATE TRIGGER pm_arrival_end AFTER INSERT ON sales.orders FOR EACH STATEMENT WHEN (false) EXECUTE FUNCTION pm_catalog.arrival_end();
ALTER TABLE sales.orders ENABLE ALWAYS TRIGGER pm_arrival_end;
SELECT arrive('{500}', 'broken');
SELECT pm.create_replica_log('sales.orders');
-- a second trigger with the same function
CREATE TRIGGER zz BEFORE INSERT ON sales.orders FOR EACH ROW EXECUTE FUNCTION pm_catalog.arrival();
ALTER TABLE sales.orders ENABLE ALWAYS TRIGGER zz;
SELECT arrive('{500}', 'broken');
DROP TRIGGER zz ON sales.orders;
-- all of them are off: also in a session that is no subscription, and for rows that the subscription applies
ALTER TABLE sales.orders DISABLE TRIGGER pm_arrival_begin, DISABLE TRIGGER pm_arrival, DISABLE TRIGGER pm_arrival_end;
INSERT INTO sales.orders (stream, type, origin_position) VALUES ('s', 'T', 501);
SELECT arrive('{501}', 'broken');
SELECT pm.create_replica_log('sales.orders');
SELECT arrive('{501}', 'broken');
SELECT count(*) FROM sales.orders WHERE origin_position = 501;
DROP PROCEDURE broken;
DROP FUNCTION other;

-- ---- triggers that write replica logs ---------------------------------------

SELECT pm.create_replica_log('sales.second');
CREATE FUNCTION pass_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO sales.second (position, stream, type, recorded_at) OVERRIDING SYSTEM VALUE
	VALUES (coalesce(NEW.origin_position, NEW.position), NEW.stream, 'T', NEW.recorded_at);
	RETURN NEW;
END $$;
-- when a row is written
CREATE TRIGGER pass_on AFTER INSERT ON sales.orders FOR EACH ROW EXECUTE FUNCTION pass_on();
ALTER TABLE sales.orders ENABLE ALWAYS TRIGGER pass_on;
SELECT arrive('{1003,1001,1002}', 'passed');
SELECT count(*) FROM sales.orders WHERE stream = 'passed';
SELECT origin_position FROM sales.second ORDER BY position;
DROP TRIGGER pass_on ON sales.orders;
-- while rows are collected
CREATE TRIGGER aa BEFORE INSERT ON sales.orders FOR EACH ROW EXECUTE FUNCTION pass_on();
ALTER TABLE sales.orders ENABLE ALWAYS TRIGGER aa;
SELECT arrive('{1006,1005,1004}', 'passed');
SELECT origin_position FROM sales.orders WHERE stream = 'passed' ORDER BY position;
SELECT count(*) FROM sales.second;
DROP TRIGGER aa ON sales.orders;
SELECT pm.drop_log('sales.second');
DROP FUNCTION pass_on CASCADE;

-- ---- dropped, and created again ---------------------------------------------

SELECT pm.drop_log('sales.orders');
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'sales.orders'::regclass AND NOT tgisinternal;
SELECT count(*) FROM pm_catalog.trimmed_origin;
SELECT pm.create_replica_log('sales.orders');
SELECT kind FROM pm.log WHERE name = 'sales.orders';
-- tables that cannot become a replica log
CREATE TABLE sales.plain (LIKE sales.orders INCLUDING IDENTITY INCLUDING INDEXES);
ALTER TABLE sales.plain DROP COLUMN origin_position;
SELECT pm.create_replica_log('sales.plain');
SELECT pm.create_log('sales.mine');
SELECT pm.create_replica_log('sales.mine');

SELECT pm.drop_log('sales.orders');
SELECT pm.drop_log('sales.mine');
DROP FUNCTION arrive, keep, append, audit;
DROP TABLE got;
DROP SCHEMA sales CASCADE;
