-- Partitioned logs: appending, reading, the guard of partitions, and when a partition cannot be dropped or detached.
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all

SELECT pm.create_log('ev', partitioned => true);
SELECT name, kind FROM pm.log WHERE name = 'ev';
-- without a partition
SELECT pm.append('ev', 's1', 'A');
INSERT INTO ev (stream, type) VALUES ('s1', 'A');
CREATE TABLE ev_1 PARTITION OF ev FOR VALUES FROM (1) TO (8);
CREATE TABLE ev_2 PARTITION OF ev FOR VALUES FROM (8) TO (16);
CREATE TABLE ev_3 PARTITION OF ev FOR VALUES FROM (16) TO (100);

-- pm.append counts versions over all partitions
SELECT pm.append('ev', 's1', 'A'), pm.append('ev', 's1', 'B'), pm.append('ev', 's2', 'A', expected_version => 0);
SELECT pm.append('ev', 's1', 'C', expected_version => 1);
SELECT pm.append('ev', 's1', 'C', expected_version => 2);
SELECT pm.append_all('ev', 's3', '[{"type": "x"}, {"type": "y"}, {"type": "z"}]');
SELECT pm.append('ev', 's4', 'once', id => 'a'), pm.append('ev', 's4', 'once', id => 'a');
INSERT INTO ev (stream, type) VALUES ('s1', 'plain');
INSERT INTO ev (stream, version, type) VALUES ('s1', 5, 'plain');
UPDATE ev SET version = 9 WHERE stream = 's2';
UPDATE ev SET stream = 's1' WHERE stream = 's2';
UPDATE ev SET "position" = 1 WHERE stream = 's2';
UPDATE ev SET data = '{"n": 1}' WHERE stream = 's2';
SELECT pm.append('ev', 's1', 'D', expected_version => 3);
SELECT "position", stream, version, type FROM pm.read('ev');
SELECT "position", version, type FROM pm.read_stream('ev', 's1');
SELECT "position", version, type FROM pm.read_stream('ev', 's1', 2);
SELECT "position", version, type FROM pm.read_stream('ev', 's3', 0, 2);

-- a direct INSERT into a partition is refused, unless the transaction has written the log
INSERT INTO ev_2 ("position", stream, type) OVERRIDING SYSTEM VALUE VALUES (14, 's1', 'direct');
COPY ev_2 ("position", stream, type) FROM stdin;
14	s1	direct
\.
BEGIN;
INSERT INTO ev (stream, type) VALUES ('s5', 'x');
SAVEPOINT a;
INSERT INTO ev ("position", stream, type) OVERRIDING SYSTEM VALUE VALUES (2, 's1', 'taken');
ROLLBACK TO a;
INSERT INTO ev_2 ("position", stream, type) OVERRIDING SYSTEM VALUE VALUES (nextval('ev_position_seq'), 's5', 'direct');
SELECT pm.append('ev', 's5', 'y');
ROLLBACK;
-- a trigger that fires after the guard and could change what it has checked
CREATE FUNCTION moves() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW."position" := 9; RETURN NEW; END $$;
CREATE TRIGGER zzz BEFORE INSERT ON ev FOR EACH ROW EXECUTE FUNCTION moves();
INSERT INTO ev (stream, type) VALUES ('s5', 'x');
SELECT pm.read('ev');
ALTER TRIGGER zzz ON ev RENAME TO aaa;
SELECT count(*) FROM pm.read('ev');
-- because of a trigger on the log, pm.append runs an INSERT
CREATE OR REPLACE FUNCTION moves() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.data := '{"trigger": true}'; RETURN NEW; END $$;
SELECT pm.append('ev', 's5', 'x');
SELECT pm.append('ev', 's5', 'x', expected_version => 1);
SELECT version, data FROM pm.read_stream('ev', 's5');
DROP TRIGGER aaa ON ev;
-- the same with a trigger on a partition only
CREATE TRIGGER aaa BEFORE INSERT ON ev_3 FOR EACH ROW EXECUTE FUNCTION moves();
SELECT pm.append('ev', 's5', 'x');
SELECT pm.append_all('ev', 's5', '[{"type": "y"}, {"type": "z"}]', expected_version => 3);
SELECT version, data FROM pm.read_stream('ev', 's5');
DROP TRIGGER aaa ON ev_3;
ALTER TABLE ev_3 DISABLE TRIGGER zz_pm_before_row;
SELECT pm.read('ev');
ALTER TABLE ev_3 ENABLE ALWAYS TRIGGER zz_pm_before_row;

-- columns of a partition in another order
CREATE TABLE odd (recorded_at timestamptz NOT NULL, gone int, data jsonb NOT NULL, metadata jsonb NOT NULL, type text NOT NULL,
	version bigint, stream text NOT NULL, "position" bigint NOT NULL);
ALTER TABLE odd DROP COLUMN gone;
ALTER TABLE ev ATTACH PARTITION odd FOR VALUES FROM (100) TO (200);
SELECT setval('ev_position_seq', 100);
SELECT pm.append('ev', 's1', 'odd', '{"odd": 1}');
SELECT "position", version, type, data FROM pm.read('ev', 100);
SELECT "position", version, type, data FROM pm.read_stream('ev', 's1', 4);
SELECT pm.erase('ev', 's1');
SELECT data FROM odd;

-- followers
CREATE FUNCTION h(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF e.type = 'B' THEN RAISE EXCEPTION 'bad' USING ERRCODE = 'PM003'; END IF;
	RAISE NOTICE '% % %', e.position, e.type, e.data;
END $$;
SELECT pm.register('p', 'h', '{ev}', start_at => 'beginning');
ALTER TABLE ev DETACH PARTITION ev_1;
ALTER TABLE ev DETACH PARTITION ev_1 CONCURRENTLY;
DROP TABLE ev_1;
TRUNCATE ev_1;
TRUNCATE ev;
SELECT pm.trim('ev', 3);
SELECT * FROM pm.catch_up('p', on_failure => 'policy');
SELECT "position", state, (event).type FROM pm.parked;
ALTER TABLE ev DETACH PARTITION ev_1;
SELECT pm.trim('ev', 3);
-- pm.keep_parked copies parked events, so that their partition can go
SELECT pm.keep_parked('ev', 7);
ALTER TABLE ev DETACH PARTITION odd CONCURRENTLY;
ALTER TABLE ev DETACH PARTITION ev_1 CONCURRENTLY;
DROP TABLE ev_1;
SELECT "position", state, (event).stream, (event).type FROM pm.parked;
SELECT pm.erase('ev', 's1', '{"erased": true}');
CREATE OR REPLACE FUNCTION h(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE '% % %', e.position, e.type, e.data;
END $$;
SELECT pm.retry('p');
SELECT * FROM pm.catch_up('p', on_failure => 'policy');
SELECT count(*) FROM pm.parked;
-- the versions of the dropped streams are kept
SELECT pm.append('ev', 's2', 'again', expected_version => 0);
SELECT pm.append('ev', 's2', 'again', expected_version => 1);
-- an id is removed with its event
SELECT pm.append('ev', 's4', 'once', id => 'a');
DROP TABLE ev_2;
SELECT pm.append('ev', 's4', 'once', id => 'a') > 0 AS again;
SELECT * FROM pm.catch_up('p', on_failure => 'policy');
SELECT pm.trim('ev', 20);
SELECT tableoid::regclass, count(*) FROM ev GROUP BY 1 ORDER BY 1;

-- attaching a partition that has events
CREATE TABLE old (LIKE ev INCLUDING DEFAULTS);
INSERT INTO old ("position", stream, type) VALUES (3, 'o', 'x');
ALTER TABLE ev ATTACH PARTITION old FOR VALUES FROM (1) TO (11);
SELECT "position", stream FROM pm.read('ev', 0, 1);
CREATE TABLE late (LIKE ev INCLUDING DEFAULTS);
INSERT INTO late ("position", stream, type) VALUES (300, 'o', 'x');
ALTER TABLE ev ATTACH PARTITION late FOR VALUES FROM (200) TO (400);
SELECT setval('ev_position_seq', 300);
ALTER TABLE ev ATTACH PARTITION late FOR VALUES FROM (200) TO (400);

-- the events of a default partition are also read in order
CREATE TABLE ev_rest PARTITION OF ev DEFAULT;
SELECT pm.append('ev', 's1', 'rest'), pm.append('ev', 's6', 'rest', expected_version => 0);
SELECT setval('ev_position_seq', 150);
CREATE TABLE ev_4 PARTITION OF ev FOR VALUES FROM (400) TO (500);
SELECT setval('ev_position_seq', 450);
SELECT pm.append('ev', 's1', 'after', expected_version => 6);
SELECT "position", version, type FROM pm.read('ev', 250);
SELECT * FROM pm.catch_up('p', on_failure => 'policy');

-- a partition that is dropped with its schema or its log
CREATE SCHEMA archive;
ALTER TABLE ev_4 SET SCHEMA archive;
SELECT pm.append('ev', 's1', 'unhandled');
DROP SCHEMA archive CASCADE;
SELECT * FROM pm.catch_up('p', on_failure => 'policy');
DROP SCHEMA archive CASCADE;
SELECT pm.drop_log('ev');
DROP TABLE ev CASCADE;
SELECT count(*) FROM pm.log;

-- with a default partition, only the ids of its own events are removed
SELECT pm.create_log('df', partitioned => true);
CREATE TABLE df_1 PARTITION OF df FOR VALUES FROM (1) TO (3);
CREATE TABLE df_rest PARTITION OF df DEFAULT;
SELECT pm.append('df', 's', 'x', id => i) FROM unnest('{a,b,c,d}'::text[]) i;
DROP TABLE df_rest;
SELECT pm.append('df', 's', 'x', id => 'a'), pm.append('df', 's', 'x', id => 'b');
SELECT count(*) FROM pm_catalog.append_id WHERE log = 'df';

-- a partition cannot have partitions of its own
CREATE TABLE df_2 PARTITION OF df FOR VALUES FROM (3) TO (10) PARTITION BY RANGE ("position");
CREATE TABLE df_2 (LIKE df INCLUDING DEFAULTS) PARTITION BY RANGE ("position");
ALTER TABLE df ATTACH PARTITION df_2 FOR VALUES FROM (3) TO (10);
SELECT pm.drop_log('df');
ALTER TABLE df ATTACH PARTITION df_2 FOR VALUES FROM (3) TO (10);
SELECT pm.create_log('df', true);
DROP TABLE df;

-- a partitioned table that exists
CREATE TABLE ready ("position" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, stream text NOT NULL, version bigint,
	type text NOT NULL, data jsonb NOT NULL DEFAULT '{}', metadata jsonb NOT NULL DEFAULT '{}',
	recorded_at timestamptz NOT NULL DEFAULT now()) PARTITION BY RANGE ("position");
SELECT pm.create_log('ready', true);
CREATE INDEX ON ready (stream, version);
SELECT pm.create_log('ready', true);
SELECT pm.drop_log('ready');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'ready'::regclass;
SELECT pm.create_log('ready', true);
DROP TABLE ready;

-- Which versions a dropped partition leaves: of short and long streams, of events with and without versions, not of those
-- that were rolled back; on pages that VACUUM has seen, and others.
SELECT pm.create_log('vs', partitioned => true);
CREATE TABLE vs_1 PARTITION OF vs FOR VALUES FROM (1) TO (1001);
CREATE TABLE vs_2 PARTITION OF vs FOR VALUES FROM (1001) TO (2001);
CREATE TABLE vs_3 PARTITION OF vs FOR VALUES FROM (2001) TO (MAXVALUE);
SELECT count(pm.append('vs', stream, 'x')) FROM (VALUES ('long', 100), ('short', 3), ('mixed', 2), ('two', 2)) s(stream, n),
	generate_series(1, n);
INSERT INTO vs (stream, type) SELECT stream, 'x' FROM unnest('{mixed,plain}'::text[]) stream, generate_series(1, 50);
VACUUM vs_1;
BEGIN;
SELECT count(pm.append('vs', stream, 'x')) FROM unnest('{long,short,mixed,plain,undone}'::text[]) stream;
ROLLBACK;
SELECT count(pm.append('vs', stream, 'x')) FROM unnest('{later,two}'::text[]) stream;
SELECT setval('vs_position_seq', 1001);
SELECT count(pm.append('vs', stream, 'x')) FROM unnest('{long,plain}'::text[]) stream;
SELECT setval('vs_position_seq', 2001);
SELECT count(pm.append('vs', 'two', 'x'));
CREATE VIEW vs_kept AS SELECT s.stream, t.version FROM unnest('{long,short,mixed,plain,undone,later,two}'::text[])
	WITH ORDINALITY s(stream, i) LEFT JOIN pm_catalog.trimmed t ON t.log = 'vs' AND t.stream = sha256(s.stream::bytea) ORDER BY i;
DROP TABLE vs_1;
TABLE vs_kept;
-- one version is higher than what was kept, and nothing becomes lower
UPDATE pm_catalog.trimmed SET version = 9 WHERE log = 'vs' AND stream = sha256('plain');
DROP TABLE vs_2;
TABLE vs_kept;
SELECT pm.append('vs', 'short', 'x', expected_version => 3) > 0 AS appended;
DROP VIEW vs_kept;
DROP TABLE vs;
DROP FUNCTION h, moves;
SELECT pm.unregister('p');
DROP TABLE late;
