/*
 * scan.c
 *		Reads rows of a private table with an index, without SPI.
 *
 * This is for the few rows that each batch reads at its beginning and writes at its
 * end, for which a statement would cost several times as much.  It checks no rights
 * and calls no code of a user, so the role need not be changed.  What runs less often
 * uses SQL (exec.c).
 *
 * A scan sees what other transactions had committed when its first row is asked for,
 * and what this transaction has written.  It assumes that each earlier statement has
 * incremented the command counter.
 */
#include "pm.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "parser/parse_relation.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/exec.h"
#include "base/scan.h"
#include "base/version.h"

/*
 * Opens the table and its index, with room for this many columns, and for all that the
 * table has.
 */
static void
scan_open(RowScan *scan, const char *table, const char *index, LOCKMODE lock, int ncolumns)
{
	int natts;

	memset(scan, 0, sizeof(*scan));
	scan->lock = lock;
	scan->rel = table_open(exec_require_relid(table), lock);
	scan->index = index_open(exec_require_relid(index), AccessShareLock);
	natts = RelationGetNumberOfAttributes(scan->rel);
	scan->values = palloc(sizeof(Datum) * Max(natts, ncolumns));
	scan->nulls = palloc(sizeof(bool) * Max(natts, ncolumns));
	/* What the table does not have is NULL in each row. */
	for (int i = natts; i < ncolumns; i++)
	{
		scan->values[i] = (Datum) 0;
		scan->nulls[i] = true;
	}
}

void
scan_begin(RowScan *scan, const char *table, const char *index, LOCKMODE lock)
{
	scan_open(scan, table, index, lock, 0);
}

/*
 * The extension may be older than the library, and then the table lacks the last
 * columns.  ALTER EXTENSION pm UPDATE adds them while this backend runs.  So the number
 * of columns is compared each time, and their names whenever the number has changed.
 */
void
scan_begin_table(RowScan *scan, ScanTable *table, LOCKMODE lock)
{
	int natts;

	scan_open(scan, table->name, table->index, lock, table->ncolumns);
	natts = RelationGetNumberOfAttributes(scan->rel);
	if (natts < table->required || natts > table->ncolumns)
	{
		version_require_served();
		elog(ERROR, "table \"%s\" has %d columns and should have %d to %d", table->name, natts,
			 table->required, table->ncolumns);
	}
	if (table->checked == RelationGetRelid(scan->rel) && table->natts == natts)
		return;
	for (int i = 0; i < natts; i++)
		if (scan_column(scan, table->columns[i]) != i + 1)
			elog(ERROR, "column \"%s\" of table \"%s\" is not in its place", table->columns[i],
				 table->name);
	table->checked = RelationGetRelid(scan->rel);
	table->natts = natts;
}

bool
scan_has(RowScan *scan, AttrNumber column)
{
	return column <= RelationGetNumberOfAttributes(scan->rel);
}

static void
scan_where(RowScan *scan, AttrNumber column, RegProcedure equal, Datum value)
{
	ScanKey key = &scan->keys[scan->nkeys++];

	Assert(scan->scan == NULL && scan->nkeys <= SCAN_MAX_KEYS && scan_has(scan, column));
	ScanKeyInit(key, column, BTEqualStrategyNumber, equal, value);
	/* ScanKeyInit() sets the collation "C". */
	key->sk_collation = TupleDescAttr(RelationGetDescr(scan->rel), column - 1)->attcollation;
}

void
scan_where_text(RowScan *scan, AttrNumber column, const char *value)
{
	scan_where(scan, column, F_TEXTEQ, CStringGetTextDatum(value));
}

void
scan_where_bytea(RowScan *scan, AttrNumber column, Datum value)
{
	scan_where(scan, column, F_BYTEAEQ, value);
}

void
scan_where_int4(RowScan *scan, AttrNumber column, int32 value)
{
	scan_where(scan, column, F_INT4EQ, Int32GetDatum(value));
}

void
scan_where_int8(RowScan *scan, AttrNumber column, int64 value)
{
	scan_where(scan, column, F_INT8EQ, Int64GetDatum(value));
}

void
scan_where_oid(RowScan *scan, AttrNumber column, Oid value)
{
	scan_where(scan, column, F_OIDEQ, ObjectIdGetDatum(value));
}

void
scan_use_dirty(RowScan *scan)
{
	InitDirtySnapshot(scan->dirty);
	scan->snapshot = &scan->dirty;
}

void
scan_use_snapshot(RowScan *scan, Snapshot snapshot)
{
	scan->snapshot = RegisterSnapshot(snapshot);
}

void
scan_from_id(RowScan *scan, AttrNumber column, int64 id)
{
	Assert(scan->scan == NULL && scan->nkeys < SCAN_MAX_KEYS);
	ScanKeyInit(&scan->keys[scan->nkeys++], column, BTGreaterEqualStrategyNumber, F_INT8GE,
				Int64GetDatum(id));
}

/*
 * Sets one member of the row comparison of scan_from().  Such a member gives the
 * number of the column in the index, not in the table.
 */
static void
scan_from_member(RowScan *scan, int member, AttrNumber column, RegProcedure compare, Datum value)
{
	ScanKey key = &scan->from[member];
	AttrNumber attno = 1;

	while (scan->index->rd_index->indkey.values[attno - 1] != column)
		attno++;
	ScanKeyEntryInitialize(key, SK_ROW_MEMBER | (member == 1 ? SK_ROW_END : 0), attno,
						   BTGreaterEqualStrategyNumber, InvalidOid, InvalidOid, compare, value);
}

void
scan_from(RowScan *scan, AttrNumber time_column, TimestampTz time, AttrNumber id_column, int64 id)
{
	ScanKey key = &scan->keys[scan->nkeys++];

	Assert(scan->scan == NULL && scan->nkeys <= SCAN_MAX_KEYS);
	scan_from_member(scan, 0, time_column, F_TIMESTAMPTZ_CMP, TimestampTzGetDatum(time));
	scan_from_member(scan, 1, id_column, F_BTINT8CMP, Int64GetDatum(id));
	MemSet(key, 0, sizeof(ScanKeyData));
	key->sk_flags = SK_ROW_HEADER;
	key->sk_attno = time_column;
	key->sk_strategy = BTGreaterEqualStrategyNumber;
	key->sk_argument = PointerGetDatum(scan->from);
}

bool
scan_table_has_pages(const char *table)
{
	Oid relid = exec_catalog_relid(table);
	Relation rel;
	bool any;

	if (!OidIsValid(relid))
		return false;
	rel = table_open(relid, AccessShareLock);
	any = RelationGetNumberOfBlocks(rel) > 0;
	table_close(rel, AccessShareLock);
	return any;
}

AttrNumber
scan_optional_column(RowScan *scan, const char *name)
{
	return attnameAttNum(scan->rel, name, false);
}

AttrNumber
scan_column(RowScan *scan, const char *name)
{
	AttrNumber column = scan_optional_column(scan, name);

	if (column == InvalidAttrNumber)
		elog(ERROR, "table \"%s\" has no column \"%s\"", RelationGetRelationName(scan->rel), name);
	return column;
}

static void
scan_snapshot(RowScan *scan)
{
	if (scan->snapshot == NULL)
		scan->snapshot = RegisterSnapshot(GetTransactionSnapshot());
}

/*
 * Does the row meet the conditions?  The index has checked them for the rows that it
 * finds, but not for a row that is found by its TID.
 */
static bool
scan_fits(RowScan *scan)
{
	for (int i = 0; i < scan->nkeys; i++)
	{
		ScanKey key = &scan->keys[i];

		if (scan->nulls[key->sk_attno - 1] ||
			!DatumGetBool(FunctionCall2Coll(&key->sk_func, key->sk_collation,
											scan->values[key->sk_attno - 1], key->sk_argument)))
			return false;
	}
	return true;
}

bool
scan_only_at(RowScan *scan, ItemPointer tid)
{
	HeapTupleHeader header;

	Assert(scan->scan == NULL);
	scan_snapshot(scan);
	if (scan->slot == NULL)
		scan->slot = table_slot_create(scan->rel, NULL);
	if (!table_tuple_fetch_row_version(scan->rel, tid, scan->snapshot, scan->slot))
		return false;
	scan->tuple = ExecFetchSlotHeapTuple(scan->slot, false, NULL);
	header = scan->tuple->t_data;
	/* The row is visible to the snapshot, so only another session can have changed it since. */
	if ((header->t_infomask & HEAP_XMAX_INVALID) == 0 &&
		!HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask))
	{
		TransactionId changer = HeapTupleHeaderGetUpdateXid(header);

		XactLockTableWait(changer, scan->rel, tid, XLTW_Update);
		/* If others have locked the row too, the XID of a change that was undone stays in it. */
		if (TransactionIdDidCommit(changer))
			return false;
	}
	heap_deform_tuple(scan->tuple, RelationGetDescr(scan->rel), scan->values, scan->nulls);
	return scan_fits(scan);
}

/*
 * With the index, the scan would visit every old version of the row that the
 * snapshot of another session keeps from being removed.  So the row is first looked
 * for at its TID.
 */
bool
scan_at(RowScan *scan, ItemPointer tid)
{
	Buffer buffer;

	Assert(scan->scan == NULL);
	if (!ItemPointerIsValid(tid) ||
		ItemPointerGetBlockNumber(tid) >= RelationGetNumberOfBlocks(scan->rel))
		return false;
	scan_snapshot(scan);
	if (scan->slot == NULL)
		scan->slot = table_slot_create(scan->rel, NULL);

	/* Prune the page, as an index scan does, to make room for the next version of the row. */
	buffer = ReadBuffer(scan->rel, ItemPointerGetBlockNumber(tid));
	compat_prune_page(scan->rel, buffer);
	ReleaseBuffer(buffer);

	if (!table_tuple_fetch_row_version(scan->rel, tid, scan->snapshot, scan->slot))
	{
		TableScanDesc latest = table_beginscan_tid(scan->rel, scan->snapshot);

		/* The row was changed since then: follow its versions to the last one. */
		table_tuple_get_latest_tid(latest, tid);
		table_endscan(latest);
		if (!table_tuple_fetch_row_version(scan->rel, tid, scan->snapshot, scan->slot))
			return false;
	}
	scan->tuple = ExecFetchSlotHeapTuple(scan->slot, false, NULL);
	heap_deform_tuple(scan->tuple, RelationGetDescr(scan->rel), scan->values, scan->nulls);
	return scan_fits(scan);
}

bool
scan_next(RowScan *scan)
{
	if (scan->scan == NULL)
	{
		scan_snapshot(scan);
		scan->scan = systable_beginscan_ordered(scan->rel, scan->index, scan->snapshot, scan->nkeys,
												scan->keys);
	}
	scan->tuple = systable_getnext_ordered(scan->scan, ForwardScanDirection);
	if (scan->tuple == NULL)
		return false;
	heap_deform_tuple(scan->tuple, RelationGetDescr(scan->rel), scan->values, scan->nulls);
	return true;
}

char *
scan_text(RowScan *scan, AttrNumber column)
{
	return scan->nulls[column - 1] ? NULL : TextDatumGetCString(scan->values[column - 1]);
}

void
scan_reset(RowScan *scan)
{
	if (scan->scan != NULL)
		systable_endscan_ordered(scan->scan);
	scan->scan = NULL;
	scan->nkeys = 0;
}

/*
 * The lock on a table that was written is kept until the end of the transaction, as a
 * statement would keep it.
 */
void
scan_end(RowScan *scan)
{
	if (scan->scan != NULL)
		systable_endscan_ordered(scan->scan);
	if (scan->slot != NULL)
		ExecDropSingleTupleTableSlot(scan->slot);
	if (scan->snapshot != NULL && scan->snapshot != &scan->dirty)
		UnregisterSnapshot(scan->snapshot);
	index_close(scan->index, AccessShareLock);
	table_close(scan->rel, scan->lock >= RowExclusiveLock ? NoLock : scan->lock);
	pfree(scan->values);
	pfree(scan->nulls);
}
