/*
 * log_open.c
 *		Logs whose tables are locked, so that what was looked up stays as it is.
 *
 * The log that log_get() returns can be another one by the time its table is
 * locked: forgotten, dropped, or with another owner.  Whoever acts on a log
 * locks it first, and goes by what is there then.
 *
 * The lock keeps the table and its name, and not the schema's: a schema can be
 * renamed while tables in it are locked, and another one take its name.
 */
#include "pm.h"

#include "storage/lmgr.h"

#include "log/log.h"

/*
 * The log as it is once its table is locked until the end of the transaction.
 */
PmLog *
log_lock(PmLog *log, LOCKMODE mode)
{
	Oid relid = log->relid;

	LockRelationOid(relid, mode);
	/* Locking took in what changed before: look again. */
	log = log_get(log->name, false);
	if (log->relid != relid)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("event log \"%s\" was replaced", log->name)));
	return log;
}

/*
 * A log for reading in this transaction.
 */
PmLog *
log_open(const char *name)
{
	return log_lock(log_get(name, false), AccessShareLock);
}

/*
 * The same without waiting, for exactly that name: NULL when it does not exist
 * or, *locked, somebody holds its table exclusively.
 */
PmLog *
log_open_nowait(const char *name, bool *locked)
{
	PmLog *log = log_get_nowait(name, locked);
	Oid relid;

	if (log == NULL)
		return NULL;
	relid = log->relid;
	*locked = !ConditionalLockRelationOid(relid, AccessShareLock);
	if (*locked)
		return NULL;
	/* Locking took in what changed before: look again. */
	if (log->stale)
		log = log_get_nowait(name, locked);
	if (log == NULL || log->relid != relid)
	{
		/* It was replaced. */
		*locked |= log != NULL;
		UnlockRelationOid(relid, AccessShareLock);
		return NULL;
	}
	return log;
}

/*
 * The same, for a role that may read the log.
 */
PmLog *
log_open_as(const char *name, Oid role)
{
	Oid relid;
	char *found = log_find(name, &relid, false);

	log_require_right(found, relid, role);
	return log_open(found);
}
