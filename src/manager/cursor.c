/*
 * cursor.c
 *		Cursors: up to which position a unit has handled each of its logs.
 *
 * A cursor is moved by the transaction that handles the events: the effects of
 * the events and the move commit together or not at all.
 *
 * Assumes that a cursor is changed only by a backend that holds the lock of its
 * unit.  Each batch reads and writes cursors, and their rows may have many old
 * versions that cannot be removed yet.  So a row is first looked for at its
 * last TID (row_tid.c), and only then with the index.
 */
#include "pm.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "base/row_tid.h"
#include "base/scan.h"
#include "manager/cursor.h"
#include "shmem/wakeup.h"

/* More cursors of a unit than this are read with one scan of the index. */
#define CURSOR_MANY 1000

/* The rate is a moving average over about this many seconds. */
#define CURSOR_RATE_SPAN 10.0

/* The columns of pm_catalog.cursor by number. */
enum
{
	CURSOR_MANAGER = 1,
	CURSOR_LOG,
	CURSOR_LANE,
	CURSOR_POSITION,
	CURSOR_HANDLED,
	CURSOR_RATE,
	CURSOR_MOVED_AT
};
#define CURSOR_COLUMNS CURSOR_MOVED_AT
/* The last one in PM_OLDEST_SERVED.  Later ones may be absent (scan_begin_table()). */
#define CURSOR_REQUIRED CURSOR_MOVED_AT

static const char *const cursor_columns[] = {
	[CURSOR_MANAGER - 1] = "process_manager",
	[CURSOR_LOG - 1] = "log",
	[CURSOR_LANE - 1] = "lane",
	[CURSOR_POSITION - 1] = "position",
	[CURSOR_HANDLED - 1] = "handled",
	[CURSOR_RATE - 1] = "rate",
	[CURSOR_MOVED_AT - 1] = "moved_at",
};

StaticAssertDecl(lengthof(cursor_columns) == CURSOR_COLUMNS,
				 "cursor_columns[] must have all columns");

static ScanTable cursor_table = {
	.name = "cursor",
	.index = "cursor_key",
	.columns = cursor_columns,
	.ncolumns = CURSOR_COLUMNS,
	.required = CURSOR_REQUIRED,
};

/* ---------- reading ---------- */

/*
 * Where a cursor's row was when this backend read or wrote it last.
 */
static ItemPointer
cursor_tid(ProcessManager *pm, int lane, const char *log)
{
	return row_tid_of(ROW_TID_CURSOR, pm->name, lane, log);
}

static Cursor *
cursor_form(RowScan *scan)
{
	Cursor *cursor = palloc0(sizeof(Cursor));

	cursor->log = scan_text(scan, CURSOR_LOG);
	cursor->position = DatumGetInt64(scan->values[CURSOR_POSITION - 1]);
	cursor->rate = DatumGetFloat8(scan->values[CURSOR_RATE - 1]);
	cursor->moved_at = DatumGetTimestampTz(scan->values[CURSOR_MOVED_AT - 1]);
	return cursor;
}

/*
 * Begins a scan of all rows of a unit.
 */
static void
cursor_scan(RowScan *scan, ProcessManager *pm, int lane)
{
	scan_begin_table(scan, &cursor_table, AccessShareLock);
	scan_where_text(scan, CURSOR_MANAGER, pm->name);
	scan_where_int4(scan, CURSOR_LANE, lane);
}

/*
 * Begins a scan for the row of a unit and a log.
 */
static void
cursor_scan_log(RowScan *scan, ProcessManager *pm, int lane, const char *log, LOCKMODE lock)
{
	scan_begin_table(scan, &cursor_table, lock);
	scan_where_text(scan, CURSOR_MANAGER, pm->name);
	scan_where_text(scan, CURSOR_LOG, log);
	scan_where_int4(scan, CURSOR_LANE, lane);
}

/*
 * The cursor in one log, from the last TID of its row.  NULL if it is not there
 * any more.
 */
static Cursor *
cursor_at_tid(RowScan *scan, ProcessManager *pm, int lane, const char *log)
{
	Cursor *cursor;

	if (!scan_at(scan, cursor_tid(pm, lane, log)))
		return NULL;
	/* The scan is for all rows of the unit, so this row may be that of another log. */
	cursor = cursor_form(scan);
	return strcmp(cursor->log, log) == 0 ? cursor : NULL;
}

/*
 * The cursor in one log, found with the index.  NULL if there is none.
 */
static Cursor *
cursor_find(ProcessManager *pm, int lane, const char *log)
{
	Cursor *cursor = NULL;
	RowScan scan;

	cursor_scan_log(&scan, pm, lane, log, AccessShareLock);
	if (scan_next(&scan))
	{
		cursor = cursor_form(&scan);
		*cursor_tid(pm, lane, log) = scan.tuple->t_self;
	}
	scan_end(&scan);
	return cursor;
}

/*
 * A unit's cursors in some of its logs, by their numbers in pm->logs.  The
 * registration must be up to date.
 */
List *
cursor_list_some(ProcessManager *pm, int lane, const Bitmapset *logs)
{
	List *cursors = NIL;
	RowScan scan;
	int which = -1;

	cursor_scan(&scan, pm, lane);
	while ((which = bms_next_member(logs, which)) >= 0)
	{
		const char *log = list_nth(pm->logs, which);
		Cursor *cursor = cursor_at_tid(&scan, pm, lane, log);

		if (cursor == NULL)
			cursor = cursor_find(pm, lane, log);
		if (cursor == NULL)
			continue;
		cursor->which = which;
		cursors = lappend(cursors, cursor);
	}
	scan_end(&scan);
	return cursors;
}

/*
 * All cursors of a unit, from the last TIDs of their rows.  NIL if one of them
 * is not there any more.
 */
static List *
cursor_list_at_tids(RowScan *scan, ProcessManager *pm, int lane)
{
	List *cursors = NIL;
	ListCell *lc;

	/*
	 * If the registration has changed, the process manager may follow other logs by now.  Of
	 * many cursors, not all TIDs are remembered.
	 */
	if (pm->version != registry_version() || list_length(pm->logs) > CURSOR_MANY)
		return NIL;
	foreach(lc, pm->logs)
	{
		Cursor *cursor = cursor_at_tid(scan, pm, lane, lfirst(lc));

		if (cursor == NULL)
			return NIL;
		cursor->which = foreach_current_index(lc);
		cursors = lappend(cursors, cursor);
	}
	return cursors;
}

/* A log of a process manager, with its number. */
typedef struct CursorLog
{
	const char *name;
	int which;
} CursorLog;

static int
cursor_log_compare(const void *a, const void *b)
{
	return strcmp(((const CursorLog *) a)->name, ((const CursorLog *) b)->name);
}

/*
 * Sets the numbers of the logs of cursors, -1 for a log that is not in pm->logs.
 */
static void
cursor_number(ProcessManager *pm, List *cursors)
{
	int count = list_length(pm->logs);
	CursorLog *logs = palloc(sizeof(CursorLog) * Max(count, 1));
	ListCell *lc;

	foreach(lc, pm->logs)
	{
		logs[foreach_current_index(lc)].name = lfirst(lc);
		logs[foreach_current_index(lc)].which = foreach_current_index(lc);
	}
	qsort(logs, count, sizeof(CursorLog), cursor_log_compare);
	foreach(lc, cursors)
	{
		Cursor *cursor = lfirst(lc);
		CursorLog key = {cursor->log, -1};
		CursorLog *found = bsearch(&key, logs, count, sizeof(CursorLog), cursor_log_compare);

		cursor->which = found != NULL ? found->which : -1;
	}
	pfree(logs);
}

static int
cursor_compare(const ListCell *a, const ListCell *b)
{
	const Cursor *one = lfirst(a);
	const Cursor *other = lfirst(b);

	if (one->which < 0 || other->which < 0)
		return (one->which < 0) - (other->which < 0);
	return one->which - other->which;
}

/*
 * All cursors of a unit, in the caller's memory context, in the order of pm->logs.  Events
 * that were recorded at the same time are handled in that order (batch.c).  pm.fail relies
 * on it: it must find the events in the order in which another session has fetched them.
 */
List *
cursor_list(ProcessManager *pm, int lane)
{
	RowScan scan;
	List *cursors;

	cursor_scan(&scan, pm, lane);
	cursors = cursor_list_at_tids(&scan, pm, lane);
	if (cursors == NIL)
	{
		while (scan_next(&scan))
		{
			Cursor *cursor = cursor_form(&scan);

			*cursor_tid(pm, lane, cursor->log) = scan.tuple->t_self;
			cursors = lappend(cursors, cursor);
		}
		cursor_number(pm, cursors);
		list_sort(cursors, cursor_compare);
	}
	scan_end(&scan);
	return cursors;
}

/* ---------- writing, in a batch ---------- */

static void
cursor_set(RowScan *scan, bool *replace, int column, Datum value)
{
	scan->values[column - 1] = value;
	scan->nulls[column - 1] = false;
	replace[column - 1] = true;
}

/*
 * Writes a cursor's row: adds the number of events that were handled and,
 * unless position is NULL, sets the new position and the rate.  Returns false
 * if there is no such row.
 */
static bool
cursor_write(ProcessManager *pm, int lane, Cursor *cursor, int handled, const int64 *position,
			 double rate)
{
	ItemPointer tid = cursor_tid(pm, lane, cursor->log);
	RowScan scan;
	bool found;

	cursor_scan_log(&scan, pm, lane, cursor->log, RowExclusiveLock);
	found = scan_at(&scan, tid) || scan_next(&scan);
	if (found)
	{
		HeapTuple tuple;
		bool replace[CURSOR_COLUMNS] = {false};
		int64 before = DatumGetInt64(scan.values[CURSOR_HANDLED - 1]);

		cursor_set(&scan, replace, CURSOR_HANDLED, Int64GetDatum(before + handled));
		if (position != NULL)
		{
			cursor_set(&scan, replace, CURSOR_POSITION, Int64GetDatum(*position));
			cursor_set(&scan, replace, CURSOR_RATE, Float8GetDatum(rate));
			cursor_set(&scan, replace, CURSOR_MOVED_AT, TimestampTzGetDatum(GetCurrentTimestamp()));
		}
		tuple = heap_modify_tuple(scan.tuple, RelationGetDescr(scan.rel), scan.values, scan.nulls,
								  replace);
		/* No other backend changes the row, because the caller holds the unit's lock. */
		CatalogTupleUpdate(scan.rel, &scan.tuple->t_self, tuple);
		*tid = tuple->t_self;
		heap_freetuple(tuple);
	}
	scan_end(&scan);
	CommandCounterIncrement();
	return found;
}

/*
 * Moves a cursor, after a number of events have been handled.
 */
void
cursor_move(ProcessManager *pm, int lane, Cursor *cursor, int64 position, int handled)
{
	/* The clock can have been set back. */
	double elapsed = Max((GetCurrentTimestamp() - cursor->moved_at) / 1000000.0, 0.000001);
	double weight = 1 - exp(-elapsed / CURSOR_RATE_SPAN);

	Assert(position >= cursor->position);

	if (!cursor_write(pm, lane, cursor, handled, &position,
					  cursor->rate + weight * (handled / elapsed - cursor->rate)))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("process manager \"%s\" has lost its cursor in log \"%s\"", pm->name,
							   cursor->log)));
	wakeup_moved();
}

/*
 * Counts parked events of a log that were handled, which moves no cursor.
 */
void
cursor_count(ProcessManager *pm, int lane, Cursor *cursor)
{
	(void) cursor_write(pm, lane, cursor, cursor->parked, NULL, 0);
}
