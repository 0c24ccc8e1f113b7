/*
 * log_ddl.c
 *		pm.create_log and pm.drop_log.
 *
 * The table belongs to the caller.  So the table is created, and its guard is
 * created and removed, with the caller's rights.  Only the row in the catalog
 * is written as the owner of the extension (log_catalog.c).
 */
#include "pm.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/exec.h"
#include "base/identifier.h"
#include "log/guard_ddl.h"
#include "log/highwater_ask.h"
#include "log/log_adopt.h"
#include "log/log_ddl.h"
#include "log/log_open.h"
#include "log/replica_ddl.h"
#include "log/sequence.h"
#include "shmem/wakeup.h"

PG_FUNCTION_INFO_V1(pm_create_log);
PG_FUNCTION_INFO_V1(pm_drop_log);

/*
 * Raises an error unless the caller owns the log's table, or is a superuser if
 * there is no table any more.
 */
void
log_require_owner(PmLog *log)
{
	if (get_rel_relkind(log->relid) == '\0')
	{
		if (!superuser())
			ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
							errmsg("must be superuser to change log \"%s\", whose table is gone",
								   log->name)));
	}
	else if (!compat_class_ownercheck(log->relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, log->name);
}

/*
 * Locks the log against all other sessions.  The log, and even its owner, may
 * have changed while we waited.
 */
static PmLog *
log_take(PmLog *log)
{
	log = log_lock(log, AccessExclusiveLock);
	log_require_owner(log);
	return log;
}

static void
log_refuse_attached(PmLog *log, const char *hint)
{
	if (log->kind == LOG_ATTACHED)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("event log \"%s\" is attached to table %s", log->name, log->table),
						errhint("%s", hint)));
}

/*
 * pm.create_log for an existing log: repairs the log if its table exists, else
 * removes the log, so that its name is free.
 */
static void
log_create_again(PmLog *log, bool partitioned)
{
	const char *name = pstrdup(log->name);
	char *followers;

	log_refuse_attached(log, "Call pm.attach_log with the same arguments to have it checked and "
							 "accepted again, and pm.detach_log to remove it.");
	if (get_rel_relkind(log->relid) != '\0')
	{
		if (log->problem == NULL)
			ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT),
							errmsg("event log \"%s\" already exists", log->title),
							partitioned && log->kind == LOG_ORDINARY ?
								errdetail("It is an ordinary log, and stays one.") :
								0));
		log_require_owner(log);
		log_repair(log_take(log));
		CommandCounterIncrement();
		log_require_whole(log_get(name, false));
		return;
	}
	/* The table was dropped while the event trigger was disabled. */
	followers = log_catalog_followers(name);
	if (followers != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("the table of log \"%s\" was dropped, but the log is still followed", name),
				 errdetail("It is followed by: %s.", followers),
				 errhint("End that with pm.unfollow first.")));
	log_catalog_delete(name);
	CommandCounterIncrement();
}

/*
 * Creates the table of a log, with its guard, and makes it a log.  A unique index over all
 * partitions must contain the position, so a partitioned log has none on (stream, version).
 */
static void
log_create_table(const char *name, const char *relname, Oid nsp, LogKind kind)
{
	char *table = quote_qualified_identifier(get_namespace_name(nsp), relname);
	bool partitioned = kind == LOG_PARTITIONED;
	ExecScope scope;

	exec_begin_caller(&scope);
	exec_command(
		psprintf("CREATE TABLE %s ("
				 "position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
				 "stream text NOT NULL, "
				 "version bigint, "
				 "type text NOT NULL, "
				 "data jsonb NOT NULL DEFAULT '{}', "
				 "metadata jsonb NOT NULL DEFAULT '{}', "
				 "recorded_at timestamptz NOT NULL DEFAULT pg_catalog.statement_timestamp()%s",
				 table,
				 partitioned ? ") PARTITION BY RANGE (position)" : ", UNIQUE (stream, version))"));
	if (partitioned)
		exec_command(psprintf("CREATE INDEX ON %s (stream, version)", table));
	exec_end(&scope);
	log_make(name, get_relname_relid(relname, nsp), kind);
}

/*
 * Reads the name of a log to be created.
 */
bool
log_ddl_target(const char *given, const char *function, bool partitioned, LogTarget *target)
{
	List *parts = identifier_split(given);
	char *name = log_normalize(given);
	PmLog *log;
	RangeVar *range;

	highwater_require_fresh_snapshots(function);
	exec_require_writable(function);
	if (parts == NIL || list_length(parts) > 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME), errmsg("invalid log name: \"%s\"", given),
				 errhint("A log is named like its table: name or schema.name, in double quotes "
						 "where SQL needs them.")));

	/* The log exists already: repair it, or free its name and continue. */
	log = log_get(name, true);
	if (log != NULL)
	{
		bool repaired = get_rel_relkind(log->relid) != '\0';

		log_create_again(log, partitioned);
		if (repaired)
			return true;
	}

	range = makeRangeVarFromNameList(identifier_values(given));
	target->name = name;
	target->relname = range->relname;
	target->nsp = RangeVarGetCreationNamespace(range);
	if (isTempNamespace(target->nsp))
		ereport(ERROR, (errcode(ERRCODE_INVALID_TABLE_DEFINITION),
						errmsg("an event log cannot be a temporary table"),
						errhint("Name a schema, or change the search_path.")));
	target->relid = get_relname_relid(range->relname, target->nsp);
	/* The table may be a log under another name that it had before. */
	if (OidIsValid(target->relid) && (name = log_catalog_name(target->relid)) != NULL)
	{
		log_create_again(log_get(name, false), partitioned);
		return true;
	}
	return false;
}

/*
 * pm.create_log(log, partitioned)
 *
 * Creates a table and makes it the log of that name.  If the log exists, repairs
 * what log_check() has found, and raises an error if it has found nothing.  If
 * only the table exists and it has all that a log needs, makes it the log.
 */
Datum
pm_create_log(PG_FUNCTION_ARGS)
{
	/* The extension may be of a version before that of the argument. */
	bool partitioned = PG_NARGS() > 1 && PG_GETARG_BOOL(1);
	LogTarget target;

	if (log_ddl_target(text_to_cstring(PG_GETARG_TEXT_PP(0)), "pm.create_log", partitioned,
					   &target))
		PG_RETURN_VOID();
	if (!OidIsValid(target.relid))
		log_create_table(target.name, target.relname, target.nsp,
						 partitioned ? LOG_PARTITIONED : LOG_ORDINARY);
	else
		log_adopt_table(target.name, target.relid);
	PG_RETURN_VOID();
}

/*
 * The table of that name, if it has the guard of a log or a part of it, and is
 * not a log; else InvalidOid.  (Restoring one schema of a dump brings back the
 * guard without the log.  CREATE TABLE ... LIKE copies its check.)
 */
static Oid
log_stray_guard(const char *name)
{
	List *parts = identifier_split(name);
	Oid relid;
	Relation rel;
	bool guarded;

	if (parts == NIL || list_length(parts) > 2)
		return InvalidOid;
	relid = RangeVarGetRelid(makeRangeVarFromNameList(identifier_values(name)), NoLock, true);
	if (!OidIsValid(relid) ||
		(get_rel_relkind(relid) != RELKIND_RELATION &&
		 get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE) ||
		log_catalog_name(relid) != NULL)
		return InvalidOid;
	if (!compat_class_ownercheck(relid, GetUserId()))
		return InvalidOid;
	rel = relation_open(relid, AccessShareLock);
	guarded = guard_has_any(rel);
	relation_close(rel, NoLock);
	return guarded ? relid : InvalidOid;
}

static void
log_take_guard_off(Oid relid)
{
	ExecScope scope;

	exec_begin_caller(&scope);
	replica_take_off(relid);
	guard_take_off(relid);
	exec_end(&scope);
}

/*
 * pm.drop_log for a name that no log has, but a table with a guard.
 */
static void
log_drop_stray(const char *name)
{
	Oid stray = log_stray_guard(name);

	if (OidIsValid(stray))
		LockRelationOid(stray, AccessExclusiveLock);
	if (!OidIsValid(stray))
		(void) log_get(name, false);
	/* The name may have come to mean another table while we waited. */
	if (!OidIsValid(stray) || log_stray_guard(name) != stray)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("event log \"%s\" was replaced", name)));
	log_take_guard_off(stray);
}

static void
log_require_unfollowed(PmLog *log)
{
	char *followers = log_catalog_followers(log->name);

	if (followers != NULL)
		ereport(ERROR, (errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
						errmsg("cannot drop log \"%s\" while it is followed", log->name),
						errdetail("It is followed by: %s.", followers),
						errhint("End that with pm.unfollow or pm.unregister first.")));
}

/*
 * pm.drop_log(log)
 *
 * Removes the log and its guard; the table stays.
 */
Datum
pm_drop_log(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	PmLog *log;

	/* An old snapshot would not show all followers. */
	highwater_require_fresh_snapshots("pm.drop_log");
	exec_require_writable("pm.drop_log");
	log = log_get(name, true);
	if (log == NULL)
	{
		log_drop_stray(name);
		PG_RETURN_VOID();
	}
	log_refuse_attached(log, "Use pm.detach_log.");
	log_require_owner(log);
	/*
	 * Check this before taking the lock too, so that a call that must fail makes no
	 * session wait.
	 */
	log_require_unfollowed(log);
	log = log_take(log);
	/* From here on no process manager begins to follow the log. */
	LockDatabaseObject(exec_catalog_relid("log"), log->relid, 0, ExclusiveLock);
	log_require_unfollowed(log);
	if (get_rel_relkind(log->relid) != '\0')
		log_take_guard_off(log->relid);
	log_catalog_delete(log->name);
	wakeup_forget(log->relid);
	PG_RETURN_VOID();
}
