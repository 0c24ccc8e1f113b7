-- The versions of a stream continue after pm.trim.
\set SHOW_CONTEXT never
SELECT pm.create_log('orders');
CREATE FUNCTION versions(wanted text) RETURNS TABLE ("position" bigint, version bigint, type text) LANGUAGE sql AS
$$ SELECT "position", version, type FROM pm.read_stream('orders', wanted) $$;
CREATE FUNCTION kept() RETURNS TABLE (log text, stream text, version bigint) LANGUAGE sql AS
$$ SELECT t.log, n, t.version FROM pm_catalog.trimmed t
	JOIN unnest(ARRAY['a', 'b', 'c', 'plain', repeat('ß', 5000)]) n ON sha256(convert_to(n, 'UTF8')) = t.stream ORDER BY 2 $$;

SELECT pm.append('orders', 'a', 'opened', expected_version => 0);
SELECT pm.append('orders', 'a', 'closed', expected_version => 1);
SELECT pm.append('orders', 'b', 'opened');
SELECT pm.append('orders', repeat('ß', 5000), 'opened');
INSERT INTO orders (stream, type) VALUES ('plain', 'p');
SELECT pm.append_all('orders', 'c', '[{"type": "1"}, {"type": "2"}, {"type": "3"}]');
-- one event of stream c is left
SELECT pm.trim('orders', 7);
SELECT log, left(stream, 5) AS stream, version FROM kept();
SELECT pm.append('orders', 'a', 'opened', expected_version => 0);
SELECT pm.append('orders', 'a', 'opened', expected_version => 1);
SELECT pm.append('orders', 'plain', 'opened', expected_version => 0);
SELECT pm.append('orders', 'plain', 'opened', expected_version => 7);
SELECT pm.append_all('orders', 'b', '[{"type": "1"}, {"type": "2"}]', 0);
SELECT pm.append('orders', 'a', 'opened again', expected_version => 2);
SELECT pm.append_all('orders', 'b', '[{"type": "1"}, {"type": "2"}]', 1);
SELECT pm.append('orders', 'plain', 'opened');
SELECT pm.append('orders', repeat('ß', 5000), 'on') IS NOT NULL AS appended;
SELECT pm.append('orders', 'c', '4', expected_version => 3);
SELECT pm.append('orders', 'd', 'opened', expected_version => 0);
SELECT * FROM versions('a') UNION ALL SELECT * FROM versions('b') UNION ALL SELECT * FROM versions('c') UNION ALL SELECT * FROM versions('plain');
-- an event without a version does not start the versions again
SELECT pm.trim('orders', 20, NULL);
INSERT INTO orders (stream, type) VALUES ('a', 'plain');
SELECT pm.append('orders', 'a', 'x', expected_version => 0);
SELECT pm.append('orders', 'a', 'x');
SELECT version FROM versions('a');
-- in one transaction, and rolled back
BEGIN;
SELECT pm.trim('orders', 1000);
SELECT pm.append('orders', 'a', 'y', expected_version => 4);
SELECT pm.append('orders', 'e', 'y', expected_version => 0);
SAVEPOINT s;
SELECT pm.trim('orders', 1000);
SELECT pm.append('orders', 'e', 'y', expected_version => 1);
ROLLBACK TO s;
SELECT pm.append('orders', 'e', 'y', expected_version => 1);
ROLLBACK;
SELECT pm.append('orders', 'e', 'y', expected_version => 0);
-- likewise for a log with a row trigger, to which pm.append writes with INSERT
CREATE FUNCTION look_on() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN coalesce(NEW, OLD); END $$;
CREATE TRIGGER look_on BEFORE INSERT OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION look_on();
SELECT pm.trim('orders', 1000);
SELECT pm.append('orders', 'a', 'z', expected_version => 0);
SELECT pm.append('orders', 'a', 'z', expected_version => 3);
SELECT pm.append('orders', 'a', 'z', expected_version => 4);
SELECT pm.append_all('orders', 'b', '[{"type": "1"}, {"type": "2"}]', 0);
SELECT pm.append_all('orders', 'b', '[{"type": "1"}, {"type": "2"}]');
SELECT pm.append('orders', 'f', 'z', expected_version => 0);
SELECT version FROM versions('a') UNION ALL SELECT version FROM versions('b') UNION ALL SELECT version FROM versions('f');
-- an event that the trigger saves from deletion keeps its version
CREATE OR REPLACE FUNCTION look_on() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
SELECT pm.trim('orders', 1000);
SELECT count(*) FROM versions('a');
DROP TRIGGER look_on ON orders;
-- after DELETE by the owner the versions start again
SELECT pm.append('orders', 'h', 'x');
DELETE FROM orders WHERE stream = 'h';
SELECT pm.append('orders', 'h', 'x', expected_version => 0) IS NOT NULL AS appended;
-- pm.drop_log removes the stored versions
SELECT count(*) > 0 AS kept FROM kept();
SELECT pm.drop_log('orders');
SELECT count(*) > 0 AS kept FROM pm_catalog.trimmed;
DROP TABLE orders;
-- an unlogged sequence is a problem
SELECT pm.create_log('orders');
ALTER SEQUENCE orders_position_seq SET UNLOGGED;
SELECT problem, hint FROM pm_catalog.log_state('orders');
SELECT pm.create_log('orders');
SELECT pm.append('orders', 'a', 'x');
ALTER SEQUENCE public.orders_position_seq SET LOGGED; SELECT pm.create_log('orders');
SELECT pm.append('orders', 'a', 'x');
SELECT pm.drop_log('orders');
DROP TABLE orders;
DROP FUNCTION versions(text), kept(), look_on();
