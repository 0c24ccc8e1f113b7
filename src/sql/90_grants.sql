-- Who may look. USAGE on schema pm is the administrator's to grant.

GRANT SELECT ON pm.log, pm.process_manager, pm.cursor, pm.status, pm.instance, pm.timer, pm.parked, pm.worker, pm.blocker TO PUBLIC;
GRANT USAGE ON TYPE pm.event TO PUBLIC;

-- A fresh extension announces itself to the launcher.
CREATE FUNCTION pm_catalog.announce() RETURNS void LANGUAGE C AS 'MODULE_PATHNAME', 'pm_announce';
REVOKE EXECUTE ON FUNCTION pm_catalog.announce() FROM PUBLIC;
SELECT pm_catalog.announce();
