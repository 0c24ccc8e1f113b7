-- The additions of the next version, for test/t/210_upgrade.pl. They are in its install script and in its upgrade
-- script. Each statement is on one line, so that the test can omit it.
ALTER TABLE pm_catalog.process_manager ADD COLUMN next_note text;
ALTER TABLE pm_catalog.process_manager ALTER COLUMN next_note SET DEFAULT 'none';
CREATE FUNCTION pm.next_feature() RETURNS text LANGUAGE C AS 'MODULE_PATHNAME', 'pm_next_feature';
COMMENT ON FUNCTION pm.next_feature() IS 'What the next version brings.';
CREATE VIEW pm.next_view AS SELECT name, next_note FROM pm_catalog.process_manager;
COMMENT ON VIEW pm.next_view IS 'What the next version shows.';
GRANT SELECT ON pm.next_view TO PUBLIC;
