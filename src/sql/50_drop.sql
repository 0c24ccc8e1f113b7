-- The types by which PostgreSQL knows process managers, and the event triggers that follow changes of
-- owner (src/manager/owner.c) and drops of tables and types (src/manager/drop.c).

-- This schema contains a shell type for each process manager. The type has the name of the process
-- manager and belongs to its owner (src/manager/shell_type.c).
CREATE SCHEMA pm_process_manager;

CREATE FUNCTION pm_catalog.after_alter() RETURNS event_trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_owner_after_alter';
CREATE FUNCTION pm_catalog.after_drop() RETURNS event_trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_drop_after_drop';
REVOKE EXECUTE ON FUNCTION pm_catalog.after_alter(), pm_catalog.after_drop() FROM PUBLIC;

-- ENABLE ALWAYS: they fire whatever session_replication_role is.
CREATE EVENT TRIGGER pm_after_alter ON ddl_command_end WHEN TAG IN ('ALTER TYPE')
	EXECUTE FUNCTION pm_catalog.after_alter();
ALTER EVENT TRIGGER pm_after_alter ENABLE ALWAYS;
CREATE EVENT TRIGGER pm_after_drop ON sql_drop EXECUTE FUNCTION pm_catalog.after_drop();
ALTER EVENT TRIGGER pm_after_drop ENABLE ALWAYS;

-- Refuses partitions with rows for attached tables (src/log/attach_partition.c).
CREATE FUNCTION pm_catalog.after_alter_table() RETURNS event_trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'pm_attach_after_alter_table';
REVOKE EXECUTE ON FUNCTION pm_catalog.after_alter_table() FROM PUBLIC;
CREATE EVENT TRIGGER pm_after_alter_table ON ddl_command_end WHEN TAG IN ('ALTER TABLE')
	EXECUTE FUNCTION pm_catalog.after_alter_table();
ALTER EVENT TRIGGER pm_after_alter_table ENABLE ALWAYS;
