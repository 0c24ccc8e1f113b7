/*
 * log_right.h
 *		Checks which roles may read a log.
 */
#ifndef PM_LOG_RIGHT_H
#define PM_LOG_RIGHT_H

#include "log/log.h"

/* May the role read the table? */
extern bool log_has_right(Oid relid, Oid role);
/*
 * The commands that give a role what it lacks to read the table, and no more; empty if the
 * table or the role is gone.
 */
extern char *log_grants(Oid relid, Oid role);
/* Raises an error unless the role may read the table of the log of that name. */
extern void log_require_right(const char *name, Oid relid, Oid role);
/* May the role read the log? */
extern bool log_may_select(PmLog *log, Oid role);
/* Does row-level security hide events from the role? */
extern bool log_hides_from(PmLog *log, Oid role);
/* Can the owner of the log's table read all of it? */
extern bool log_owner_can_read(PmLog *log);
/* May the role read the log, and all of it? */
extern bool log_may_read(PmLog *log, Oid role);

#endif /* PM_LOG_RIGHT_H */
