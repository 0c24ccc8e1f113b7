/*
 * cursor.c
 *		Up to where a unit has handled each of its logs.
 *
 * A cursor is moved by who holds the unit's lock, in the transaction that
 * handled the events: the effects and the move commit together or not at all.
 */
#include "pm.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "base/exec.h"
#include "base/row_tid.h"
#include "base/scan.h"
#include "manager/cursor.h"
#include "shmem/wakeup.h"

/* The rate is a moving average over about this many seconds. */
#define CURSOR_RATE_SPAN 10.0

/*
 * Columns of the private tables, in the order in which CREATE TABLE has them.
 */
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

/*
 * Where a cursor's row was when this backend saw or wrote it last.
 */
static ItemPointer
cursor_place(ProcessManager *pm, int lane, const char *log)
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
 * A unit's rows.
 */
static void
cursor_scan(RowScan *scan, ProcessManager *pm, int lane)
{
	scan_begin(scan, "cursor", "cursor_key", AccessShareLock);
	scan_where_text(scan, CURSOR_MANAGER, pm->name);
	scan_where_int4(scan, CURSOR_LANE, lane);
}

/*
 * The cursor in one log, from where it was last.  NULL if it is not there any
 * more.
 */
static Cursor *
cursor_recall(RowScan *scan, ProcessManager *pm, int lane, const char *log)
{
	Cursor *cursor;

	if (!scan_at(scan, cursor_place(pm, lane, log)))
		return NULL;
	cursor = cursor_form(scan);
	return strcmp(cursor->log, log) == 0 ? cursor : NULL;
}

/*
 * The cursor in one log, along the index.  NULL if there is none.
 */
static Cursor *
cursor_find(ProcessManager *pm, int lane, const char *log)
{
	Cursor *cursor = NULL;
	RowScan scan;

	scan_begin(&scan, "cursor", "cursor_key", AccessShareLock);
	scan_where_text(&scan, CURSOR_MANAGER, pm->name);
	scan_where_text(&scan, CURSOR_LOG, log);
	scan_where_int4(&scan, CURSOR_LANE, lane);
	if (scan_next(&scan))
	{
		cursor = cursor_form(&scan);
		*cursor_place(pm, lane, log) = scan.tuple->t_self;
	}
	scan_end(&scan);
	return cursor;
}

/*
 * A unit's cursors in some of its logs, numbers in pm->logs.  The registration
 * must be the one of now.
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
		Cursor *cursor = cursor_recall(&scan, pm, lane, log);

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
 * A unit's cursors, all of them.  NIL if one of them is not where it was last.
 */
static List *
cursor_recall_all(RowScan *scan, ProcessManager *pm, int lane)
{
	List *cursors = NIL;
	ListCell *lc;

	/* Else its logs may be others now. */
	if (pm->version != registry_version())
		return NIL;
	foreach(lc, pm->logs)
	{
		Cursor *cursor = cursor_recall(scan, pm, lane, lfirst(lc));

		if (cursor == NULL)
			return NIL;
		cursor->which = foreach_current_index(lc);
		cursors = lappend(cursors, cursor);
	}
	return cursors;
}

/*
 * The number of a log in pm->logs, -1 if it is not there.  Most often it is the
 * one that is expected.
 */
static int
cursor_which(ProcessManager *pm, const char *log, int expected)
{
	int count = list_length(pm->logs);

	for (int i = 0; i < count; i++)
		if (strcmp(list_nth(pm->logs, (expected + i) % count), log) == 0)
			return (expected + i) % count;
	return -1;
}

/*
 * A unit's cursors, in the caller's memory context.
 */
List *
cursor_list(ProcessManager *pm, int lane)
{
	RowScan scan;
	List *cursors;

	cursor_scan(&scan, pm, lane);
	cursors = cursor_recall_all(&scan, pm, lane);
	if (cursors == NIL)
		while (scan_next(&scan))
		{
			Cursor *cursor = cursor_form(&scan);

			*cursor_place(pm, lane, cursor->log) = scan.tuple->t_self;
			cursor->which = cursor_which(pm, cursor->log, list_length(cursors));
			cursors = lappend(cursors, cursor);
		}
	scan_end(&scan);
	return cursors;
}

/*
 * Writes a cursor's row: how many events more were handled, and, unless the
 * position is NULL, up to where and how fast.  False if there is no such row.
 * The caller holds the unit's lock, so nobody else changes it.
 */
static bool
cursor_write(ProcessManager *pm, int lane, Cursor *cursor, int handled, const int64 *position,
			 double rate)
{
	ItemPointer place = cursor_place(pm, lane, cursor->log);
	RowScan scan;
	HeapTuple tuple;
	bool *replace;
	bool found;

	scan_begin(&scan, "cursor", "cursor_key", RowExclusiveLock);
	scan_where_text(&scan, CURSOR_MANAGER, pm->name);
	scan_where_text(&scan, CURSOR_LOG, cursor->log);
	scan_where_int4(&scan, CURSOR_LANE, lane);
	found = scan_at(&scan, place) || scan_next(&scan);
	if (found)
	{
		replace = palloc0(sizeof(bool) * RelationGetNumberOfAttributes(scan.rel));
		replace[CURSOR_HANDLED - 1] = true;
		scan.values[CURSOR_HANDLED - 1] = Int64GetDatum(
			DatumGetInt64(scan.values[CURSOR_HANDLED - 1]) + handled);
		if (position != NULL)
		{
			replace[CURSOR_POSITION - 1] = replace[CURSOR_RATE - 1] = replace[CURSOR_MOVED_AT - 1] =
				true;
			scan.values[CURSOR_POSITION - 1] = Int64GetDatum(*position);
			scan.values[CURSOR_RATE - 1] = Float8GetDatum(rate);
			scan.values[CURSOR_MOVED_AT - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
		}
		tuple = heap_modify_tuple(scan.tuple, RelationGetDescr(scan.rel), scan.values, scan.nulls,
								  replace);
		CatalogTupleUpdate(scan.rel, &scan.tuple->t_self, tuple);
		*place = tuple->t_self;
		heap_freetuple(tuple);
		pfree(replace);
	}
	scan_end(&scan);
	CommandCounterIncrement();
	return found;
}

/*
 * Moves a cursor.  The caller holds the unit's lock.
 */
void
cursor_move(ProcessManager *pm, int lane, Cursor *cursor, int64 position, int handled)
{
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

/*
 * Starts following a log in every lane.  The caller holds the units' locks.
 */
void
cursor_add(const char *manager, const char *log, int lanes, int64 position)
{
	static ExecStatement add_cursor = {
		NULL,
		"INSERT INTO pm_catalog.cursor (process_manager, log, lane, position) VALUES ($1, $2, $3, $4)",
		4,
		{TEXTOID, TEXTOID, INT4OID, INT8OID}};
	static ExecStatement add_log =
		{NULL,
		 "UPDATE pm_catalog.process_manager SET logs = pg_catalog.array_append(logs, $2) "
		 "WHERE name OPERATOR(pg_catalog.=) $1",
		 2,
		 {TEXTOID, TEXTOID}};
	ExecScope scope;
	Datum values[4];

	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(manager);
	values[1] = CStringGetTextDatum(log);
	exec_statement(&add_log, values, NULL);
	for (int lane = 0; lane < lanes; lane++)
	{
		values[0] = CStringGetTextDatum(manager);
		values[1] = CStringGetTextDatum(log);
		values[2] = Int32GetDatum(lane);
		values[3] = Int64GetDatum(position);
		exec_statement(&add_cursor, values, NULL);
	}
	exec_end(&scope);
}

/*
 * Ends the following of a log in every lane.  The caller holds the units' locks.
 */
void
cursor_remove(const char *manager, const char *log)
{
	static ExecStatement remove_cursor = {
		NULL,
		"WITH c AS (DELETE FROM pm_catalog.cursor "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1 AND log OPERATOR(pg_catalog.=) $2) "
		"UPDATE pm_catalog.process_manager SET logs = pg_catalog.array_remove(logs, $2) "
		"WHERE name OPERATOR(pg_catalog.=) $1",
		2,
		{TEXTOID, TEXTOID},
	};
	Datum values[2];

	values[0] = CStringGetTextDatum(manager);
	values[1] = CStringGetTextDatum(log);
	(void) exec_as_owner(&remove_cursor, values, NULL);
}

/*
 * Sets the cursors of all lanes to a position, which may be before where they
 * are.  The caller holds the units' locks.
 */
void
cursor_seek(const char *manager, const char *log, int64 position)
{
	static ExecStatement seek = {
		NULL,
		"UPDATE pm_catalog.cursor "
		"SET position = $3, moved_at = pg_catalog.clock_timestamp() "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1 AND log OPERATOR(pg_catalog.=) $2",
		3,
		{TEXTOID, TEXTOID, INT8OID},
	};
	Datum values[3];

	values[0] = CStringGetTextDatum(manager);
	values[1] = CStringGetTextDatum(log);
	values[2] = Int64GetDatum(position);
	(void) exec_as_owner(&seek, values, NULL);
}

/*
 * Have all lanes of a process manager come equally far, in each log?  The
 * caller holds the units' locks.
 */
bool
cursor_level(ProcessManager *pm)
{
	static ExecStatement select_apart = {
		NULL,
		"SELECT FROM pm_catalog.cursor WHERE process_manager OPERATOR(pg_catalog.=) $1 GROUP BY log "
		"HAVING pg_catalog.min(position) OPERATOR(pg_catalog.<) pg_catalog.max(position) "
		"UNION ALL SELECT FROM pm_catalog.former_lane r WHERE r.process_manager OPERATOR(pg_catalog.=) $1 "
		"AND r.position OPERATOR(pg_catalog.>) ANY (SELECT c.position FROM pm_catalog.cursor c "
		"WHERE c.process_manager OPERATOR(pg_catalog.=) $1 AND c.log OPERATOR(pg_catalog.=) r.log)",
		1,
		{TEXTOID}};
	Datum values[1] = {CStringGetTextDatum(pm->name)};

	return exec_as_owner(&select_apart, values, NULL) == 0;
}

/*
 * Makes it so many lanes, which all start where the last one was.
 */
void
cursor_repartition(ProcessManager *pm, int lanes)
{
	static ExecStatement set_back = {
		NULL,
		"UPDATE pm_catalog.cursor c SET position = o.position, handled = CASE c.lane WHEN 0 THEN c.handled OPERATOR(pg_catalog.+) o.others "
		"ELSE c.handled END, rate = 0 "
		"FROM (SELECT log, pg_catalog.min(position) AS position, "
		"coalesce(pg_catalog.sum(handled) FILTER (WHERE lane OPERATOR(pg_catalog.>=) $2), 0)::pg_catalog.int8 AS others "
		"FROM pm_catalog.cursor WHERE process_manager OPERATOR(pg_catalog.=) $1 GROUP BY log) o "
		"WHERE c.process_manager OPERATOR(pg_catalog.=) $1 AND c.log OPERATOR(pg_catalog.=) o.log",
		2,
		{TEXTOID, INT4OID}};
	static ExecStatement delete_lanes = {
		NULL,
		"DELETE FROM pm_catalog.cursor WHERE process_manager OPERATOR(pg_catalog.=) $1 AND lane OPERATOR(pg_catalog.>=) $2",
		2,
		{TEXTOID, INT4OID}};
	static ExecStatement add_lanes = {
		NULL,
		"INSERT INTO pm_catalog.cursor (process_manager, log, lane, position) SELECT c.process_manager, c.log, n, c.position "
		"FROM pm_catalog.cursor c, pg_catalog.generate_series($3, $2 OPERATOR(pg_catalog.-) 1) n "
		"WHERE c.process_manager OPERATOR(pg_catalog.=) $1 AND c.lane OPERATOR(pg_catalog.=) 0",
		3,
		{TEXTOID, INT4OID, INT4OID}};
	Datum values[3];

	values[0] = CStringGetTextDatum(pm->name);
	values[1] = Int32GetDatum(lanes);
	values[2] = Int32GetDatum(pm->lanes);
	(void) exec_as_owner(&set_back, values, NULL);
	(void) exec_as_owner(&delete_lanes, values, NULL);
	(void) exec_as_owner(&add_lanes, values, NULL);
}
