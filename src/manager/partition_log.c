/*
 * partition_log.c
 *		pm.partition_log: makes a partitioned log of an ordinary one that is written and followed.
 *
 * The log gets a new table, of which its old one becomes the first partition (partition_make.c).
 * Everything that is stored about the log refers to it by name, so cursors, parked events, ids,
 * journals and leases need not change.  What refers to the table by its OID is changed here or
 * in partition_make.c.
 *
 * Only the owner itself may call this, not a superuser, because PostgreSQL evaluates constraints
 * of the table, which may call functions of the owner, with the rights of the current role.
 */
#include "pm.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "base/exec.h"
#include "base/identifier.h"
#include "base/version.h"
#include "base/within.h"
#include "log/guard.h"
#include "log/highwater_ask.h"
#include "log/lock_briefly.h"
#include "log/log_open.h"
#include "log/partition_make.h"
#include "manager/shell_type.h"
#include "shmem/wakeup.h"

PG_FUNCTION_INFO_V1(pm_partition_log);

static char *
partition_log_name(const char *given)
{
	List *parts = identifier_values(given);

	if (list_length(parts) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME), errmsg("invalid partition name: \"%s\"", given),
				 errhint("Use a name without a schema: the table stays in its schema.")));
	return strVal(linitial(parts));
}

/*
 * Checks what can be checked without a lock on the table, or with a lock of any mode.
 */
static void
partition_log_require(PmLog *log)
{
	int64 floor;

	if (GetUserId() != log->owner)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("must be owner of the table of log \"%s\"", log->title),
						errhint("Run SET ROLE %s first.",
								quote_identifier(GetUserNameFromId(log->owner, false)))));
	if (log->kind != LOG_ORDINARY)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("log \"%s\" is not an ordinary log", log->title),
						errhint("SELECT name, kind FROM pm.log shows what it is.")));
	log_require_whole(log);
	if (guard_own_floor(log->relid, &floor))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("this transaction has written to log \"%s\"", log->title),
						errhint("Call pm.partition_log in a transaction that does not write to "
								"it.")));
}

/*
 * The transactions that hold the table locked, apart from this one, and whether one of them is
 * prepared.
 */
static char *
partition_log_holders(PmLog *log, bool *prepared)
{
	static ExecStatement holders =
		{NULL,
		 "SELECT pg_catalog.string_agg(DISTINCT CASE WHEN l.pid IS NOT NULL "
		 "THEN pg_catalog.format('process %s', l.pid) "
		 "ELSE pg_catalog.format('prepared transaction %L', "
		 "(SELECT p.gid FROM pg_catalog.pg_locks x JOIN pg_catalog.pg_prepared_xacts p "
		 "ON p.transaction OPERATOR(pg_catalog.=) x.transactionid "
		 "WHERE x.locktype OPERATOR(pg_catalog.=) 'transactionid' AND x.pid IS NULL "
		 "AND x.virtualtransaction OPERATOR(pg_catalog.=) l.virtualtransaction LIMIT 1)) "
		 "END, ', '), "
		 "pg_catalog.bool_or(l.pid IS NULL) "
		 "FROM pg_catalog.pg_locks l "
		 "WHERE l.locktype OPERATOR(pg_catalog.=) 'relation' AND l.granted "
		 "AND l.database OPERATOR(pg_catalog.=) $1 AND l.relation OPERATOR(pg_catalog.=) $2 "
		 "AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()",
		 2,
		 {OIDOID, OIDOID}};
	Datum values[2] = {ObjectIdGetDatum(MyDatabaseId), ObjectIdGetDatum(log->relid)};
	MemoryContext caller = CurrentMemoryContext;
	ExecScope scope;
	char *list;
	bool isnull;

	exec_begin_caller(&scope);
	(void) exec_statement(&holders, values, NULL);
	list = exec_text(0, 1);
	if (list != NULL)
		list = MemoryContextStrdup(caller, list);
	*prepared = DatumGetBool(exec_value(0, 2, &isnull)) && !isnull;
	exec_end(&scope);
	return list;
}

COMPAT_NORETURN static void
partition_log_refuse_locked(PmLog *log, const char *list)
{
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("could not lock the table of log \"%s\" without making writers wait for a "
					"long time",
					log->title),
			 list == NULL ? 0 : errdetail("It is in use by: %s.", list),
			 errhint("Try again when these transactions have ended.")));
}

/*
 * Locks the log's table and its sequence against all other sessions.  First everything is checked
 * under a weak lock, so that a call that must fail makes nobody wait.
 */
static PmLog *
partition_log_lock(PmLog *log, int64 up_to)
{
	Oid relid;
	char *holders;
	bool prepared;

	partition_log_require(log);
	log = log_lock(log, AccessShareLock);
	partition_log_require(log);
	partition_make_require(log, up_to);
	relid = log->relid;
	/* Two calls that both held it would wait for each other. */
	UnlockRelationOid(relid, AccessShareLock);

	/* A prepared transaction can last for days. */
	holders = partition_log_holders(log, &prepared);
	if (prepared)
		partition_log_refuse_locked(log, holders);
	if (!lock_briefly(relid, log->seqid))
		partition_log_refuse_locked(log, partition_log_holders(log, &prepared));
	log = log_get(log->name, false);
	partition_log_require(log);
	if (log->relid != relid)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("event log \"%s\" was replaced", log->name)));
	partition_make_require(log, up_to);
	return log;
}

/*
 * pm.partition_log(log, up_to, partition)
 */
Datum
pm_partition_log(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int64 up_to = PG_GETARG_INT64(1);
	char *partition = partition_log_name(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	PmLog *log;
	Oid relid;
	Oid root;

	/* Its batch continues to read the log. */
	if (within_handler())
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("a handler cannot call pm.partition_log")));
	highwater_require_fresh_snapshots("pm.partition_log");
	exec_require_writable("pm.partition_log");
	version_require("0.2.0", "pm.partition_log");
	log = partition_log_lock(log_get(name, false), up_to);
	relid = log->relid;
	root = partition_make(log, partition, up_to);
	shell_type_move(relid, root);
	wakeup_forget(relid);
	wakeup_registry();
	CommandCounterIncrement();
	log_require_whole(log_get(name, false));
	PG_RETURN_VOID();
}
