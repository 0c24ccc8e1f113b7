/*
 * trim.c
 *		pm.trim: deletes the oldest events of a log.
 *
 * The table is locked first, and only then does pm.trim decide what is deleted
 * (log_open.c).  If a DELETE would run no code of the table's owner, the events are
 * deleted without a DELETE (trim_direct.c), whichever role the caller is.  If the table
 * has triggers, foreign keys or rules for DELETE, only its owner can trim it.  Then
 * pm.trim runs a DELETE, in which the owner's code runs with the owner's rights, as in
 * any other statement of the owner.
 *
 * The DELETE names the table.  While our table is locked, its schema can be
 * renamed, and then the name can mean another table.  So the statement is
 * analyzed, its tables are compared with the log's table, and the analyzed
 * statement is run.
 */
#include "pm.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/tstoreReceiver.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "storage/lmgr.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#include "base/argument.h"
#include "base/exec.h"
#include "log/append_id.h"
#include "log/held.h"
#include "log/highwater_ask.h"
#include "log/log_open.h"
#include "log/log_trouble.h"
#include "log/reply_to.h"
#include "log/trim_direct.h"
#include "log/trimmed.h"

/* The versions of this many streams are kept by one statement. */
#define TRIM_KEEP_CHUNK 1000

PG_FUNCTION_INFO_V1(pm_trim);

/* What the statement below returns. */
typedef struct TrimResult
{
	Tuplestorestate *rows;
	TupleDesc desc;
} TrimResult;

/*
 * The statement that deletes events.  It returns a row for each stream that has no
 * events left: how many events were deleted in all, the stream, and its last
 * version.  If there is no such stream, it returns one row with NULLs for these.
 */
static char *
trim_statement(PmLog *log, int64 up_to, int64 count)
{
	return psprintf(
		"WITH d AS (DELETE FROM %s%s WHERE %s OPERATOR(pg_catalog.=) ANY (ARRAY("
		"SELECT %s FROM %s%s WHERE %s OPERATOR(pg_catalog.<=) " INT64_FORMAT
		" ORDER BY %s LIMIT " INT64_FORMAT ")) RETURNING %s AS stream, %s AS version), "
		"s AS (SELECT d.stream, coalesce(pg_catalog.max(d.version), 0) AS version FROM d "
		"GROUP BY d.stream) "
		"SELECT n.count, e.stream, e.version FROM (SELECT pg_catalog.count(*) AS count FROM d) n "
		"LEFT JOIN (SELECT s.stream, s.version FROM s "
		/* The LIMIT makes the planner look up each stream in the index. */
		"WHERE (SELECT 1 FROM %s%s r WHERE r.%s OPERATOR(pg_catalog.=) s.stream "
		"AND r.%s OPERATOR(pg_catalog.>) s.version LIMIT 1) IS NULL) e ON true",
		log->only, log->table, log->pos, log->pos, log->only, log->table, log->pos, up_to, log->pos,
		count, log->stream, log->version, log->only, log->table, log->stream, log->version);
}

/*
 * Does the query name another table?
 */
static bool
trim_names_other(Node *node, void *relid)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
		return ((RangeTblEntry *) node)->rtekind == RTE_RELATION &&
			   ((RangeTblEntry *) node)->relid != *(Oid *) relid;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, trim_names_other, relid, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, trim_names_other, relid);
}

/*
 * The plan of a statement that names the log's table, and no other.
 */
static PlannedStmt *
trim_plan(PmLog *log, const char *sql)
{
	RawStmt *statement = linitial_node(RawStmt, pg_parse_query(sql));
	Query *query = parse_analyze_fixedparams(statement, sql, NULL, 0, NULL);
	List *plans;

	if (trim_names_other((Node *) query, &log->relid))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("%s is no longer the table of log \"%s\"", log->table, log->name),
						errdetail("Its schema was renamed meanwhile."), errhint("Try again.")));
	plans = pg_plan_queries(pg_rewrite_query(query), sql, 0, NULL);
	/* A data-modifying WITH query accepts no rule that would add a statement. */
	if (list_length(plans) != 1)
		elog(ERROR, "unexpected number of statements: %d", list_length(plans));
	return linitial_node(PlannedStmt, plans);
}

/*
 * Runs the statement.  Assumes an open scope.
 */
static TrimResult
trim_run(PmLog *log, const char *sql)
{
	TrimResult result = {tuplestore_begin_heap(false, false, work_mem), NULL};
	DestReceiver *receiver = CreateDestReceiver(DestTuplestore);
	PlannedStmt *plan;
	QueryDesc *query;

	SetTuplestoreDestReceiverParams(receiver, result.rows, CurrentMemoryContext, false, NULL, NULL);
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	plan = trim_plan(log, sql);
	/* Planning may have run functions of index expressions, which may have written. */
	CommandCounterIncrement();
	UpdateActiveSnapshotCommandId();
	query = CreateQueryDesc(plan, sql, GetActiveSnapshot(), InvalidSnapshot, receiver, NULL, NULL,
							0);
	ExecutorStart(query, 0);
	result.desc = CreateTupleDescCopy(query->tupDesc);
	compat_executor_run(query);
	ExecutorFinish(query);
	ExecutorEnd(query);
	FreeQueryDesc(query);
	receiver->rDestroy(receiver);
	PopActiveSnapshot();
	CommandCounterIncrement();
	return result;
}

/*
 * Keeps the versions of the streams that have no events left (trimmed.c).
 * Returns how many events were deleted.
 */
static int64
trim_keep_versions(PmLog *log, TrimResult *result)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(result->desc, &TTSOpsMinimalTuple);
	Datum *streams = palloc(sizeof(Datum) * TRIM_KEEP_CHUNK);
	Datum *versions = palloc(sizeof(Datum) * TRIM_KEEP_CHUNK);
	int count = 0;
	int64 deleted = 0;

	/* Planning may have run code of the table's owner, which may have changed the columns. */
	if (TupleDescAttr(result->desc, 1)->atttypid != TEXTOID ||
		TupleDescAttr(result->desc, 2)->atttypid != INT8OID)
		log_refuse_types(log);
	while (tuplestore_gettupleslot(result->rows, true, false, slot))
	{
		bool isnull;
		Datum stream;

		deleted = DatumGetInt64(slot_getattr(slot, 1, &isnull));
		stream = slot_getattr(slot, 2, &isnull);
		if (isnull)
			continue;
		streams[count] = PointerGetDatum(PG_DETOAST_DATUM_COPY(stream));
		versions[count] = slot_getattr(slot, 3, &isnull);
		if (++count < TRIM_KEEP_CHUNK)
			continue;
		trimmed_keep(log->name, streams, versions, count);
		while (count > 0)
			pfree(DatumGetPointer(streams[--count]));
		CHECK_FOR_INTERRUPTS();
	}
	trimmed_keep(log->name, streams, versions, count);
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(result->rows);
	return deleted;
}

static void
trim_require_rights(PmLog *log)
{
	AclResult acl;

	log_require_select(log, GetUserId());
	acl = pg_class_aclcheck(log->relid, GetUserId(), ACL_DELETE);
	if (acl != ACLCHECK_OK)
		aclcheck_error(acl, OBJECT_TABLE, log->name);
	log_require_whole(log);
}

static void
trim_refuse_attached(PmLog *log)
{
	if (log->kind == LOG_ATTACHED)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("pm.trim cannot delete from log \"%s\", which is attached", log->name),
				 errdetail("Its table %s belongs to another program.", log->table),
				 errhint("Delete the rows as that program does. pm.cursor shows up to which "
						 "position they have been handled.")));
}

/*
 * Raises an error if a follower has not handled all of these events, or has
 * parked one.
 */
static void
trim_require_handled(PmLog *log, int64 up_to)
{
	Held held;

	if (held_by(log->name, PG_INT64_MIN, up_to, &held))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot trim log \"%s\" up to position %lld", log->name, (long long) up_to),
				 errdetail_internal("%s", held.detail), errhint("%s", held.hint)));
}

/*
 * Trims by a DELETE, for the owner of the table only.
 */
static int64
trim_with_delete(PmLog *log, const char *obstacle, int64 up_to, int64 count)
{
	const char *owner = GetUserNameFromId(log->owner, false);
	ExecScope scope;
	TrimResult result;
	int64 deleted;

	if (GetUserId() != log->owner)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("log \"%s\" can only be trimmed by the owner of its table", log->name),
				 errdetail("%s Only the owner may run the code that it calls.", obstacle),
				 errhint("Connect as \"%s\" and call pm.trim there.", owner)));
	if (log->kind == LOG_REPLICA)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("cannot trim replica log \"%s\"", log->name),
						errdetail("%s", obstacle), errhint("Remove it from the table.")));
	exec_begin_writer(&scope);
	result = trim_run(log, trim_statement(log, up_to, count));
	deleted = trim_keep_versions(log, &result);
	exec_end(&scope);
	return deleted;
}

/*
 * pm.trim(log, up_to, max_count)
 */
Datum
pm_trim(PG_FUNCTION_ARGS)
{
	PmLog *log = log_open_as(log_arg_name(fcinfo, 0), GetUserId());
	int64 up_to = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1);
	int64 count = log_arg_count(fcinfo, 2);
	const char *obstacle;
	int64 deleted;

	/* An old snapshot would not see where the cursors are. */
	highwater_require_fresh_snapshots("pm.trim");
	exec_require_writable("pm.trim");
	argument_not_null(fcinfo, 1, "up_to");
	trim_refuse_attached(log);
	trim_require_rights(log);

	/*
	 * This lock keeps other sessions from setting a cursor back to events that
	 * are about to be deleted, and from adding a process manager that would start
	 * there.  Take it before the writer's lock on the table: while we wait for
	 * it, readers must not wait for us.
	 */
	held_lock(log->relid);
	log = log_lock(log, RowExclusiveLock);
	/* The log or the rights may have changed while we waited. */
	trim_require_rights(log);
	trim_require_handled(log, up_to);
	obstacle = trim_direct_obstacle(log);
	if (obstacle != NULL)
		deleted = trim_with_delete(log, obstacle, up_to, count);
	else
		deleted = trim_direct(log, up_to, count);
	append_id_trim(log, up_to);
	reply_to_trim(log, up_to);
	PG_RETURN_INT64(deleted);
}
