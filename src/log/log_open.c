/*
 * log_open.c
 *		Finds a log by its name, and locks it.
 *
 * By the time its table is locked, the log that log_get() returned may have
 * been forgotten, dropped, or given to another owner.  So a caller that acts on
 * a log locks it first, and uses the log that it finds then.
 *
 * The lock protects the table and its name, but not the schema's name: a schema
 * can be renamed while tables in it are locked, and another schema can take its
 * name.
 */
#include "pm.h"

#include "storage/lmgr.h"

#include "log/log_cache.h"
#include "log/log_name.h"
#include "log/log_open.h"
#include "log/log_right.h"
#include "log/partition.h"

COMPAT_NORETURN static void
log_refuse_missing(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("event log \"%s\" does not exist", name),
			 errhint("SELECT name FROM pm.log lists the logs; pm.create_log makes one.")));
}

/*
 * The name is taken literally first, then read as an SQL identifier.
 */
PmLog *
log_get(const char *name, bool missing_ok)
{
	bool locked;
	PmLog *log = log_cache_load(name, false, &locked);
	char *normal;

	if (log == NULL && (normal = log_normalize(name)) != NULL && strcmp(normal, name) != 0)
		log = log_cache_load(normal, false, &locked);
	if (log == NULL && !missing_ok)
		log_refuse_missing(name);
	return log;
}

PmLog *
log_get_nowait(const char *name, bool *locked)
{
	return log_cache_load(name, true, locked);
}

char *
log_find(const char *name, Oid *relid, bool missing_ok)
{
	char *found = pstrdup(name);

	*relid = log_cache_table(found);
	if (!OidIsValid(*relid) && (found = log_normalize(name)) != NULL)
		*relid = log_cache_table(found);
	if (OidIsValid(*relid))
	{
		char *first = log_name_first(found);

		return first != NULL ? first : found;
	}
	if (!missing_ok)
		log_refuse_missing(name);
	return NULL;
}

/*
 * The name of a log that the role may read.  The rights are checked before
 * anything is locked: a role without them neither waits for the table nor makes
 * others wait for it.
 */
static char *
log_find_as(const char *name, Oid role)
{
	Oid relid;
	char *found = log_find(name, &relid, false);

	log_require_right(found, relid, role);
	return found;
}

PmLog *
log_get_as(const char *name, Oid role)
{
	return log_get(log_find_as(name, role), false);
}

PmLog *
log_lock(PmLog *log, LOCKMODE mode)
{
	for (;;)
	{
		Oid relid = log->relid;

		LockRelationOid(relid, mode);
		/* Locking has processed the invalidations of earlier changes: look again. */
		log = log_get(log->name, false);
		if (log->relid == relid)
			return log;
		/* pm.partition_log makes the table a partition of the one that the log has then. */
		if (partition_root(relid) != log->relid)
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
							errmsg("event log \"%s\" was replaced", log->name)));
		UnlockRelationOid(relid, mode);
	}
}

PmLog *
log_open(const char *name)
{
	return log_lock(log_get(name, false), AccessShareLock);
}

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
	/* Locking has processed the invalidations of earlier changes: look again. */
	if (log->stale)
		log = log_get_nowait(name, locked);
	if (log == NULL || log->relid != relid)
	{
		/* The log has another table now.  Report it as locked, so that the caller tries again. */
		*locked |= log != NULL;
		UnlockRelationOid(relid, AccessShareLock);
		return NULL;
	}
	return log;
}

PmLog *
log_open_as(const char *name, Oid role)
{
	return log_open(log_find_as(name, role));
}
