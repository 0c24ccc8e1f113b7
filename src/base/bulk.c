/*
 * bulk.c
 *		Inserts many rows into a private table at once, without SQL.
 *
 * This is for rows that a batch writes for each event.  A statement would copy their
 * columns into arrays and out of them again.  A page is written at once, as COPY does it,
 * and so is its WAL.
 *
 * Assumes a table without triggers, constraints and defaults other than an identity
 * column, whose indexes are plain B-trees on columns.
 */
#include "pm.h"

#include "access/heaptoast.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "commands/sequence.h"
#include "executor/executor.h"
#include "utils/memutils.h"
#include "utils/rel.h"

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
	if (desc->natts != table->ncolumns)
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
	bulk->table = table;
	bulk->rel = table_open(exec_require_relid(table->name), RowExclusiveLock);
	bulk_check(bulk->rel, table);
	bulk->indexes = CatalogOpenIndexes(bulk->rel);
	/* Slots would count and remember each use of the relation's own. */
	bulk->desc = CreateTupleDescCopy(RelationGetDescr(bulk->rel));
	bulk->sequence = table->identity == 0 ? InvalidOid :
											compat_identity_sequence(bulk->rel, table->identity);
	bulk->made = bulk->used = 0;
}

/*
 * Writes a row by itself if its values must be compressed or stored out of line.  When
 * several rows are written at once, the copy with such values knows its place in the
 * table, but the row that the indexes are told of does not: no catalog that PostgreSQL
 * writes in that way has such values.
 */
static bool
bulk_write_large(Bulk *bulk, TupleTableSlot *slot)
{
	HeapTuple tuple = ExecFetchSlotHeapTuple(slot, true, NULL);

	if (tuple->t_len <= TOAST_TUPLE_THRESHOLD && !HeapTupleHasExternal(tuple))
		return false;
	CatalogTupleInsertWithInfo(bulk->rel, tuple, bulk->indexes);
	return true;
}

/*
 * Writes the rows that have been collected.
 */
static void
bulk_flush(Bulk *bulk)
{
	TupleTableSlot *small[BULK_ROWS];
	int count = 0;

	for (int i = 0; i < bulk->used; i++)
	{
		ExecStoreVirtualTuple(bulk->slots[i]);
		if (!bulk_write_large(bulk, bulk->slots[i]))
			small[count++] = bulk->slots[i];
	}
	if (count > 0)
		CatalogTuplesMultiInsertWithInfo(bulk->rel, small, count, bulk->indexes);
	for (int i = 0; i < bulk->used; i++)
		ExecClearTuple(bulk->slots[i]);
	bulk->used = 0;
}

void
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
		return;
	if (bulk->used == 1)
		bulk->id = nextval_internal(bulk->sequence, false);
	bulk_set(bulk, bulk->table->identity, Int64GetDatum(bulk->id++), false);
}

void
bulk_set(Bulk *bulk, AttrNumber column, Datum value, bool isnull)
{
	TupleTableSlot *slot = bulk->slots[bulk->used - 1];

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
	CatalogCloseIndexes(bulk->indexes);
	/* The lock is kept until the end of the transaction, as a statement would keep it. */
	table_close(bulk->rel, NoLock);
	CommandCounterIncrement();
}
