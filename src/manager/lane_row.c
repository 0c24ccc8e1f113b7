/*
 * lane_row.c
 *		The row of a lane, read and written without SQL.
 *
 * Each batch reads it, and the row may have many old versions that cannot be
 * removed yet (place.c).  Whoever writes it tells other backends that something
 * of the unit may have changed (head.c).
 */
#include "pm.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "base/row_tid.h"
#include "manager/head.h"
#include "manager/lane_row.h"

/*
 * Finds the row: where it was last, or along the index.
 */
void
lane_row_open(LaneRow *row, const char *manager, int lane, LOCKMODE lock)
{
	ItemPointer place = row_tid_of(ROW_TID_LANE, manager, lane, "");

	row->manager = manager;
	row->lane = lane;
	row->write = false;
	memset(row->replace, false, sizeof(row->replace));
	scan_begin(&row->scan, "lane", "lane_key", lock);
	scan_where_text(&row->scan, LANE_MANAGER, manager);
	scan_where_int4(&row->scan, LANE_LANE, lane);
	row->found = scan_at(&row->scan, place) || scan_next(&row->scan);
	if (!row->found)
		return;
	*place = row->scan.tuple->t_self;
	head_lane_seen(manager, lane, row->scan.tuple);
}

/*
 * A column is to have this value.
 */
void
lane_row_set(LaneRow *row, AttrNumber column, Datum value, bool isnull)
{
	if (!row->found)
		return;
	row->scan.values[column - 1] = value;
	row->scan.nulls[column - 1] = isnull;
	row->replace[column - 1] = row->write = true;
}

/*
 * The same for a text, which may be NULL.
 */
void
lane_row_set_text(LaneRow *row, AttrNumber column, const char *value)
{
	lane_row_set(row, column, value ? CStringGetTextDatum(value) : (Datum) 0, value == NULL);
}

/*
 * A column is to be so much larger.
 */
void
lane_row_add(LaneRow *row, AttrNumber column, int64 count)
{
	if (row->found)
		lane_row_set(row, column,
					 Int64GetDatum(DatumGetInt64(row->scan.values[column - 1]) + count), false);
}

/*
 * Writes what is to be written.  The caller holds the lock of the unit.
 */
void
lane_row_close(LaneRow *row)
{
	RowScan *scan = &row->scan;

	if (row->write)
	{
		HeapTuple tuple = heap_modify_tuple(scan->tuple, RelationGetDescr(scan->rel), scan->values,
											scan->nulls, row->replace);

		CatalogTupleUpdate(scan->rel, &scan->tuple->t_self, tuple);
		*row_tid_of(ROW_TID_LANE, row->manager, row->lane, "") = tuple->t_self;
		head_lane_written(row->manager, row->lane, scan->tuple, tuple);
		heap_freetuple(tuple);
	}
	scan_end(scan);
	if (row->write)
		CommandCounterIncrement();
}
