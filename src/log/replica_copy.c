/*
 * replica_copy.c
 *		Writes the rows of a COPY into a replica log in the order of the publisher's positions.
 *
 * The initial copy of a subscription reads the publisher's table in its physical order, in which an
 * event can precede an older one of its stream: pages are reused, and sessions fill pages of their
 * own.  Process managers would handle the events in that order.  So the rows of a statement are put
 * into a sort, and written when the statement ends.  The changes after the copy arrive one by one,
 * in the order of their commits, and are not part of a statement.
 *
 * A trigger of the table's owner can insert into this or another replica log.  There is one sort at
 * a time: while the rows of a statement are collected, those of another one that begins meanwhile
 * are written at once.
 *
 * If the statement ends, and the rows are not written, the transaction or subtransaction fails.
 * replica_check.c prevents that, as far as the triggers are its cause.
 */
#include "pm.h"

#include "access/table.h"
#include "access/tupdesc.h"
#include "access/xact.h"
#include "catalog/pg_operator.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "storage/proc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/tuplesort.h"
#include "utils/typcache.h"

#include "log/replica_check.h"
#include "log/replica_copy.h"

/* The statement that is being collected. */
typedef struct ReplicaCopy
{
	LocalTransactionId lxid; /* of the transaction */
	SubTransactionId subid;
	Oid relid;
	Tuplesortstate *sort; /* NULL: rows are not kept */
	TupleTableSlot *slot;
	MemoryContext context;
} ReplicaCopy;

static ReplicaCopy copy;

/*
 * What a failed statement has left belongs to another transaction or subtransaction.
 */
static bool
replica_copy_is_open(Relation rel)
{
	return copy.sort != NULL && copy.lxid == compat_proc_lxid(MyProc) &&
		   copy.subid == GetCurrentSubTransactionId() && copy.relid == RelationGetRelid(rel);
}

/*
 * Are the rows of a statement being collected?  The subtransaction of one that has failed is over.
 */
static bool
replica_copy_is_running(void)
{
	return copy.sort != NULL && copy.lxid == compat_proc_lxid(MyProc) &&
		   SubTransactionIsActive(copy.subid);
}

/*
 * Raises an error if a statement of the (sub)transaction that is to be committed has left rows.
 */
static void
replica_copy_require_written(SubTransactionId subid)
{
	char *name;

	if (copy.sort == NULL || copy.lxid != compat_proc_lxid(MyProc) || copy.subid != subid)
		return;
	copy.sort = NULL;
	name = get_rel_name(copy.relid);
	ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
					errmsg("rows that have arrived in replica log \"%s\" were not written",
						   name == NULL ? "?" : name),
					errdetail("Its trigger \"%s\" has not fired.", REPLICA_END_TRIGGER)));
}

static void
replica_copy_xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
		replica_copy_require_written(TopSubTransactionId);
}

static void
replica_copy_subxact_callback(SubXactEvent event, SubTransactionId subid, SubTransactionId parent,
							  void *arg)
{
	if (event == SUBXACT_EVENT_PRE_COMMIT_SUB)
		replica_copy_require_written(subid);
}

static void
replica_copy_install(void)
{
	static bool installed = false;

	if (installed)
		return;
	RegisterXactCallback(replica_copy_xact_callback, NULL);
	RegisterSubXactCallback(replica_copy_subxact_callback, NULL);
	installed = true;
}

void
replica_copy_begin(Relation rel, AttrNumber position)
{
	TypeCacheEntry *type = lookup_type_cache(INT8OID, TYPECACHE_LT_OPR);
	MemoryContext caller;
	Oid collation = InvalidOid;
	bool nulls_first = false;

	if (replica_copy_is_running())
		return;
	replica_copy_install();
	copy.lxid = compat_proc_lxid(MyProc);
	copy.subid = GetCurrentSubTransactionId();
	copy.relid = RelationGetRelid(rel);
	/* It lives as long as the statement, and is freed with the transaction if that fails. */
	copy.context = AllocSetContextCreate(CurTransactionContext, "pm replica copy",
										 ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(copy.context);
	copy.slot = MakeSingleTupleTableSlot(CreateTupleDescCopy(RelationGetDescr(rel)),
										 &TTSOpsHeapTuple);
	copy.sort = tuplesort_begin_heap(copy.slot->tts_tupleDescriptor, 1, &position, &type->lt_opr,
									 &collation, &nulls_first, work_mem, NULL, TUPLESORT_NONE);
	MemoryContextSwitchTo(caller);
}

bool
replica_copy_take(Relation rel, HeapTuple tuple)
{
	if (!replica_copy_is_open(rel))
		return false;
	ExecStoreHeapTuple(tuple, copy.slot, false);
	tuplesort_puttupleslot(copy.sort, copy.slot);
	ExecClearTuple(copy.slot);
	return true;
}

/*
 * Writes the rows as the worker that applies changes writes one: the row trigger draws the
 * positions.
 */
static void
replica_copy_write(Relation rel, Tuplesortstate *sort)
{
	EState *estate = CreateExecutorState();
	ResultRelInfo *target = makeNode(ResultRelInfo);
	TupleTableSlot *sorted = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsMinimalTuple);
	TupleTableSlot *slot = table_slot_create(rel, &estate->es_tupleTable);

	InitResultRelInfo(target, rel, 0, NULL, 0);
	/* Triggers find the table here, and need not open it again. */
	estate->es_opened_result_relations = lappend(estate->es_opened_result_relations, target);
	ExecOpenIndices(target, false);
	AfterTriggerBeginQuery();
	while (tuplesort_gettupleslot(sort, true, false, sorted, NULL))
	{
		CHECK_FOR_INTERRUPTS();
		ResetPerTupleExprContext(estate);
		ExecCopySlot(slot, sorted);
		slot->tts_tableOid = RelationGetRelid(rel);
		ExecSimpleRelationInsert(target, estate, slot);
		ExecClearTuple(slot);
	}
	AfterTriggerEndQuery(estate);
	ExecCloseIndices(target);
	ExecDropSingleTupleTableSlot(sorted);
	ExecResetTupleTable(estate->es_tupleTable, false);
	FreeExecutorState(estate);
}

void
replica_copy_end(Relation rel)
{
	Tuplesortstate *sort;
	TupleTableSlot *slot;
	MemoryContext context;

	if (!replica_copy_is_open(rel))
		return;
	sort = copy.sort;
	slot = copy.slot;
	context = copy.context;
	/* From here on the row trigger writes, and a trigger can begin to collect other rows. */
	copy.sort = NULL;
	tuplesort_performsort(sort);
	replica_copy_write(rel, sort);
	tuplesort_end(sort);
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextDelete(context);
}
