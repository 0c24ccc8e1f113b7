-- pm.append with an id: the second append of an id returns the position of the first, and writes nothing.
\set SHOW_CONTEXT never
SELECT pm.create_log('orders');
SELECT pm.create_log('payments');
CREATE FUNCTION ids() RETURNS TABLE (log text, id text, "position" bigint) LANGUAGE sql AS
$$ SELECT a.log, n, a."position" FROM pm_catalog.append_id a
	JOIN unnest(ARRAY['i-1', 'i-2', 'i-3', 'ß', ' ', E'\n', repeat('ß', 5000)]) n ON sha256(convert_to(n, 'UTF8')) = a.id
	ORDER BY 1, 3 $$;

SELECT pm.append('orders', 'a', 'opened', id => 'i-1');
SELECT pm.append('orders', 'a', 'opened', id => 'i-1');
-- whatever else is given; the expected version is not checked
SELECT pm.append('orders', 'b', 'other', '{"n": 1}', '{"m": 1}', 7, 'i-1');
SELECT pm.append('orders', 'a', 'opened', expected_version => 0, id => 'i-1');
-- except for an id that is not known
SELECT pm.append('orders', 'a', 'opened', expected_version => 0, id => 'i-2');
SELECT pm.append('orders', 'a', 'closed', expected_version => 1, id => 'i-2');
SELECT pm.append('orders', 'a', 'closed', expected_version => 1, id => 'i-2');
-- another log has other ids
SELECT pm.append('payments', 'a', 'paid', id => 'i-1');
-- long and unusual ids
SELECT n = pm.append('orders', 'c', 'x', id => repeat('ß', 5000)) AS same FROM pm.append('orders', 'c', 'x', id => repeat('ß', 5000)) n;
SELECT pm.append('orders', 'c', 'x', id => repeat('ß', 4999)) > pm.append('orders', 'c', 'x', id => repeat('ß', 5000)) AS another;
SELECT pm.append('orders', 'c', 'x', id => i) FROM unnest(ARRAY[' ', E'\n', ' ', 'ß', 'SS', 'ß']) i;
SELECT length(pm.append('orders', 'c', 'x', id => repeat('x', 20000000))::text) > 0 AS appended;
SELECT pm.append('orders', 'c', 'x', id => '');
SELECT pm.append('orders', 'c', 'x', id => NULL) < pm.append('orders', 'c', 'x', id => NULL) AS two;
SELECT log, left(id, 3) AS id, "position" FROM ids();
SELECT count(*) FROM pm.read('orders');
SELECT pm.append_all('orders', 'a', '[{"type": "x", "id": "i-1"}]');
SELECT pm.append('nowhere', 'a', 'x', id => 'i-1');

-- rolled back with the event
BEGIN;
SELECT pm.append('orders', 'd', 'x', id => 'i-3') > 0 AS appended;
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT pm.append('orders', 'd', 'x', id => 'i-3') > 0 AS appended;
ROLLBACK TO s;
SELECT pm.append('orders', 'd', 'x', id => 'i-3') AS p \gset
SELECT pm.append('orders', 'd', 'x', id => 'i-3') = :p AS same;
SAVEPOINT s;
SELECT pm.append('orders', 'd', 'x', id => 'i-3') = :p AS same;
RELEASE s;
COMMIT;
SELECT count(*) FROM pm.read_stream('orders', 'd');
BEGIN READ ONLY;
SELECT pm.append('orders', 'd', 'x', id => 'i-3');
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pm.append('orders', 'd', 'x', id => 'i-3') = :p AS same;
COMMIT;

-- an id is known for as long as its event is in the log
DELETE FROM orders WHERE stream = 'a' AND version = 1;
BEGIN;
SELECT pm.append('orders', 'a', 'again', id => 'i-1') > :p AS appended;
ROLLBACK;
SELECT pm.append('orders', 'a', 'again', id => 'i-1') AS q \gset
SELECT pm.append('orders', 'a', 'again', id => 'i-1') = :q AS same;
SELECT version, type FROM pm.read_stream('orders', 'a');
SELECT count(*) FROM pm_catalog.append_id WHERE log = 'orders';
SELECT pm.trim('orders', :p, 1);
SELECT id, "position" = :p AS p, "position" = :q AS q FROM ids() WHERE log = 'orders' AND length(id) = 3;
SELECT pm.trim('orders', :p) > 0 AS trimmed;
SELECT id, "position" = :q AS q FROM ids() WHERE log = 'orders';
SELECT pm.append('orders', 'd', 'x', id => 'i-3', expected_version => 1) > :q AS appended_again;
SELECT version FROM pm.read_stream('orders', 'd');

-- likewise for a log with a row trigger, to which pm.append writes with INSERT
CREATE FUNCTION look_on() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN coalesce(NEW, OLD); END $$;
CREATE TRIGGER look_on BEFORE INSERT OR DELETE ON payments FOR EACH ROW EXECUTE FUNCTION look_on();
SELECT pm.append('payments', 'a', 'paid', id => 'i-1');
SELECT pm.append('payments', 'b', 'paid', id => 'i-2', expected_version => 0);
SELECT pm.append('payments', 'b', 'paid', id => 'i-2', expected_version => 0);
SELECT pm.trim('payments', 1);
SELECT * FROM ids() WHERE log = 'payments';
SELECT pm.append('payments', 'a', 'paid', id => 'i-1');
-- a trigger that appends an event of the same id, and one that discards it
CREATE FUNCTION twice() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN IF NEW.stream = 'twice' THEN PERFORM pm.append('payments', 'trigger', 'x', id => NEW.type); END IF; RETURN NULL; END $$;
CREATE TRIGGER twice AFTER INSERT ON payments FOR EACH ROW EXECUTE FUNCTION twice();
SELECT pm.append('payments', 'twice', 'i-3', id => 'i-3');
SELECT pm.append('payments', 'twice', 'i-3', id => 'ß');
SELECT pm.append('payments', 'twice', 'i-3', id => 'ß') = pm.append('payments', 'x', 'i-3', id => 'ß') AS same;
CREATE FUNCTION discard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER discard BEFORE INSERT ON payments FOR EACH ROW EXECUTE FUNCTION discard();
SELECT pm.append('payments', 'a', 'x', id => ' ');
SELECT id FROM ids() WHERE log = 'payments';

-- rights
CREATE ROLE append_id_writer;
CREATE ROLE append_id_reader;
CREATE ROLE append_id_columns;
CREATE ROLE append_id_blind;
CREATE SCHEMA app;
SELECT pm.create_log('app.log');
SELECT pm.append('app.log', 'mine', 'x', id => 'i-1');
GRANT USAGE ON SCHEMA pm TO append_id_writer, append_id_reader, append_id_columns, append_id_blind;
GRANT USAGE ON SCHEMA app TO append_id_writer, append_id_reader, append_id_columns, append_id_blind;
GRANT SELECT, INSERT ON app.log TO append_id_writer;
GRANT SELECT ON app.log TO append_id_reader;
GRANT SELECT, INSERT (stream, version, type, data, metadata) ON app.log TO append_id_columns;
GRANT INSERT ON app.log TO append_id_blind;
SET ROLE append_id_writer;
SELECT pm.append('app.log', 'theirs', 'x', id => 'i-1');
SELECT pm.append('app.log', 'theirs', 'x', id => 'i-2');
SELECT * FROM pm_catalog.append_id;
SET ROLE append_id_reader;
SELECT pm.append('app.log', 'theirs', 'x', id => 'i-1');
SELECT pm.append('app.log', 'theirs', 'x', id => 'i-3');
SET ROLE append_id_columns;
SELECT pm.append('app.log', 'theirs', 'x', id => 'i-1');
SELECT pm.append('app.log', 'theirs', 'x', id => 'i-3');
SET ROLE append_id_blind;
SELECT pm.append('app.log', 'theirs', 'x', id => 'i-1');
SELECT pm.append('app.log', 'theirs', 'x', id => 'i-4');
RESET ROLE;
-- row-level security hides the event
ALTER TABLE app.log ENABLE ROW LEVEL SECURITY;
CREATE POLICY theirs ON app.log USING (stream <> 'mine') WITH CHECK (true);
SET ROLE append_id_writer;
SELECT pm.append('app.log', 'theirs', 'x', id => 'i-1');
SELECT pm.append('app.log', 'theirs', 'x', id => 'i-2');
RESET ROLE;
SELECT count(*) FROM app.log;

-- the table may be renamed and moved; a log that is dropped forgets its ids
ALTER TABLE app.log RENAME TO events;
ALTER TABLE app.events SET SCHEMA public;
SELECT pm.append('app.log', 'mine', 'x', id => 'i-1');
SELECT pm.drop_log('app.log');
SELECT count(*) FROM pm_catalog.append_id WHERE log = 'app.log';
ALTER TABLE events NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;
SELECT pm.create_log('events');
SELECT pm.append('events', 'mine', 'x', id => 'i-1') > 1 AS appended;
DROP TABLE events CASCADE;
SELECT count(*) FROM pm_catalog.append_id WHERE log = 'events';
SELECT pm.create_log('events');
SELECT pm.append('events', 'mine', 'x', id => 'i-1');
-- many ids are removed in pieces; those of events that are left stay
SELECT count(pm.append('events', 's' || i, 'x', id => 'n-' || i)) FROM generate_series(1, 2500) i;
SELECT pm.trim('events', 2400, NULL);
SELECT count(*), min("position") FROM pm_catalog.append_id WHERE log = 'events';

DROP TABLE events, payments, orders;
SELECT count(*) FROM pm_catalog.append_id;
DROP FUNCTION ids, look_on, twice, discard;
DROP SCHEMA app;
DROP OWNED BY append_id_writer, append_id_reader, append_id_columns, append_id_blind;
DROP ROLE append_id_writer, append_id_reader, append_id_columns, append_id_blind;
