/*
 * bulk.c
 *		Inserts many rows into a private table at once, without SQL.
 *
 * This is for rows that a batch writes for each event.  A statement would copy their
 * columns into arrays and out of them again.  A page is written at once, as COPY does,
 * and so is its WAL.
 *
 * Assumes a table without triggers, and without defaults other than that of an identity
 * column.  The rows must meet the constraints of the table; only UNIQUE is checked.
 */
#include "pm.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "commands/sequence.h"
#include "executor/executor.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/bulk.h"
#include "base/exec.h"

/*
 * The library may have been installed for another version of the extension's script.
 */
static void
bulk_check(Relation rel, BulkTable *table)
{
	TupleDesc desc = RelationGetDescr(rel);

	if (table->checked == RelationGetRelid(rel))
		return;
	if (desc->natts > table->ncolumns || desc->natts < table->ncolumns - table->optional)
		elog(ERROR, "table \"%s\" has %d columns and should have %d", table->name, desc->natts,
			 table->ncolumns);
	for (int i = 0; i < desc->natts; i++)
		if (strcmp(NameStr(TupleDescAttr(desc, i)->attname), table->columns[i]) != 0)
			elog(ERROR, "column \"%s\" of table \"%s\" is not in its place", table->columns[i],
				 table->name);
	table->checked = RelationGetRelid(rel);
}

void
bulk_begin(Bulk *bulk, BulkTable *table)
{
	MemoryContext caller;

	bulk->table = table;
	bulk->rel = table_open(exec_require_relid(table->name), RowExclusiveLock);
	bulk_check(bulk->rel, table);
	/*
	 * With the relation's own descriptor, each slot would hold a counted reference to
	 * it.
	 */
	bulk->desc = CreateTupleDescCopy(RelationGetDescr(bulk->rel));
	/* ExecInsertIndexTuples() needs these two. */
	bulk->estate = CreateExecutorState();
	caller = MemoryContextSwitchTo(bulk->estate->es_query_cxt);
	bulk->target = makeNode(ResultRelInfo);
	InitResultRelInfo(bulk->target, bulk->rel, 0, NULL, 0);
	ExecOpenIndices(bulk->target, false);
	MemoryContextSwitchTo(caller);
	bulk->sequence = table->identity == 0 ? InvalidOid :
											compat_identity_sequence(bulk->rel, table->identity);
	bulk->made = bulk->used = bulk->ids = 0;
}

/*
 * Writes the rows that have been collected.
 */
static void
bulk_flush(Bulk *bulk)
{
	bool pushed = !ActiveSnapshotSet();

	if (bulk->used == 0)
		return;
	for (int i = 0; i < bulk->used; i++)
		ExecStoreVirtualTuple(bulk->slots[i]);
	/* A value may have to be moved out of the row, for which PostgreSQL expects a snapshot. */
	if (pushed)
		PushActiveSnapshot(GetTransactionSnapshot());
	table_multi_insert(bulk->rel, bulk->slots, bulk->used, GetCurrentCommandId(true), 0, NULL);
	for (int i = 0; i < bulk->used; i++)
	{
		List *recheck = compat_insert_index_tuples(bulk->target, bulk->slots[i], bulk->estate,
												   false, NULL, NIL);

		Assert(recheck == NIL);
		list_free(recheck);
		ResetPerTupleExprContext(bulk->estate);
		ExecClearTuple(bulk->slots[i]);
	}
	if (pushed)
		PopActiveSnapshot();
	bulk->used = 0;
}

int64
bulk_add(Bulk *bulk)
{
	TupleTableSlot *slot;

	if (bulk->used == BULK_ROWS)
		bulk_flush(bulk);
	if (bulk->used == bulk->made)
		bulk->slots[bulk->made++] = MakeSingleTupleTableSlot(bulk->desc, &TTSOpsHeapTuple);
	slot = bulk->slots[bulk->used++];
	ExecClearTuple(slot);
	if (!OidIsValid(bulk->sequence))
		return 0;
	if (bulk->ids == 0)
	{
		bulk->id = nextval_internal(bulk->sequence, false);
		bulk->ids = bulk->table->ids;
	}
	bulk->ids--;
	bulk_set(bulk, bulk->table->identity, Int64GetDatum(bulk->id), false);
	return bulk->id++;
}

void
bulk_set(Bulk *bulk, AttrNumber column, Datum value, bool isnull)
{
	TupleTableSlot *slot = bulk->slots[bulk->used - 1];

	if (column > bulk->desc->natts)
		return;
	slot->tts_values[column - 1] = value;
	slot->tts_isnull[column - 1] = isnull;
}

void
bulk_end(Bulk *bulk)
{
	bulk_flush(bulk);
	for (int i = 0; i < bulk->made; i++)
		ExecDropSingleTupleTableSlot(bulk->slots[i]);
	FreeTupleDesc(bulk->desc);
	ExecCloseIndices(bulk->target);
	FreeExecutorState(bulk->estate);
	/* The lock is kept until the end of the transaction, as a statement would keep it. */
	table_close(bulk->rel, NoLock);
	CommandCounterIncrement();
}
