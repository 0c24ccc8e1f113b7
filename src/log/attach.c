/*
 * attach.c
 *		pm.attach_log and pm.detach_log: logs over tables that another program makes and writes.
 *
 * Any role that may read the table may attach it.  The table is only locked for reading, and
 * no row is changed.  If the caller owns the table, the table gets a trigger that wakes
 * readers; attach_trigger.c does not wait for writers in order to create it.
 */
#include "pm.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/argument.h"
#include "base/exec.h"
#include "base/identifier.h"
#include "log/attach.h"
#include "log/attach_build.h"
#include "log/attach_check.h"
#include "log/attach_partition.h"
#include "log/attach_raw.h"
#include "log/attach_sequence.h"
#include "log/attach_trigger.h"
#include "log/highwater_ask.h"
#include "log/log_check.h"
#include "log/log_index.h"
#include "log/log_open.h"
#include "log/log_right.h"
#include "log/log_trouble.h"
#include "log/sequence.h"
#include "shmem/wakeup.h"

PG_FUNCTION_INFO_V1(pm_attach_log);
PG_FUNCTION_INFO_V1(pm_detach_log);

/* ---------- the name ---------- */

/*
 * Any role may create temporary tables, so their schema says nothing.
 */
void
attach_require_name(char *given, Oid source)
{
	RangeVar *range = makeRangeVarFromNameList(identifier_values(given));
	Oid nsp = RangeVarGetCreationNamespace(range);
	AclResult acl = compat_namespace_aclcheck(nsp, GetUserId(), ACL_CREATE);
	Oid relid;

	if (isTempNamespace(nsp))
		ereport(ERROR, (errcode(ERRCODE_INVALID_TABLE_DEFINITION),
						errmsg("an event log cannot be a temporary table"),
						errhint("Name a schema, or change the search_path.")));
	if (acl != ACLCHECK_OK)
		aclcheck_error(acl, OBJECT_SCHEMA, get_namespace_name(nsp));
	relid = get_relname_relid(range->relname, nsp);
	if (OidIsValid(relid) && relid != source)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE), errmsg("relation \"%s\" already exists", given),
				 errhint("Give the log a name that is not that of another table.")));
}

static char *
attach_name(char *given)
{
	List *parts = identifier_split(given);
	char *name = log_normalize(given);

	if (parts == NIL || list_length(parts) > 2 || strlen(name) >= LOG_MAX_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME), errmsg("invalid log name: \"%s\"", given),
				 errhint("A log is named like a table: name or schema.name, in double quotes where "
						 "SQL needs them.")));
	return name;
}

/* ---------- the table ---------- */

static void
attach_require_table(Oid relid)
{
	Relation rel = relation_open(relid, NoLock);
	const char *reason = attach_refuses_table(rel);
	char *other = log_catalog_name(relid);
	LogRow row;

	if (reason != NULL)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("\"%s\" cannot be attached", RelationGetRelationName(rel)),
						errdetail_internal("%s", reason)));
	relation_close(rel, NoLock);
	if (other != NULL && log_catalog_row(other, &row) && row.kind != LOG_ATTACHED)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("the table is that of log \"%s\"", other), errhint("Follow that log.")));
}

/*
 * The name of the column of positions.
 */
static char *
attach_position_name(Relation rel, const char *text)
{
	char *name = attach_raw_name(attach_raw(rel, text));

	if (name == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("pos must be the name of a column"),
						errdetail("An expression has no sequence and no index.")));
	return name;
}

/*
 * Raises the errors of the expressions, with their context, and of the sequence.
 * log_get() would find only the message.
 */
static void
attach_check_row(LogRow *row)
{
	MemoryContext caller = CurrentMemoryContext;
	ExecScope scope;
	PmLog log;
	Relation rel;
	Oid seqid;
	bool other;

	memset(&log, 0, sizeof(log));
	log.name = row->name;
	log.kind = LOG_ATTACHED;
	log.relid = row->relid;
	exec_begin_owner(&scope);
	log.context = CurrentMemoryContext;
	rel = relation_open(row->relid, NoLock);
	row->columns[EVENT_POSITION] =
		MemoryContextStrdup(caller, attach_position_name(rel, row->columns[EVENT_POSITION]));
	attach_build_or_fail(&log, rel, row);
	seqid = attach_sequence(rel, log.attnum[EVENT_POSITION], &other);
	relation_close(rel, NoLock);
	exec_end(&scope);
	if (OidIsValid(seqid))
	{
		row->sequence_file = sequence_file(seqid);
		row->sequence_xmin = attach_sequence_xmin(seqid);
	}
}

/*
 * Cursors start at position 0, so rows at or below it would never be read.
 */
static void
attach_require_positions(PmLog *log)
{
	LogIndexScan scan;
	bool found;

	if (!log_index_begin_positions(&scan, log, PG_INT64_MIN, 0))
		log_index_refuse(log);
	found = log_index_next(&scan, ForwardScanDirection);
	log_index_end(&scan);
	if (found)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("table %s cannot be attached", log->table),
						errdetail("It has rows whose position is not above 0.")));
}

/*
 * The sequence must be at or above each row and each cursor.
 */
static void
attach_require_sequence(PmLog *log)
{
	int64 last;
	int64 needed;
	SequenceFit fit;

	while ((fit = log_sequence_fits(log, &last, &needed)) == SEQUENCE_LOCKED)
	{
		LockRelationOid(log->seqid, AccessShareLock);
		UnlockRelationOid(log->seqid, AccessShareLock);
	}
	if (fit == SEQUENCE_UNKNOWN)
		log_index_refuse(log);
	if (fit == SEQUENCE_BEHIND)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the sequence of log \"%s\" is at %lld, but positions up to %lld have been "
						"used",
						log->name, (long long) last, (long long) needed),
				 errhint("Run SELECT pg_catalog.setval(%s, %lld), then try again.",
						 quote_literal_cstr(identifier_of_relation(log->seqid)),
						 (long long) needed)));
}

/* ---------- the log ---------- */

static bool
attach_same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/*
 * Is the log attached in this way already?
 */
static bool
attach_is_same(const LogRow *old, const LogRow *new)
{
	for (int i = EVENT_POSITION; i <= EVENT_ATTRIBUTES; i++)
		if (!attach_same_text(old->columns[i], new->columns[i]))
			return false;
	return old->kind == LOG_ATTACHED &&
		   old->relid == new->relid &&attach_same_text(old->filter, new->filter);
}

/*
 * May this role attach the log again, and detach it?
 */
static bool
attach_may_change(const LogRow *row)
{
	if (OidIsValid(row->attached_by) && has_privs_of_role(GetUserId(), row->attached_by))
		return true;
	return get_rel_relkind(row->relid) != '\0' ? compat_class_ownercheck(row->relid, GetUserId()) :
												 superuser();
}

void
attach_require_may_change(const LogRow *row)
{
	if (!attach_may_change(row))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for log \"%s\"", row->name),
				 errdetail("Only the role that has attached it, and the owner of the table, may "
						   "change it.")));
}

/*
 * Repeating the call with the same arguments accepts a sequence that has been changed, and
 * makes the trigger.  With other arguments, the followers of the log would get other
 * events.
 */
static void
attach_again(const LogRow *row)
{
	LogRow old;
	char *followers = log_catalog_followers(row->name);

	if (!log_catalog_row(row->name, &old))
		return;
	if (old.kind == LOG_ATTACHED)
		attach_require_may_change(&old);
	if (old.kind != LOG_ATTACHED || (!attach_is_same(&old, row) && followers == NULL))
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT),
						errmsg("event log \"%s\" already exists", row->name),
						old.kind == LOG_ATTACHED ? errhint("Remove it with pm.detach_log first.") :
												   errhint("Give the log another name.")));
	if (!attach_is_same(&old, row))
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("log \"%s\" is attached with other arguments, and is followed", row->name),
				 errdetail("It is followed by: %s.", followers),
				 errhint("Attach the table under another name, or end that with pm.unfollow "
						 "or pm.unregister and remove the log with pm.detach_log.")));
	log_catalog_accept_attached(row);
	wakeup_registry();
}

static LogRow
attach_row(FunctionCallInfo fcinfo)
{
	static const char *const names[] = {"log", "source", "pos", "stream", "type", "data"};
	static const int attributes[] = {EVENT_POSITION, EVENT_STREAM,	 EVENT_TYPE,	   EVENT_DATA,
									 EVENT_VERSION,	 EVENT_METADATA, EVENT_RECORDED_AT};
	LogRow row;

	for (int i = 0; i < lengthof(names); i++)
		argument_not_null(fcinfo, i, names[i]);
	memset(&row, 0, sizeof(row));
	row.kind = LOG_ATTACHED;
	row.relid = PG_GETARG_OID(1);
	for (int i = 0; i < lengthof(attributes); i++)
		if (!PG_ARGISNULL(i + 2))
			row.columns[attributes[i]] = text_to_cstring(PG_GETARG_TEXT_PP(i + 2));
	if (!PG_ARGISNULL(9))
		row.filter = text_to_cstring(PG_GETARG_TEXT_PP(9));
	row.attached_by = GetUserId();
	return row;
}

static void
attach_require_right(const char *name, Oid relid)
{
	if (!log_has_right(relid, GetUserId()))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("role \"%s\" may not read table \"%s\"",
							   GetUserNameFromId(GetUserId(), false), name),
						errhint("Run %s.", log_grants(relid, GetUserId()))));
}

/*
 * Locks the table for reading, for a role that may read it.
 */
static void
attach_lock(Oid relid)
{
	char *name = get_rel_name(relid);

	if (name == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
						errmsg("relation with OID %u does not exist", relid)));
	attach_require_right(name, relid);
	LockRelationOid(relid, AccessShareLock);
	/* It may have been dropped while we waited, and the rights may have changed. */
	if (get_rel_name(relid) == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
						errmsg("relation \"%s\" no longer exists", name)));
	attach_require_right(name, relid);
}

/*
 * pm.attach_log(log, source, pos, stream, type, data, version, metadata, recorded_at, filter)
 */
Datum
pm_attach_log(PG_FUNCTION_ARGS)
{
	LogRow row = attach_row(fcinfo);
	char *given = text_to_cstring(PG_GETARG_TEXT_PP(0));
	PmLog *log;

	highwater_require_fresh_snapshots("pm.attach_log");
	exec_require_writable("pm.attach_log");
	row.name = attach_name(given);
	attach_require_name(given, row.relid);
	attach_lock(row.relid);
	attach_partition_begin(row.relid);
	attach_require_table(row.relid);
	attach_check_row(&row);
	log = log_get(row.name, true);
	if (log != NULL)
	{
		/* It may have been renamed. */
		row.name = pstrdup(log->name);
		attach_again(&row);
	}
	else
		log_catalog_insert_kind(&row);
	CommandCounterIncrement();

	log = log_get(row.name, false);
	log_require_whole(log);
	log_require_select(log, GetUserId());
	attach_require_sequence(log);
	attach_require_positions(log);
	if (compat_class_ownercheck(row.relid, GetUserId()))
		attach_trigger_make(row.relid);
	PG_RETURN_VOID();
}

static void
attach_require_unfollowed(const char *name)
{
	char *followers = log_catalog_followers(name);

	if (followers != NULL)
		ereport(ERROR, (errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
						errmsg("cannot detach log \"%s\" while it is followed", name),
						errdetail("It is followed by: %s.", followers),
						errhint("End that with pm.unfollow or pm.unregister first.")));
}

/*
 * pm.detach_log(log)
 *
 * Removes the log; the table stays as it is.
 */
Datum
pm_detach_log(PG_FUNCTION_ARGS)
{
	LogRow row;
	char *name;
	Oid relid;

	/* An old snapshot would not show all followers. */
	highwater_require_fresh_snapshots("pm.detach_log");
	exec_require_writable("pm.detach_log");
	name = log_find(log_arg_name(fcinfo, 0), &relid, false);
	if (!log_catalog_row(name, &row) || row.kind != LOG_ATTACHED)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("log \"%s\" is not attached", name), errhint("Use pm.drop_log.")));
	attach_require_may_change(&row);
	/*
	 * Check this before the row is deleted too, so that a call that must fail makes no session
	 * wait.
	 */
	attach_require_unfollowed(name);
	/*
	 * This waits for sessions that are beginning to follow the log; later ones wait for us
	 * (follow.c).  Sessions that follow another log over the table, which can belong to
	 * another role, do not wait.
	 */
	log_catalog_delete(name);
	CommandCounterIncrement();
	attach_require_unfollowed(name);
	if (log_catalog_name(relid) == NULL)
	{
		if (get_rel_relkind(relid) != '\0' && compat_class_ownercheck(relid, GetUserId()))
			attach_trigger_remove(relid);
		wakeup_forget(relid);
	}
	PG_RETURN_VOID();
}
