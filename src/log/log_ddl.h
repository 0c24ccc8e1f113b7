/*
 * log_ddl.h
 *		pm.create_log and pm.drop_log.
 */
#ifndef PM_LOG_DDL_H
#define PM_LOG_DDL_H

#include "log/log.h"

/* A log that is to be created. */
typedef struct LogTarget
{
	char *name;
	char *relname; /* of its table */
	Oid nsp;
	Oid relid; /* the table, if it exists already */
} LogTarget;

/*
 * Reads the name that a function which creates logs is given.  If the log exists already,
 * repairs it, or raises an error if nothing is wrong with it, and returns true.
 */
extern bool log_ddl_target(const char *given, const char *function, bool partitioned,
						   LogTarget *target);
/*
 * Raises an error unless the caller owns the log's table, or is a superuser if there is no table
 * any more.
 */
extern void log_require_owner(PmLog *log);

#endif /* PM_LOG_DDL_H */
