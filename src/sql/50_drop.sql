-- How PostgreSQL knows of process managers, and what becomes of them and of logs when objects of the
-- server are given away (src/manager/owner.c) or dropped (src/manager/drop.c).

-- This schema has a shell type for each process manager, which has its name and belongs to its owner
-- (src/manager/shell_type.c).
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
