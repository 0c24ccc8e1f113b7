/*
 * name_right.h
 *		Which roles may give a name to a log.
 *
 * Each function that gives a name to a log calls name_right_require() with that name, in the
 * same transaction and before the name is in the catalog of logs.
 */
#ifndef PM_NAME_RIGHT_H
#define PM_NAME_RIGHT_H

/* Raises an error unless the current user may give this name to a log. */
extern void name_right_require(const char *name);

/* A process manager begins to follow logs; their names are a text[]. */
extern void name_right_use(const char *manager, Datum names);

/*
 * A part of a WITH query, for those that get what was sent: "rows" is the part with the rows of
 * pm_catalog.sent for the process manager $1.
 */
#define NAME_RIGHT_CAUSE(row)                                                                      \
	row ".metadata OPERATOR(pg_catalog.->) 'causation' OPERATOR(pg_catalog.->>) 'log' "
#define NAME_RIGHT_USE_SENT(rows)                                                                  \
	"name_use AS (INSERT INTO pm_catalog.name_use (name, process_manager) "                        \
	"SELECT DISTINCT c.log, $1 FROM (SELECT " NAME_RIGHT_CAUSE(                                    \
		rows) "AS log FROM " rows ") c "                                                           \
			  "WHERE c.log IS NOT NULL AND NOT EXISTS ("                                           \
			  "SELECT FROM pm_catalog.name_use u WHERE u.name OPERATOR(pg_catalog.=) c.log "       \
			  "AND u.process_manager OPERATOR(pg_catalog.=) $1)) "

/* A process manager is unregistered, with all that it has kept. */
extern void name_right_unuse(const char *manager);

/*
 * A log is removed.  Its table may have been dropped by this transaction.  For an attached log, the
 * role that has attached it, InvalidOid if that is not known; NULL for any other log.
 */
extern void name_right_release(const char *name, Oid relid, const Oid *attached_by);

#endif /* PM_NAME_RIGHT_H */
