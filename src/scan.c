/*
 * scan.c
 *		Rows of a private table, along one of its indexes.
 *
 * For the few rows that every batch begins and ends with: an executor's
 * statement would cost several times what finding the row does.  No rights are
 * checked and no code of a user is called, so no role has to be changed.  What
 * runs less often uses SQL (exec.c).
 *
 * Assumes that the statements before have ended with their command: sees what
 * they wrote, and what others had committed when the first row is asked for.
 */
#include "pm.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "exec.h"
#include "scan.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/*
 * The index must begin with the columns that are asked for.
 */
void
scan_begin(RowScan *scan, const char *table, const char *index, LOCKMODE lock)
{
	memset(scan, 0, sizeof(*scan));
	scan->lock = lock;
	scan->rel = table_open(exec_require_relid(table), lock);
	scan->index = index_open(exec_require_relid(index), AccessShareLock);
	scan->values = palloc(sizeof(Datum) * RelationGetNumberOfAttributes(scan->rel));
	scan->nulls = palloc(sizeof(bool) * RelationGetNumberOfAttributes(scan->rel));
}

static void
scan_where(RowScan *scan, AttrNumber column, RegProcedure equal, Datum value)
{
	ScanKey		key = &scan->keys[scan->nkeys++];

	Assert(scan->scan == NULL && scan->nkeys <= SCAN_MAX_KEYS);
	ScanKeyInit(key, column, BTEqualStrategyNumber, equal, value);
	key->sk_collation = TupleDescAttr(RelationGetDescr(scan->rel), column - 1)->attcollation;
}

void
scan_where_text(RowScan *scan, AttrNumber column, const char *value)
{
	scan_where(scan, column, F_TEXTEQ, CStringGetTextDatum(value));
}

void
scan_where_int4(RowScan *scan, AttrNumber column, int32 value)
{
	scan_where(scan, column, F_INT4EQ, Int32GetDatum(value));
}

/*
 * The next row, in the order of the index.
 */
bool
scan_next(RowScan *scan)
{
	if (scan->scan == NULL)
	{
		scan->snapshot = RegisterSnapshot(GetTransactionSnapshot());
		scan->scan = systable_beginscan_ordered(scan->rel, scan->index, scan->snapshot, scan->nkeys, scan->keys);
	}
	scan->tuple = systable_getnext_ordered(scan->scan, ForwardScanDirection);
	if (scan->tuple == NULL)
		return false;
	heap_deform_tuple(scan->tuple, RelationGetDescr(scan->rel), scan->values, scan->nulls);
	return true;
}

/*
 * A text column of the row found last, or NULL.
 */
char *
scan_text(RowScan *scan, AttrNumber column)
{
	return scan->nulls[column - 1] ? NULL : TextDatumGetCString(scan->values[column - 1]);
}

/*
 * Keeps the lock where something was written, as a statement would.
 */
void
scan_end(RowScan *scan)
{
	if (scan->scan != NULL)
	{
		systable_endscan_ordered(scan->scan);
		UnregisterSnapshot(scan->snapshot);
	}
	index_close(scan->index, AccessShareLock);
	table_close(scan->rel, scan->lock >= RowExclusiveLock ? NoLock : scan->lock);
	pfree(scan->values);
	pfree(scan->nulls);
}
