/*
 * log_open.h
 *		Finds a log by its name, and locks it.
 */
#ifndef PM_LOG_OPEN_H
#define PM_LOG_OPEN_H

#include "storage/lockdefs.h"

#include "log/log.h"

/* The log of that name, not locked.  NULL, or an error, if there is none. */
extern PmLog *log_get(const char *name, bool missing_ok);
/*
 * The log of exactly that name, without waiting.  NULL if there is none, or,
 * with *locked set, if another session has locked its table exclusively.
 */
extern PmLog *log_get_nowait(const char *name, bool *locked);
/*
 * The log of that name, for a role that may read its table; an error for any other
 * role.
 */
extern PmLog *log_get_as(const char *name, Oid role);
/*
 * The full name of a log, and its table, which is not locked.  NULL, or an error, if
 * there is none.
 */
extern char *log_find(const char *name, Oid *relid, bool missing_ok);

/* The log as it is once its table is locked until the end of the transaction. */
extern PmLog *log_lock(PmLog *log, LOCKMODE mode);
/* The log of that name, locked for reading until the end of the transaction. */
extern PmLog *log_open(const char *name);
/* The same without waiting: see log_get_nowait(). */
extern PmLog *log_open_nowait(const char *name, bool *locked);
/* The same, for a role that may read its table; an error for any other role. */
extern PmLog *log_open_as(const char *name, Oid role);

#endif /* PM_LOG_OPEN_H */
