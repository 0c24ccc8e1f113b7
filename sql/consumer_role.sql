-- The roles that may be consumers: they cannot be dropped, and DROP OWNED takes the right away
\set SHOW_CONTEXT never
\getenv abs_srcdir PG_ABS_SRCDIR
\set no_workers :abs_srcdir '/sql/no_workers.inc'
\set ECHO none
\i :no_workers
\set ECHO all

CREATE ROLE consumer_role_one;
CREATE ROLE consumer_role_two;
CREATE ROLE consumer_role_owner LOGIN;
GRANT USAGE ON SCHEMA pm TO consumer_role_one, consumer_role_two, consumer_role_owner;
SELECT pm.create_log('outbox');
GRANT SELECT ON outbox TO consumer_role_owner;
CREATE VIEW recorded AS
SELECT d.refobjid::regrole AS role, d.objid::regtype AS type FROM pg_shdepend d
WHERE d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND d.classid = 'pg_type'::regclass AND d.deptype = 'a' ORDER BY 1, 2;
SELECT pm.register('mailer', NULL, '{outbox}', consumers => '{consumer_role_one,consumer_role_two,consumer_role_one}');
SELECT pm.register('other', NULL, '{outbox}', consumers => '{consumer_role_two}');
SELECT * FROM recorded;
DROP ROLE consumer_role_one;
-- settings that are not named stay, and a consumer that is removed is not recorded any more
SELECT pm.alter('mailer', lease => '1 h');
SELECT * FROM recorded;
SELECT pm.alter('mailer', consumers => '{consumer_role_two}');
SELECT * FROM recorded;
SELECT pm.alter('mailer', reset => '{consumers}');
SELECT * FROM recorded;
-- a transaction that is undone
BEGIN;
SELECT pm.alter('mailer', consumers => '{consumer_role_one}');
ROLLBACK;
SELECT * FROM recorded;
SELECT pm.alter('mailer', consumers => '{consumer_role_one,consumer_role_two}');

-- renaming the role changes nothing
SELECT pm.append('outbox', 's', 't');
ALTER ROLE consumer_role_one RENAME TO consumer_role_renamed;
SET ROLE consumer_role_renamed;
SELECT "position" FROM pm.fetch('mailer', 'c');
SELECT pm.release('mailer', 'c');
RESET ROLE;
SELECT name, consumers FROM pm.process_manager ORDER BY name;
ALTER ROLE consumer_role_renamed RENAME TO consumer_role_one;

-- the owner may be a consumer in any case; a former owner, only if it is named
SELECT pm.alter('mailer', consumers => '{consumer_role_one,consumer_role_owner}');
SELECT pm.set_owner('mailer', 'consumer_role_owner');
SELECT * FROM recorded;
SELECT pm.set_owner('mailer', current_user);
SELECT * FROM recorded;
ALTER TYPE pm_process_manager.mailer OWNER TO consumer_role_owner;
SELECT * FROM recorded;
REASSIGN OWNED BY consumer_role_owner TO CURRENT_USER;
SELECT * FROM recorded;
GRANT USAGE ON TYPE pm_process_manager.mailer TO consumer_role_two;

-- DROP OWNED
DROP OWNED BY consumer_role_one, consumer_role_two;
SELECT name, consumers FROM pm.process_manager ORDER BY name;
SELECT name, consumers, consumer_names FROM pm_catalog.process_manager WHERE name = 'other';
SELECT * FROM recorded;
GRANT USAGE ON SCHEMA pm TO consumer_role_two;
SET ROLE consumer_role_two;
SELECT * FROM pm.fetch('other', 'c');
RESET ROLE;
REVOKE USAGE ON SCHEMA pm FROM consumer_role_two;
DROP ROLE consumer_role_one, consumer_role_two;
-- with the process manager
SELECT pm.unregister('mailer'), pm.unregister('other');
SELECT * FROM recorded;
DROP OWNED BY consumer_role_owner;
DROP ROLE consumer_role_owner;
DROP VIEW recorded;
SELECT pm.drop_log('outbox');
DROP TABLE outbox;
