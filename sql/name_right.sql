-- Who may take the name of a dropped log while process managers of other roles still keep data of its events
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all
\set super :USER
CREATE ROLE regress_pm_owner LOGIN;
CREATE ROLE regress_pm_keeper LOGIN;
CREATE ROLE regress_pm_thief LOGIN;
GRANT USAGE ON SCHEMA pm TO regress_pm_owner, regress_pm_keeper, regress_pm_thief;
CREATE SCHEMA AUTHORIZATION regress_pm_owner;
CREATE SCHEMA AUTHORIZATION regress_pm_keeper;
CREATE SCHEMA AUTHORIZATION regress_pm_thief;
SET client_min_messages = warning;
GRANT USAGE ON SCHEMA regress_pm_owner TO PUBLIC;
CREATE VIEW keeps AS
	SELECT process_manager, 'timer' AS what, data FROM pm_catalog.timer UNION ALL SELECT process_manager, 'sent', data FROM pm_catalog.sent
	UNION ALL SELECT process_manager, 'journal', state FROM pm_catalog.journal WHERE log IS NOT NULL ORDER BY 1, 2, 3;
-- the last row of each name
CREATE VIEW owners AS SELECT DISTINCT ON (name) name, owner_name, owner::regrole = owner_name::regrole AS same FROM pm_catalog.name_owner ORDER BY name, dropped_at DESC;
CREATE VIEW uses AS SELECT name, process_manager FROM pm_catalog.name_use ORDER BY 1, 2;

\c - regress_pm_owner
SET client_min_messages = warning;
SELECT pm.create_log('people');
GRANT SELECT ON people TO regress_pm_keeper, regress_pm_thief;
SELECT pm.append('people', 'ann', 'made', '{"w": 1}'), pm.append('people', 'bob', 'made', '{"w": 2}');
\c - regress_pm_keeper
SET client_min_messages = error;
SELECT pm.create_log('notes');
CREATE FUNCTION tells(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pm.set_timer('later', '2100-01-01', e.data);
	IF e.stream = 'ann' AND pm.key() = 'ann' AND e.log IS NOT NULL THEN PERFORM pm.send('told', 'ann', 't', e.data); END IF;
	RETURN e.data;
END $$;
SELECT pm.register('tells', 'tells', '{people}', start_at => 'beginning', journal => true), pm.register('told', 'tells', '{notes}');
SELECT pm.catch_up('tells');
\c - :super
TABLE keeps;
TABLE uses;

-- ---- the attack -------------------------------------------------------------

SET client_min_messages = warning;
DROP TABLE regress_pm_owner.people CASCADE;
-- the owner of the log counts, not the role that dropped it
TABLE owners;
\c - regress_pm_thief
SET client_min_messages = warning;
SELECT pm.create_log('people');
SELECT pm.append('people', 'mine', 'made'), pm.append('people', 'mine', 'made');
SELECT pm.erase('people', 'mine', '{"w": "stolen"}');
-- making a log of an existing table does not help either
CREATE TABLE people (position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, stream text NOT NULL, version bigint, type text NOT NULL, data jsonb NOT NULL DEFAULT '{}',
	metadata jsonb NOT NULL DEFAULT '{}', recorded_at timestamptz NOT NULL DEFAULT now(), UNIQUE (stream, version));
SELECT pm.create_log('people');
DROP TABLE people;
-- other names are free
SELECT pm.create_log('regress_pm_thief.people');
DROP TABLE people;
\c - :super
SET client_min_messages = warning;
TABLE keeps;

-- ---- who may ----------------------------------------------------------------

-- the role that owned the log, although others have followed it
\c - regress_pm_owner
SET client_min_messages = warning;
SELECT pm.create_log('people');
SELECT pm.drop_log('people');
DROP TABLE people;
\c - :super
SET client_min_messages = warning;
TABLE owners;
-- the same in a copy in another cluster, where the role has another OID
BEGIN;
UPDATE pm_catalog.name_owner SET system_identifier = 1, owner = 10;
SET ROLE regress_pm_owner;
SELECT pm.create_log('people');
ROLLBACK;
BEGIN;
UPDATE pm_catalog.name_owner SET system_identifier = 1, owner_name = 'regress_pm_nobody';
SET ROLE regress_pm_owner;
SELECT pm.create_log('people');
ROLLBACK;
-- a member of the role whose process managers keep data
BEGIN;
GRANT regress_pm_keeper TO regress_pm_thief;
SET ROLE regress_pm_thief;
SELECT pm.create_log('people');
ROLLBACK;
-- the role whose process managers keep data
\c - regress_pm_keeper
SELECT pm.create_log('people');
\c - :super
SET client_min_messages = warning;
ALTER TABLE regress_pm_keeper.people OWNER TO regress_pm_thief;
ALTER TABLE regress_pm_keeper.people SET SCHEMA regress_pm_thief;
-- the owner at the time of the DROP counts
BEGIN;
SAVEPOINT a;
DROP TABLE regress_pm_thief.people;
ROLLBACK TO a;
ALTER TABLE regress_pm_thief.people OWNER TO regress_pm_owner;
DROP TABLE regress_pm_thief.people;
TABLE owners;
ROLLBACK;
\c - regress_pm_thief
SET client_min_messages = warning;
DROP TABLE people;
SELECT pm.create_log('people');
DROP TABLE people;
\c - regress_pm_owner
SELECT pm.create_log('people');
\c - :super
SET client_min_messages = warning;
DELETE FROM pm_catalog.name_owner;

-- ---- what frees a name ------------------------------------------------------

-- sent events keep the name reserved, before and after they are delivered
BEGIN;
SELECT pm.unregister('tells');
TABLE uses;
SET ROLE regress_pm_thief;
SAVEPOINT a;
SELECT pm.create_log('people');
ROLLBACK TO a;
RESET ROLE;
SELECT pm.unregister('told');
TABLE keeps;
SET ROLE regress_pm_thief;
SELECT pm.create_log('people');
ROLLBACK;
\c - regress_pm_keeper
SET client_min_messages = error;
SELECT pm.catch_up('told');
SELECT pm.unregister('tells');
\c - :super
SET client_min_messages = warning;
TABLE keeps;
TABLE uses;
BEGIN;
SET ROLE regress_pm_thief;
SELECT pm.create_log('people');
ROLLBACK;
-- nothing is kept any more
BEGIN;
SELECT pm.seek('told', 'notes', 0, reset => true);
SET ROLE regress_pm_thief;
SELECT pm.create_log('people');
ROLLBACK;
-- a process manager that keeps nothing does not reserve the name
\c - regress_pm_keeper
SET client_min_messages = error;
SELECT pm.unregister('told');
CREATE FUNCTION looks(e pm.event) RETURNS void LANGUAGE sql AS '';
\c - regress_pm_owner
SET client_min_messages = warning;
SELECT pm.create_log('people');
GRANT SELECT ON people TO regress_pm_keeper;
SELECT pm.append('people', 'ann', 'made', '{"w": 1}');
\c - regress_pm_keeper
SET client_min_messages = error;
SELECT pm.register('looks', 'looks', '{people}', start_at => 'beginning');
SELECT pm.catch_up('looks');
\c - regress_pm_owner
SET client_min_messages = warning;
DROP TABLE people CASCADE;
\c - regress_pm_thief
SET client_min_messages = warning;
SELECT pm.create_log('people');
DROP TABLE people;
\c - regress_pm_keeper
SELECT pm.unregister('looks');
\c - :super
SET client_min_messages = warning;
SELECT (SELECT count(*) FROM pm_catalog.name_use), (SELECT count(*) FROM pm_catalog.name_owner);

-- ---- attached logs: the role that has attached the table counts, not the owner of the table

\c - regress_pm_owner
SET client_min_messages = error;
CREATE TABLE outbox (id bigserial PRIMARY KEY, k text NOT NULL, j jsonb);
GRANT SELECT ON outbox TO regress_pm_keeper, regress_pm_thief;
INSERT INTO outbox (k, j) VALUES ('ann', '{"w": 1}');
\c - regress_pm_thief
SET client_min_messages = error;
SELECT pm.attach_log('box', 'regress_pm_owner.outbox', 'id', 'k', 'k', 'j');
\c - regress_pm_keeper
SET client_min_messages = error;
CREATE FUNCTION keeps(e pm.event, s jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT e.data';
SELECT pm.register('keeps', 'keeps', '{box,notes}', start_at => 'beginning', journal => true);
SELECT pm.catch_up('keeps');
SELECT pm.unfollow('keeps', 'box');
\c - regress_pm_thief
SELECT pm.detach_log('box');
\c - :super
TABLE owners;
\c - regress_pm_owner
SET client_min_messages = error;
SELECT pm.create_log('box');
SELECT pm.attach_log('box', 'outbox', 'id', 'k', 'k', 'j');
\c - regress_pm_thief
SET client_min_messages = error;
SELECT pm.attach_log('box', 'regress_pm_owner.outbox', 'id', 'k', 'k', 'j', filter => 'k IS NOT NULL');
-- also if the table was dropped
\c - regress_pm_owner
SET client_min_messages = error;
DROP TABLE outbox CASCADE;
SELECT pm.create_log('box');
\c - regress_pm_thief
SELECT pm.create_log('box');
DROP TABLE box;
\c - regress_pm_keeper
SELECT pm.unregister('keeps');
\c - :super
SET client_min_messages = warning;
SELECT (SELECT count(*) FROM pm_catalog.name_use), (SELECT count(*) FROM pm_catalog.name_owner);

DROP VIEW keeps, owners, uses;
DROP OWNED BY regress_pm_owner, regress_pm_keeper, regress_pm_thief;
DROP ROLE regress_pm_owner, regress_pm_keeper, regress_pm_thief;
