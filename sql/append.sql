-- pm.append and pm.append_all: versions, expected versions, invalid events
\set SHOW_CONTEXT never
SELECT pm.create_log('orders');

-- ---- each stream has its own versions ---------------------------------------

SELECT pm.append('orders', 'o-1', 'Placed', '{"total": 5}', '{"user": "u"}');
SELECT pm.append('orders', 'o-1', 'Paid');
SELECT pm.append('orders', 'o-2', 'Placed');
SELECT pm.append(log => 'orders', stream => 'o-2', type => 'Paid', expected_version => 1);
SELECT pm.append('orders', 'o-2', 'Sent', NULL, NULL, NULL);
SELECT "position", stream, version, type, data, metadata FROM pm.read('orders');
-- a rolled-back append leaves a gap in the positions, but not in the versions
BEGIN;
SELECT pm.append('orders', 'o-1', 'Lost');
ROLLBACK;
SELECT pm.append('orders', 'o-1', 'Sent');
SELECT "position", version, type FROM pm.read_stream('orders', 'o-1');
-- several appends in one transaction, with a savepoint between them
BEGIN;
SELECT pm.append('orders', 'o-1', 'Four');
SAVEPOINT s;
SELECT pm.append('orders', 'o-1', 'Lost', expected_version => 4);
ROLLBACK TO s;
SELECT pm.append('orders', 'o-1', 'Five', expected_version => 4);
COMMIT;
SELECT version, type FROM pm.read_stream('orders', 'o-1', 3);
-- several appends in one statement
SELECT pm.append('orders', 'o-3', 'n' || i) > 0 AS appended FROM generate_series(1, 3) i;
SELECT version, type FROM pm.read_stream('orders', 'o-3');
-- a stream and a type can be any text
SELECT pm.append('orders', '', '') > 0 AS appended;
SELECT pm.append('orders', repeat('x', 2000), repeat('y', 3000)) > 0 AS appended;
SELECT version, length(type) FROM pm.read_stream('orders', repeat('x', 2000));
-- an event is stored as given, whatever functions the search_path contains
CREATE SCHEMA trap;
CREATE FUNCTION trap.max(bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 40::bigint';
CREATE FUNCTION trap.jsonb_in(cstring) RETURNS jsonb LANGUAGE internal IMMUTABLE STRICT AS 'jsonb_in';
CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = texteq);
SET search_path = trap, public, pg_catalog;
SELECT pm.append('public.orders', 'o-3', 'n4');
SELECT pm.append('orders', 'o-3', 'n4') > 0 AS appended;
RESET search_path;
SELECT version, type FROM pm.read_stream('orders', 'o-3', 3);
DROP SCHEMA trap CASCADE;

-- ---- expected_version -------------------------------------------------------

SELECT pm.append('orders', 'o-4', 'Placed', expected_version => 0) > 0 AS appended;
SELECT pm.append('orders', 'o-4', 'Placed', expected_version => 0);
SELECT pm.append('orders', 'o-4', 'Paid', expected_version => 2);
SELECT pm.append('orders', 'o-4', 'Paid', expected_version => 1) > 0 AS appended;
SELECT pm.append('orders', 'o-4', 'Paid', expected_version => 1);
SELECT pm.append('orders', 'o-5', 'Placed', expected_version => 1);
SELECT pm.append('orders', 'o-5', 'Placed', expected_version => -1);
SELECT pm.append('orders', 'o-5', 'Placed', expected_version => 9223372036854775807);
\set VERBOSITY sqlstate
SELECT pm.append('orders', 'o-4', 'Paid', expected_version => 1);
SELECT pm.append_all('orders', 'o-4', '[{"type": "Paid"}]', 0);
\set VERBOSITY default
-- the error can be caught by its SQLSTATE
DO $$
DECLARE detail text;
BEGIN
	PERFORM pm.append('orders', 'o-4', 'Paid', expected_version => 7);
EXCEPTION WHEN SQLSTATE 'PM001' THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RAISE NOTICE '% (%)', SQLERRM, detail;
END $$;
-- rows without a version do not count as versions and follow the others
INSERT INTO orders (stream, type) VALUES ('plain', 'Placed'), ('plain', 'Paid');
SELECT pm.append('orders', 'plain', 'x', expected_version => 0);
SELECT pm.append('orders', 'plain', 'x', expected_version => 1);
SELECT pm.append('orders', 'plain', 'First') > 0 AS appended;
SELECT pm.append('orders', 'plain', 'Second', expected_version => 1) > 0 AS appended;
SELECT version, type FROM pm.read_stream('orders', 'plain');
-- versions that were written directly
INSERT INTO orders (stream, version, type) VALUES ('far', 41, 'Jumped');
SELECT pm.append('orders', 'far', 'x', expected_version => 41) > 0 AS appended;
SELECT version, type FROM pm.read_stream('orders', 'far');
INSERT INTO orders (stream, version, type) VALUES ('far', 42, 'Twice');

-- ---- invalid arguments ------------------------------------------------------

SELECT pm.append(NULL, 's', 't');
SELECT pm.append('orders', NULL, 't');
SELECT pm.append('orders', 's', NULL);
SELECT pm.append('orders', 's', 't', '{}', '[]');
SELECT pm.append('orders', 's', 't', '{}', '5');
SELECT pm.append('orders', 's', 't', '5') > 0 AS data_is_any_json;
SELECT pm.append('orders', 's', 't', 'null') > 0 AS data_is_any_json;
SELECT pm.append('nosuch', 's', 't');

-- ---- pm.append_all ----------------------------------------------------------

SELECT cardinality(pm.append_all('orders', 'all', '[{"type": "A", "data": {"n": 1}, "metadata": {"m": 1}}, {"type": "B"}, {"type": "C", "data": [1]}]'));
SELECT version, type, data, metadata FROM pm.read_stream('orders', 'all');
SELECT cardinality(pm.append_all('orders', 'all', '[{"type": "D"}, {"type": "E"}]', 3));
SELECT pm.append_all('orders', 'all', '[{"type": "F"}, {"type": "G"}]', 3);
SELECT pm.append_all('orders', 'all', '[]'), pm.append_all('orders', 'all', '[]', 5);
SELECT pm.append_all('orders', 'all', '[]', 99);
SELECT a.pos = array_agg(e."position" ORDER BY e.version) AS positions_in_order
FROM (SELECT pm.append_all('orders', 'pos', '[{"type": "1"}, {"type": "2"}, {"type": "3"}]') AS pos) a,
	LATERAL pm.read_stream('orders', 'pos') e GROUP BY a.pos;
SELECT version, type FROM pm.read_stream('orders', 'pos');
-- if one of the events is invalid, none is appended
SELECT pm.append_all('orders', 'bad', '[{"type": "A"}, {"data": {}}]');
SELECT pm.append_all('orders', 'bad', '[{"type": "A"}, {"type": 5}]');
SELECT pm.append_all('orders', 'bad', '[{"type": null}]');
SELECT pm.append_all('orders', 'bad', '[{"type": "A", "version": 3}]');
SELECT pm.append_all('orders', 'bad', '[{"type": "A", "metadata": []}]');
SELECT pm.append_all('orders', 'bad', '[{"type": "A", "metadata": null}]');
SELECT pm.append_all('orders', 'bad', '["A"]');
SELECT pm.append_all('orders', 'bad', '[[{"type": "A"}]]');
SELECT pm.append_all('orders', 'bad', '[null]');
SELECT pm.append_all('orders', 'bad', '[{}]');
SELECT pm.append_all('orders', 'bad', '{"type": "A"}');
SELECT pm.append_all('orders', 'bad', '"A"');
SELECT pm.append_all('orders', 'bad', 'null');
SELECT pm.append_all('orders', 'bad', NULL);
SELECT pm.append_all('orders', NULL, '[]');
SELECT pm.append_all(NULL, 'bad', '[]');
SELECT pm.append_all('nosuch', 'bad', '[{"type": "A"}]');
SELECT pm.append_all('orders', 'bad', '[{"type": "A"}]', -1);
SELECT count(*) FROM pm.read_stream('orders', 'bad');

-- ---- plain INSERT -----------------------------------------------------------

INSERT INTO orders (stream, type) SELECT 'bulk', 'n' FROM generate_series(1, 100);
WITH i AS (INSERT INTO orders (stream, type) VALUES ('cte', 'x') RETURNING "position")
SELECT "position" > 0 AS drawn FROM i;
SELECT stream, count(*), count(version) AS versions FROM pm.read('orders', max_count => NULL) WHERE stream IN ('bulk', 'cte') GROUP BY stream ORDER BY stream;

-- ---- a table that its owner has changed --------------------------------------

ALTER TABLE orders ADD COLUMN note text DEFAULT 'none', ADD CONSTRAINT allowed CHECK (type <> 'forbidden'),
	ALTER COLUMN recorded_at SET DEFAULT '2001-01-01 00:00Z';
CREATE UNIQUE INDEX only_one ON orders (type) WHERE type = 'only one';
SELECT pm.append('orders', 'changed', 'a', expected_version => 0) > 0 AS appended;
SELECT version, note, recorded_at = '2001-01-01 00:00Z' AS by_default FROM orders WHERE stream = 'changed';
\set VERBOSITY terse
SELECT pm.append('orders', 'changed', 'forbidden');
\set VERBOSITY default
SELECT pm.append('orders', 'changed', 'only one') > 0 AS appended;
SELECT pm.append('orders', 'changed', 'only one');
-- the changes are undone
ALTER TABLE orders DROP COLUMN note, DROP CONSTRAINT allowed, ALTER COLUMN recorded_at SET DEFAULT statement_timestamp();
SELECT pm.append('orders', 'changed', 'forbidden', expected_version => 2) > 0 AS appended;
SELECT pm.append('orders', 'changed', 'only one');
SELECT pm.append('orders', 'changed', 'b', expected_version => 2);
SELECT version, type, recorded_at > '2001-01-01 00:00Z' AS now FROM pm.read_stream('orders', 'changed');
DROP INDEX only_one;
-- a plain INSERT has taken the version
INSERT INTO orders (stream, version, type) VALUES ('taken', 2, 'plain');
SELECT pm.append_all('orders', 'taken', '[{"type": "A"}]', 0);
SELECT cardinality(pm.append_all('orders', 'taken', '[{"type": "A"}, {"type": "B"}]', 2));
SELECT version, type FROM pm.read_stream('orders', 'taken');
-- another unique index or a generated column has the same effect as in an INSERT
CREATE UNIQUE INDEX once ON orders ((data ->> 'id'));
SELECT pm.append('orders', 'once', 'a', '{"id": 1}', expected_version => 0) > 0 AS appended;
SELECT pm.append('orders', 'once', 'a', '{"id": 1}', expected_version => 0);
DROP INDEX once;
CREATE UNIQUE INDEX twin ON orders (stream, version);
SELECT pm.append('orders', 'once', 'b', expected_version => 1) > 0 AS appended;
DROP INDEX twin;
SELECT pm.create_log('generated');
ALTER TABLE generated DROP COLUMN type, ADD COLUMN type text NOT NULL GENERATED ALWAYS AS (data ->> 't') STORED;
SELECT pm.append('generated', 's', 'lie', '{"t": "truth"}');
SELECT pm.drop_log('generated');
DROP TABLE generated;
-- a role that may write only some of the columns
CREATE ROLE regress_pm_dave;
GRANT USAGE ON SCHEMA pm TO regress_pm_dave;
GRANT INSERT (stream, version, type, data, metadata), SELECT ON orders TO regress_pm_dave;
SET ROLE regress_pm_dave;
SELECT pm.append('orders', 'by column', 'a', expected_version => 0) > 0 AS appended;
RESET ROLE;
REVOKE INSERT (version) ON orders FROM regress_pm_dave;
SET ROLE regress_pm_dave;
SELECT pm.append('orders', 'by column', 'b', expected_version => 1);
RESET ROLE;
DROP OWNED BY regress_pm_dave;
DROP ROLE regress_pm_dave;

-- ---- triggers, row security, read-only transactions -------------------------

-- a trigger that suppresses the event
CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER swallow BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION swallow();
SET statement_timeout = '20s';
SELECT pm.append('orders', 'swallowed', 'x');
SELECT pm.append('orders', 'swallowed', 'x', expected_version => 0);
SELECT pm.append_all('orders', 'swallowed', '[{"type": "A"}]');
RESET statement_timeout;
DROP TRIGGER swallow ON orders;
DROP FUNCTION swallow();
-- a trigger that raises an error
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not today'; END $$;
CREATE TRIGGER refuse AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION refuse();
SELECT pm.append('orders', 'refused', 'x');
DROP TRIGGER refuse ON orders;
DROP FUNCTION refuse();
SELECT count(*) FROM pm.read_stream('orders', 'refused');
-- a row security policy hides the versions that count
CREATE ROLE regress_pm_carol;
GRANT USAGE ON SCHEMA pm TO regress_pm_carol;
GRANT SELECT, INSERT ON orders TO regress_pm_carol;
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY hide ON orders FOR SELECT USING (type = 'mine');
CREATE POLICY make ON orders FOR INSERT WITH CHECK (true);
SET ROLE regress_pm_carol;
SET statement_timeout = '20s';
\set VERBOSITY sqlstate
SELECT pm.append('orders', 'o-1', 'mine');
\set VERBOSITY default
RESET statement_timeout;
RESET ROLE;
ALTER TABLE orders DISABLE ROW LEVEL SECURITY;
DROP OWNED BY regress_pm_carol;
DROP ROLE regress_pm_carol;
-- a read-only transaction
BEGIN READ ONLY;
SELECT pm.append('orders', 'o-1', 'x');
ROLLBACK;

SELECT pm.drop_log('orders');
DROP TABLE orders;
