/*
 * log_index.c
 *		A log's events along the index of their positions.
 *
 * For dispatchers, which read a few events many times a second, and for
 * pm.status, which everybody may ask about everybody's logs.  No query is
 * planned or run: that would cost more than the reading, and planning can run
 * code that the table's owner wrote, for as long as it likes.  Here nothing but
 * PostgreSQL's own code for a btree of bigints is called, so no role has to be
 * changed either.
 */
#include "pm.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_type.h"
#include "crash.h"
#include "executor/tuptable.h"
#include "log_index.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/cost.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* A scan of a log's events after a position. */
typedef struct LogIndexScan
{
	Relation	rel;
	Relation	index;
	Snapshot	snapshot;
	IndexScanDesc scan;
	TupleTableSlot *slot;
} LogIndexScan;

/*
 * An ascending index of positions that has all of them, or NULL.
 */
static Relation
log_index_open(Relation rel, AttrNumber pos)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;

		if (form->indisvalid && !form->indcheckxmin && form->indkey.values[0] == pos &&
			index->rd_rel->relam == BTREE_AM_OID && index->rd_opfamily[0] == INTEGER_BTREE_FAM_OID &&
			index->rd_opcintype[0] == INT8OID && (index->rd_indoption[0] & INDOPTION_DESC) == 0 &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
		{
			list_free(indexes);
			return index;
		}
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return NULL;
}

static bool
log_index_users_function(Oid function, void *context)
{
	return function >= FirstNormalObjectId;
}

static bool
log_index_users_code(Node *node, void *context)
{
	if (node == NULL)
		return false;
	/* A domain has checks. */
	if (IsA(node, CoerceToDomain) || check_functions_in_node(node, log_index_users_function, context))
		return true;
	return expression_tree_walker(node, log_index_users_code, context);
}

/*
 * Does the index have an expression or a predicate with a user's code?  Looked
 * at as they are stored: the relation cache would simplify them.
 */
static bool
log_index_has_users_code(Relation index)
{
	static const AttrNumber trees[] = {Anum_pg_index_indexprs, Anum_pg_index_indpred};

	for (int i = 0; i < lengthof(trees); i++)
	{
		bool		isnull;
		Datum		tree = SysCacheGetAttr(INDEXRELID, index->rd_indextuple, trees[i], &isnull);

		if (!isnull && log_index_users_code(stringToNode(TextDatumGetCString(tree)), NULL))
			return true;
	}
	return false;
}

/*
 * Can a query that reads the log be planned without running code of its owner's?
 * The planner simplifies, and so may call, what is in the table's indexes,
 * statistics and checks.
 */
bool
log_index_may_plan(PmLog *log)
{
	Relation	rel = table_open(log->relid, NoLock);
	List	   *indexes = RelationGetIndexList(rel);
	bool		may = constraint_exclusion != CONSTRAINT_EXCLUSION_ON && RelationGetStatExtList(rel) == NIL;
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		may = may && !log_index_has_users_code(index);
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	table_close(rel, NoLock);
	return may;
}

/*
 * Refuses a log that can only be read by a query, which may not be planned.
 */
void
log_index_refuse(PmLog *log)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("log \"%s\" has no index of its positions", log->name),
			 errhint("Run ALTER TABLE %s ADD PRIMARY KEY (%s).", log->table, log->pos)));
}

/*
 * Refuses a column that is not of the type that its reader takes it for: the
 * table can have been changed by this very transaction since it was checked.
 */
static void
log_index_require_types(PmLog *log, Relation rel)
{
	static const Oid types[EVENT_ATTRIBUTES + 1] = {
		[EVENT_POSITION] = INT8OID,[EVENT_STREAM] = TEXTOID,[EVENT_VERSION] = INT8OID,[EVENT_TYPE] = TEXTOID,
		[EVENT_DATA] = JSONBOID,[EVENT_METADATA] = JSONBOID,[EVENT_RECORDED_AT] = TIMESTAMPTZOID
	};
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = EVENT_POSITION; i <= EVENT_ATTRIBUTES; i++)
	{
		AttrNumber	attnum = log->attnum[i];

		if (attnum < 1 || attnum > desc->natts || TupleDescAttr(desc, attnum - 1)->attisdropped ||
			TupleDescAttr(desc, attnum - 1)->atttypid != types[i])
			log_refuse_types(log);
	}
}

/*
 * Begins with the first event after a position, to end with another, under a
 * snapshot that is taken now.  False when there is no index to go along.
 */
static bool
log_index_begin(LogIndexScan *scan, PmLog *log, int64 after, int64 up_to)
{
	ScanKeyData keys[2];

	scan->rel = table_open(log->relid, NoLock);
	Assert(CheckRelationLockedByMe(scan->rel, AccessShareLock, true));
	log_index_require_types(log, scan->rel);
	scan->index = log_index_open(scan->rel, log->attnum[EVENT_POSITION]);
	if (scan->index == NULL)
	{
		table_close(scan->rel, NoLock);
		return false;
	}
	scan->snapshot = RegisterSnapshot(GetTransactionSnapshot());
	scan->slot = table_slot_create(scan->rel, NULL);
	scan->scan = compat_index_beginscan(scan->rel, scan->index, scan->snapshot, 2);
	ScanKeyEntryInitialize(&keys[0], 0, 1, BTGreaterStrategyNumber, InvalidOid, InvalidOid, F_INT8GT, Int64GetDatum(after));
	ScanKeyEntryInitialize(&keys[1], 0, 1, BTLessEqualStrategyNumber, InvalidOid, InvalidOid, F_INT8LE, Int64GetDatum(up_to));
	index_rescan(scan->scan, keys, 2, NULL, 0);
	return true;
}

static bool
log_index_next(LogIndexScan *scan)
{
	CHECK_FOR_INTERRUPTS();
	return index_getnext_slot(scan->scan, ForwardScanDirection, scan->slot);
}

static void
log_index_end(LogIndexScan *scan)
{
	index_endscan(scan->scan);
	ExecDropSingleTupleTableSlot(scan->slot);
	UnregisterSnapshot(scan->snapshot);
	index_close(scan->index, AccessShareLock);
	table_close(scan->rel, NoLock);
}

/*
 * When the first event after a position was recorded.  False if there is none.
 */
bool
log_index_first(PmLog *log, int64 after, TimestampTz *recorded_at)
{
	LogIndexScan scan;
	bool		isnull = true;

	if (!log_index_begin(&scan, log, after, PG_INT64_MAX))
		return false;
	if (log_index_next(&scan))
		*recorded_at = DatumGetTimestampTz(slot_getattr(scan.slot, log->attnum[EVENT_RECORDED_AT], &isnull));
	log_index_end(&scan);
	return !isnull;
}

/*
 * The last position after another that has an event, 0 if there is none.
 */
int64
log_index_last(PmLog *log, int64 after)
{
	LogIndexScan scan;
	int64		position = 0;
	bool		isnull;

	if (!log_index_begin(&scan, log, after, PG_INT64_MAX))
		return 0;
	if (index_getnext_slot(scan.scan, BackwardScanDirection, scan.slot))
		position = DatumGetInt64(slot_getattr(scan.slot, log->attnum[EVENT_POSITION], &isnull));
	log_index_end(&scan);
	return position;
}

/*
 * Reads events with after < position <= up_to in their order, at most
 * max_count.  False when there is no index to go along.
 *
 * The caller has opened the log in this transaction, which locked it, and has
 * checked the rights of who asked.  Call it after highwater_compute(): it takes
 * a snapshot of its own.
 */
bool
log_index_read(PmLog *log, int64 after, int64 up_to, int64 max_count, LogIndexTake take, void *arg)
{
	LogIndexScan scan;
	EventFields event;
	bool		more = true;

	if (!log_index_begin(&scan, log, after, up_to))
		return false;
	event.values[EVENT_LOG - 1] = CStringGetTextDatum(log->name);
	event.nulls[EVENT_LOG - 1] = false;
	for (int64 count = 0; more && count < max_count && log_index_next(&scan); count++)
	{
		bool		isnull;

		/* Before anything else of it is looked at. */
		crash_mark_position(DatumGetInt64(slot_getattr(scan.slot, log->attnum[EVENT_POSITION], &isnull)));
		slot_getallattrs(scan.slot);
		for (int i = EVENT_POSITION; i <= EVENT_ATTRIBUTES; i++)
		{
			event.values[i - 1] = scan.slot->tts_values[log->attnum[i] - 1];
			event.nulls[i - 1] = scan.slot->tts_isnull[log->attnum[i] - 1];
		}
		more = take(arg, &event);
	}
	log_index_end(&scan);
	return true;
}
