/*
 * lane_row.c
 *		Reads and writes the row of a lane without SQL.
 *
 * Each batch reads it.  There may be many old versions of the row that cannot
 * be removed yet, so it is first looked for at its last TID (row_tid.c).
 *
 * Assumes that a caller that writes holds the lock of the unit.  A new version
 * of the row also tells other backends that rows of the unit in other tables
 * may have changed (head.c).
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

static const char *const lane_columns[] = {
	[LANE_MANAGER - 1] = "process_manager",
	[LANE_LANE - 1] = "lane",
	[LANE_STATE - 1] = "state",
	[LANE_REASON - 1] = "reason",
	[LANE_HINT - 1] = "hint",
	[LANE_ATTEMPTS - 1] = "attempts",
	[LANE_RETRY_AT - 1] = "retry_at",
	[LANE_ERRORS - 1] = "errors",
	[LANE_IN_A_ROW - 1] = "in_a_row",
	[LANE_CRASHES - 1] = "crashes",
	[LANE_LOG - 1] = "log",
	[LANE_POSITION - 1] = "position",
	[LANE_MESSAGE - 1] = "message",
	[LANE_DETAIL - 1] = "detail",
	[LANE_CONTEXT - 1] = "context",
	[LANE_SQLSTATE - 1] = "sqlstate",
	[LANE_SINCE - 1] = "since",
	[LANE_CONFLICTS - 1] = "conflicts",
	[LANE_KEY - 1] = "key",
	[LANE_ERROR_HINT - 1] = "error_hint",
	[LANE_TIMELINE - 1] = "timeline",
	[LANE_CAREFUL_TO - 1] = "careful_to",
};

StaticAssertDecl(lengthof(lane_columns) == LANE_COLUMNS, "lane_columns[] must have all columns");

static ScanTable lane_table = {
	.name = "lane",
	.index = "lane_key",
	.columns = lane_columns,
	.ncolumns = LANE_COLUMNS,
	.required = LANE_REQUIRED,
};

/*
 * Finds the row, at its last TID or with the index.  It is open until
 * lane_row_close().
 */
void
lane_row_open(LaneRow *row, const char *manager, int lane, LOCKMODE lock)
{
	ItemPointer tid = row_tid_of(ROW_TID_LANE, manager, lane, "");

	row->manager = manager;
	row->lane = lane;
	row->write = false;
	memset(row->replace, false, sizeof(row->replace));
	scan_begin_table(&row->scan, &lane_table, lock);
	scan_where_text(&row->scan, LANE_MANAGER, manager);
	scan_where_int4(&row->scan, LANE_LANE, lane);
	row->found = scan_at(&row->scan, tid) || scan_next(&row->scan);
	if (!row->found)
		return;
	*tid = row->scan.tuple->t_self;
	head_lane_seen(manager, lane, row->scan.tuple);
}

/*
 * Sets a column, which is written when the row is closed.
 */
void
lane_row_set(LaneRow *row, AttrNumber column, Datum value, bool isnull)
{
	if (!row->found || !scan_has(&row->scan, column))
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
 * Adds to a bigint column.
 */
void
lane_row_add(LaneRow *row, AttrNumber column, int64 count)
{
	if (row->found)
		lane_row_set(row, column,
					 Int64GetDatum(DatumGetInt64(row->scan.values[column - 1]) + count), false);
}

/*
 * Writes the row if something was set, and closes it.
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
