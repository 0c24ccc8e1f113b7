/*
 * insert.c
 *		Writes an event into a plain log without planning an INSERT.
 *
 * pm.append writes one row, always of the same form, and setting up an INSERT
 * costs more than writing that row.  So if the log is plain, the row is written
 * to the table and its indexes directly, with the steps that the INSERT would
 * take: the guard is entered, the position is drawn, and the version is taken as
 * ON CONFLICT DO NOTHING takes it.
 *
 * In a partitioned log the row goes to the partition that takes its position, and the caller
 * has locked the stream, so that no other row has its version (stream_version.c).
 *
 * A log is plain if its table is as pm.create_log makes it: no other rule,
 * policy, trigger, check or default affects the row.  The caller must have the
 * rights to the whole table.  Any other log gets the INSERT (append_write.c).
 */
#include "pm.h"

#include "access/genam.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "executor/executor.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/within.h"
#include "log/appends.h"
#include "log/guard.h"
#include "log/guard_ddl.h"
#include "log/insert.h"
#include "log/insert_leaf.h"
#include "log/log_right.h"

/* ---------- is the log a plain one? ---------- */

/*
 * Does an INSERT fire only the guard's triggers?
 */
static bool
insert_plain_triggers(Relation rel)
{
	TriggerDesc *desc = rel->trigdesc;

	for (int i = 0; desc != NULL && i < desc->numtriggers; i++)
		if (TRIGGER_FOR_INSERT(desc->triggers[i].tgtype) &&
			strcmp(desc->triggers[i].tgname, GUARD_WRITE_TRIGGER) != 0 &&
			strcmp(desc->triggers[i].tgname, GUARD_ROW_TRIGGER) != 0)
			return false;
	return guard_missing(rel) == NULL;
}

/*
 * Would an INSERT compute nothing but the position and recorded_at?  Other
 * columns must accept NULL, without a default.
 */
static bool
insert_plain_columns(Relation rel, const AttrNumber *column)
{
	TupleDesc desc = RelationGetDescr(rel);
	Node *now;
	bool partitioned = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;

	/* The only check is the guard's, which insert_plain_triggers() has seen. */
	if (desc->constr == NULL || desc->constr->num_check != (partitioned ? 0 : 1))
		return false;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		AttrNumber attnum = i + 1;

		/* A generated column, or a second identity column, would have to be computed. */
		if (att->attgenerated != '\0' ||
			(att->attidentity != '\0' && attnum != column[EVENT_POSITION]))
			return false;
		if (att->attisdropped || attnum == column[EVENT_POSITION] ||
			attnum == column[EVENT_STREAM] || attnum == column[EVENT_VERSION] ||
			attnum == column[EVENT_TYPE] || attnum == column[EVENT_DATA] ||
			attnum == column[EVENT_METADATA])
			continue;
		/* A column that the owner has added must accept NULL. */
		if (attnum != column[EVENT_RECORDED_AT] &&
			(att->attnotnull || att->atthasdef || getBaseType(att->atttypid) != att->atttypid))
			return false;
	}
	/* Only the default that pm.create_log sets is known to be the statement's time. */
	now = build_column_default(rel, column[EVENT_RECORDED_AT]);
	return now != NULL && IsA(now, FuncExpr) && ((FuncExpr *) now)->funcid == F_STATEMENT_TIMESTAMP;
}

/*
 * Is this the unique index on (stream, version), and are its keys those of the
 * columns, in ascending order?
 */
static bool
insert_is_stream_index(Relation index, Relation rel, const AttrNumber *column)
{
	Form_pg_index form = index->rd_index;

	return form->indisunique && form->indnkeyatts == 2 && index->rd_rel->relam == BTREE_AM_OID &&
		   form->indkey.values[0] == column[EVENT_STREAM] &&
		   form->indkey.values[1] == column[EVENT_VERSION] && index->rd_indoption[0] == 0 &&
		   index->rd_indoption[1] == 0 &&
		   index->rd_indcollation[0] ==
			   TupleDescAttr(RelationGetDescr(rel), column[EVENT_STREAM] - 1)->attcollation &&
		   index->rd_opcintype[0] == TEXTOID && index->rd_opcintype[1] == INT8OID &&
		   RelationGetIndexPredicate(index) == NIL;
}

/*
 * Finds that index, and checks that no other can refuse a row: only the version
 * can be taken already.  The index of positions cannot, since each position is
 * drawn only once.
 */
static bool
insert_plain_indexes(Relation rel, PmLog *log)
{
	LogShape *shape = &log->shape;
	List *indexes = RelationGetIndexList(rel);
	ListCell *lc;
	bool plain = true;

	foreach(lc, indexes)
	{
		Relation index = index_open(lfirst_oid(lc), AccessShareLock);

		/* Unfinished, deferred and exclusion constraints follow other rules. */
		if (!index->rd_index->indisvalid || !index->rd_index->indisready ||
			!index->rd_index->indimmediate || index->rd_index->indisexclusion)
			plain = false;
		else if (!OidIsValid(shape->stream_index) &&
				 insert_is_stream_index(index, rel, log->attnum))
			shape->stream_index = RelationGetRelid(index);
		else if (index->rd_index->indisunique &&
				 !(index->rd_index->indnkeyatts == 1 &&
				   index->rd_index->indkey.values[0] == log->attnum[EVENT_POSITION]))
			plain = false;
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return plain && OidIsValid(shape->stream_index);
}

static bool
insert_is_plain(PmLog *log, Relation rel)
{
	LogShape *shape = &log->shape;

	if (shape->known)
		return shape->plain;
	if (rel->rd_rules == NULL && !rel->rd_rel->relrowsecurity && insert_plain_triggers(rel))
		shape->plain = insert_plain_columns(rel, log->attnum) &&
					   (log->partitioned || insert_plain_indexes(rel, log));
	shape->known = true;
	return shape->plain;
}

/* ---------- writing ---------- */

/*
 * May the caller read and write all of the table?  If a library has installed
 * ExecutorCheckPerms_hook, the log is written by an INSERT, which calls the hook.
 */
static bool
insert_may(PmLog *log)
{
	return ExecutorCheckPerms_hook == NULL && log_may_select(log, GetUserId()) &&
		   pg_class_aclcheck(log->relid, GetUserId(), ACL_INSERT) == ACLCHECK_OK;
}

/*
 * Prepares to write a table: that of the log, or one of its partitions.
 */
static void
insert_open(Insert *insert, Relation rel)
{
	MemoryContext caller = MemoryContextSwitchTo(insert->estate->es_query_cxt);

	insert->rel = rel;
	insert->target = makeNode(ResultRelInfo);
	InitResultRelInfo(insert->target, rel, 0, NULL, 0);
	ExecOpenIndices(insert->target, false);
	insert->slot = table_slot_create(rel, &insert->estate->es_tupleTable);
	MemoryContextSwitchTo(caller);
}

static void
insert_close(Insert *insert)
{
	if (insert->rel == NULL)
		return;
	ExecCloseIndices(insert->target);
	if (insert->rel != insert->root)
		table_close(insert->rel, NoLock);
	insert->rel = NULL;
}

/*
 * If something is not allowed, this raises no error; the INSERT will.
 */
bool
insert_begin(Insert *insert, PmLog *log)
{
	Relation rel;

	/* First check what can be known without a lock. */
	if ((log->shape.known && !log->shape.plain) || XactReadOnly || IsInParallelMode() ||
		!insert_may(log))
		return false;
	rel = try_table_open(log->relid, RowExclusiveLock);
	if (rel == NULL)
		return false;
	/* The log, or the caller's rights, may have changed while we waited for the lock. */
	if (log->stale || !insert_may(log) || !insert_is_plain(log, rel))
	{
		table_close(rel, NoLock);
		return false;
	}

	insert->log = log;
	insert->root = rel;
	/* What ExecInsertIndexTuples() needs of an executor. */
	insert->estate = CreateExecutorState();
	insert->rel = NULL;
	if (log->partitioned)
		insert->set = partition_set(rel, log->attnum[EVENT_POSITION]);
	else
	{
		memcpy(insert->attnum, log->attnum, sizeof(insert->attnum));
		insert_open(insert, rel);
	}
	return true;
}

/*
 * The number of the index of streams among the open ones.
 */
static int
insert_stream_index(Insert *insert)
{
	ResultRelInfo *target = insert->target;

	for (int i = 0; i < target->ri_NumIndices; i++)
		if (RelationGetRelid(target->ri_IndexRelationDescs[i]) == insert->log->shape.stream_index)
			return i;
	elog(ERROR, "log \"%s\" has lost its index of streams", insert->log->name);
}

int64
insert_version(Insert *insert, Datum stream, bool *any)
{
	Relation index = insert->target->ri_IndexRelationDescs[insert_stream_index(insert)];
	Snapshot snapshot;
	IndexScanDesc scan;
	ScanKeyData keys[2];
	bool isnull;
	int64 version = 0;

	/* What this transaction has written so far counts. */
	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetTransactionSnapshot());
	scan = compat_index_beginscan(insert->rel, index, snapshot, 2);
	ScanKeyEntryInitialize(&keys[0], 0, 1, BTEqualStrategyNumber, InvalidOid,
						   index->rd_indcollation[0], F_TEXTEQ, stream);
	/* Backwards from the highest version: NULLs are last in the index, and left out. */
	ScanKeyEntryInitialize(&keys[1], SK_ISNULL | SK_SEARCHNOTNULL, 2, InvalidStrategy, InvalidOid,
						   InvalidOid, InvalidOid, (Datum) 0);
	index_rescan(scan, keys, 2, NULL, 0);
	*any = index_getnext_slot(scan, BackwardScanDirection, insert->slot);
	insert->last = InvalidTransactionId;
	if (*any)
	{
		version = DatumGetInt64(
			slot_getattr(insert->slot, insert->log->attnum[EVENT_VERSION], &isnull));
		insert->last = DatumGetTransactionId(
			slot_getsysattr(insert->slot, MinTransactionIdAttributeNumber, &isnull));
	}
	index_endscan(scan);
	if (!*any)
	{
		/* Find events without a version too: scan with the stream's key alone. */
		scan = compat_index_beginscan(insert->rel, index, snapshot, 1);
		index_rescan(scan, keys, 1, NULL, 0);
		*any = index_getnext_slot(scan, ForwardScanDirection, insert->slot);
		index_endscan(scan);
	}
	ExecClearTuple(insert->slot);
	UnregisterSnapshot(snapshot);
	return version;
}

/*
 * Waits for the transaction that is about to take the version of the row in the
 * slot.  Is the version free then?
 */
static bool
insert_await(Insert *insert, List *arbiters)
{
	ResultRelInfo *target = insert->target;
	int i = insert_stream_index(insert);
	ItemPointerData tid;

	if (target->ri_IndexRelationInfo[i]->ii_UniqueProcs == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(insert->estate->es_query_cxt);

		BuildSpeculativeIndexInfo(target->ri_IndexRelationDescs[i],
								  target->ri_IndexRelationInfo[i]);
		MemoryContextSwitchTo(caller);
	}
	return compat_check_index_constraints(target, insert->slot, insert->estate, &tid, arbiters);
}

/*
 * Writes the row in the slot, by speculative insertion as ON CONFLICT DO NOTHING
 * does.  False if its version is taken.
 */
static bool
insert_row_once(Insert *insert)
{
	List *arbiters = list_make1_oid(insert->log->shape.stream_index);
	TransactionId xid = GetCurrentTransactionId();

	for (;;)
	{
		/*
		 * Other transactions that find the row in the index wait only for the token,
		 * until it is certain whether the row stays.
		 */
		uint32 token = SpeculativeInsertionLockAcquire(xid);
		bool taken = false;

		table_tuple_insert_speculative(insert->rel, insert->slot, GetCurrentCommandId(true), 0,
									   NULL, token);
		(void) compat_insert_index_tuples(insert->target, insert->slot, insert->estate, true,
										  &taken, arbiters);
		table_tuple_complete_speculative(insert->rel, insert->slot, token, !taken);
		SpeculativeInsertionLockRelease(xid);
		if (!taken)
			return true;
		/* The row was removed again.  If the other transaction aborts, try once more. */
		CHECK_FOR_INTERRUPTS();
		if (!insert_await(insert, arbiters))
			return false;
	}
}

/*
 * Writes the row in the slot.  False if its version is taken.  In a partitioned log the stream is
 * locked, so nobody can take it.
 */
static bool
insert_row(Insert *insert)
{
	if (!insert->log->partitioned)
		return insert_row_once(insert);
	table_tuple_insert(insert->rel, insert->slot, GetCurrentCommandId(true), 0, NULL);
	if (insert->target->ri_NumIndices > 0)
		(void) compat_insert_index_tuples(insert->target, insert->slot, insert->estate, false, NULL,
										  NIL);
	return true;
}

bool
insert_into_leaf(Insert *insert, int64 position)
{
	const PartitionLeaf *leaf = insert_leaf(insert->log, insert->root, &insert->set, position);
	Relation rel;

	if (leaf == NULL)
		return false;
	if (insert->rel != NULL && RelationGetRelid(insert->rel) == leaf->relid)
		return true;
	insert_close(insert);
	rel = partition_open(leaf, RowExclusiveLock);
	if (rel == NULL)
		return false;
	partition_columns(insert->log, insert->root, rel, insert->attnum);
	if (insert->log->stale || insert->log->shape.plain_leaf != leaf->relid)
	{
		if (!insert_leaf_is_plain(rel, insert->attnum))
		{
			/* Until something changes, an INSERT is planned at once. */
			insert->log->shape.plain = false;
			table_close(rel, NoLock);
			return false;
		}
		insert->log->shape.plain_leaf = leaf->relid;
	}
	insert_open(insert, rel);
	return true;
}

int64
insert_event(Insert *insert, Datum stream, InsertEvent *event, int64 version)
{
	PmLog *log = insert->log;
	TupleTableSlot *slot;
	MemoryContext caller;
	TimestampTz time;
	int64 position;
	bool written;

	/* The floor must be taken before the position is drawn. */
	guard_enter(insert->root);
	appends_note(log->relid);
	position = nextval_internal(log->seqid, false);
	guard_drawn(log->relid, position);
	if (log->partitioned && !insert_into_leaf(insert, position))
		return INSERT_NOT_PLAIN;

	slot = insert->slot;
	caller = MemoryContextSwitchTo(GetPerTupleMemoryContext(insert->estate));
	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts);
	memset(slot->tts_values, 0, sizeof(Datum) * slot->tts_tupleDescriptor->natts);
#define INSERT_SET(attribute, value)                                                               \
	(slot->tts_values[insert->attnum[attribute] - 1] = (value),                                    \
	 slot->tts_isnull[insert->attnum[attribute] - 1] = false)
	INSERT_SET(EVENT_POSITION, Int64GetDatum(position));
	INSERT_SET(EVENT_STREAM, stream);
	INSERT_SET(EVENT_VERSION, Int64GetDatum(version));
	INSERT_SET(EVENT_TYPE, event->type);
	INSERT_SET(EVENT_DATA, event->data);
	INSERT_SET(EVENT_METADATA, event->metadata);
	INSERT_SET(EVENT_RECORDED_AT,
			   TimestampTzGetDatum(within_time_set(&time) ? time :
															GetCurrentStatementStartTimestamp()));
	ExecStoreVirtualTuple(slot);
	slot->tts_tableOid = RelationGetRelid(insert->rel);
	written = insert_row(insert);
	ExecClearTuple(slot);
	MemoryContextSwitchTo(caller);
	ResetPerTupleExprContext(insert->estate);
	/* The next command of this transaction sees the event. */
	CommandCounterIncrement();
	return written ? position : 0;
}

void
insert_end(Insert *insert)
{
	insert_close(insert);
	ExecResetTupleTable(insert->estate->es_tupleTable, false);
	FreeExecutorState(insert->estate);
	table_close(insert->root, NoLock);
}
