-- Every role may read the views: each view shows a role only what the role may see. USAGE on schema pm is granted by the administrator.

GRANT SELECT ON pm.log, pm.process_manager, pm.cursor, pm.status, pm.instance, pm.association, pm.ended, pm.journal, pm.timer, pm.parked, pm.worker, pm.blocker, pm.consumer, pm.erasure, pm.stat, pm.promotion TO PUBLIC;
GRANT USAGE ON TYPE pm.event TO PUBLIC;

-- Tells the launcher that this database has the extension now.
CREATE FUNCTION pm_catalog.announce() RETURNS void LANGUAGE C AS 'MODULE_PATHNAME', 'pm_announce';
REVOKE EXECUTE ON FUNCTION pm_catalog.announce() FROM PUBLIC;
SELECT pm_catalog.announce();
