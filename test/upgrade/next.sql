-- The additions of the next version, for test/t/210_upgrade.pl. They are in its install script and in its upgrade
-- script. Each statement is on one line, so that the test can omit it.
ALTER TABLE pm_catalog.process_manager ADD COLUMN next_note text;
ALTER TABLE pm_catalog.process_manager ALTER COLUMN next_note SET DEFAULT 'none';
ALTER TABLE pm_catalog.cursor ADD COLUMN next_moves bigint;
ALTER TABLE pm_catalog.lane ADD COLUMN next_writes bigint NOT NULL DEFAULT 0;
CREATE TABLE pm_catalog.next_batch (process_manager text NOT NULL, handled integer NOT NULL);
SELECT pg_catalog.pg_extension_config_dump('pm_catalog.next_batch', '');
CREATE FUNCTION pm.next_feature() RETURNS text LANGUAGE C AS 'MODULE_PATHNAME', 'pm_next_feature';
COMMENT ON FUNCTION pm.next_feature() IS 'What the next version brings.';
DROP FUNCTION pm.pause(text);
CREATE FUNCTION pm.pause(name text, next_reason text DEFAULT NULL) RETURNS void LANGUAGE C AS 'MODULE_PATHNAME', 'pm_pause';
COMMENT ON FUNCTION pm.pause(text, text) IS 'An argument that the next version adds.';
CREATE VIEW pm.next_view AS SELECT name, next_note FROM pm_catalog.process_manager;
COMMENT ON VIEW pm.next_view IS 'What the next version shows.';
GRANT SELECT ON pm.next_view TO PUBLIC;
SELECT pm_catalog.announce();
