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
#include "common/hashfn.h"
#include "cursor.h"
#include "exec.h"
#include "scan.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "wakeup.h"

/* So many cursors a backend remembers the places of. */
#define CURSOR_PLACES	256

/* The rate is a moving average over about this many seconds. */
#define CURSOR_RATE_SPAN	10.0

/*
 * Columns of the private tables, in the order in which CREATE TABLE has them.
 */
enum
{
	CURSOR_MANAGER = 1, CURSOR_LOG, CURSOR_LANE, CURSOR_POSITION, CURSOR_HANDLED, CURSOR_RATE, CURSOR_MOVED_AT
};
enum
{
	LOG_NAME = 1, LOG_SOURCE
};
enum
{
	LANE_MANAGER = 1, LANE_LANE, LANE_STATE, LANE_REASON, LANE_HINT, LANE_ATTEMPTS, LANE_RETRY_AT, LANE_ERRORS,
	LANE_IN_A_ROW, LANE_CRASHES, LANE_LOG, LANE_POSITION, LANE_MESSAGE, LANE_DETAIL, LANE_CONTEXT, LANE_SQLSTATE, LANE_SINCE
};
enum
{
	PARKED_MANAGER = 2, PARKED_LANE
};
enum
{
	TIMER_MANAGER = 2, TIMER_LANE, TIMER_KEY, TIMER_TYPE, TIMER_DUE
};

/*
 * A unit's rows of a table, which has these in these columns.
 */
static void
cursor_scan(RowScan *scan, const char *table, const char *index, AttrNumber manager, AttrNumber lane,
			ProcessManager *pm, int which)
{
	scan_begin(scan, table, index, AccessShareLock);
	scan_where_text(scan, manager, pm->name);
	scan_where_int4(scan, lane, which);
}

/*
 * The state of the lane.
 */
static void
cursor_lane(ProcessManager *pm, int lane, LaneState *state)
{
	RowScan		scan;
	char	   *sqlstate;

	cursor_scan(&scan, "lane", "lane_pkey", LANE_MANAGER, LANE_LANE, pm, lane);
	if (scan_next(&scan))
	{
		state->status = lane_status(scan_text(&scan, LANE_STATE));
		state->attempts = DatumGetInt32(scan.values[LANE_ATTEMPTS - 1]);
		state->retry_at = scan.nulls[LANE_RETRY_AT - 1] ? DT_NOBEGIN :
			DatumGetTimestampTz(scan.values[LANE_RETRY_AT - 1]);
		state->log = scan_text(&scan, LANE_LOG);
		state->position = scan.nulls[LANE_POSITION - 1] ? 0 : DatumGetInt64(scan.values[LANE_POSITION - 1]);
		state->reason = scan_text(&scan, LANE_REASON);
		state->error.message = scan_text(&scan, LANE_MESSAGE);
		state->error.detail = scan_text(&scan, LANE_DETAIL);
		state->error.context = scan_text(&scan, LANE_CONTEXT);
		sqlstate = scan_text(&scan, LANE_SQLSTATE);
		if (sqlstate != NULL && strlen(sqlstate) == 5)
			state->error.sqlerrcode = MAKE_SQLSTATE(sqlstate[0], sqlstate[1], sqlstate[2], sqlstate[3], sqlstate[4]);
		state->crashes = DatumGetInt32(scan.values[LANE_CRASHES - 1]);
		state->in_a_row = DatumGetInt32(scan.values[LANE_IN_A_ROW - 1]);
		state->since = DatumGetTimestampTz(scan.values[LANE_SINCE - 1]);
	}
	scan_end(&scan);
}

/*
 * The next retry of a parked event, DT_NOEND: none.
 */
static TimestampTz
cursor_parked_due(ProcessManager *pm, int lane)
{
	static ExecStatement parked_due = {
		NULL,
		"SELECT k.retry_at FROM pm_catalog.parked k WHERE k.process_manager OPERATOR(pg_catalog.=) $1 "
		"AND k.lane OPERATOR(pg_catalog.=) $2 AND k.retry_at IS NOT NULL ORDER BY k.retry_at, k.id LIMIT 1",
		2, {TEXTOID, INT4OID}
	};
	ExecScope	scope;
	Datum		values[2];
	TimestampTz due = DT_NOEND;
	bool		isnull;

	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(pm->name);
	values[1] = Int32GetDatum(lane);
	if (exec_statement(&parked_due, values, NULL) > 0)
		due = DatumGetTimestampTz(exec_value(0, 1, &isnull));
	exec_end(&scope);
	return due;
}

/*
 * Where a cursor's row was when this backend saw or wrote it last.  While
 * another session holds a snapshot, each batch adds a version of the row that
 * cannot be removed, and an index leads to all of them.
 */
static ItemPointer
cursor_place(ProcessManager *pm, int lane, const char *log)
{
	static ItemPointerData places[CURSOR_PLACES];
	uint32		hash = hash_bytes((const unsigned char *) log, strlen(log));

	hash = hash_combine(hash, murmurhash32((uint32) pm->id));
	hash = hash_combine(hash, murmurhash32((uint32) lane));
	return &places[hash % CURSOR_PLACES];
}

static Cursor *
cursor_form(RowScan *scan)
{
	Cursor	   *cursor = palloc0(sizeof(Cursor));

	cursor->log = scan_text(scan, CURSOR_LOG);
	cursor->position = DatumGetInt64(scan->values[CURSOR_POSITION - 1]);
	cursor->rate = DatumGetFloat8(scan->values[CURSOR_RATE - 1]);
	cursor->moved_at = DatumGetTimestampTz(scan->values[CURSOR_MOVED_AT - 1]);
	return cursor;
}

/*
 * A unit's cursors, from where they were last.  NIL if one of them is not there
 * any more.
 */
static List *
cursor_recall(RowScan *scan, ProcessManager *pm, int lane)
{
	List	   *cursors = NIL;
	ListCell   *lc;

	/* Else its logs may be others now. */
	if (pm->version != registry_version())
		return NIL;
	foreach(lc, pm->logs)
	{
		Cursor	   *cursor;

		if (!scan_at(scan, cursor_place(pm, lane, lfirst(lc))))
			return NIL;
		cursor = cursor_form(scan);
		if (strcmp(cursor->log, lfirst(lc)) != 0)
			return NIL;
		cursors = lappend(cursors, cursor);
	}
	return cursors;
}

/*
 * A unit's cursors, and its state.  In the caller's memory context.
 */
List *
cursor_read(ProcessManager *pm, int lane, LaneState *state)
{
	RowScan		scan;
	List	   *cursors;

	memset(state, 0, sizeof(*state));
	state->parked_due = state->timer_due = DT_NOEND;
	cursor_lane(pm, lane, state);

	cursor_scan(&scan, "cursor", "cursor_key", CURSOR_MANAGER, CURSOR_LANE, pm, lane);
	cursors = cursor_recall(&scan, pm, lane);
	if (cursors == NIL)
		while (scan_next(&scan))
		{
			Cursor	   *cursor = cursor_form(&scan);

			*cursor_place(pm, lane, cursor->log) = scan.tuple->t_self;
			cursors = lappend(cursors, cursor);
		}
	scan_end(&scan);

	cursor_scan(&scan, "parked", "parked_key", PARKED_MANAGER, PARKED_LANE, pm, lane);
	state->has_parked = scan_next(&scan);
	scan_end(&scan);
	/* Asked only where there may be one: every batch comes here. */
	if (state->has_parked)
		state->parked_due = cursor_parked_due(pm, lane);
	if (pm->kind == HANDLER_INSTANCE)
	{
		cursor_scan(&scan, "timer", "timer_due", TIMER_MANAGER, TIMER_LANE, pm, lane);
		if (scan_next(&scan))
			state->timer_due = DatumGetTimestampTz(scan.values[TIMER_DUE - 1]);
		scan_end(&scan);
	}
	return cursors;
}

/*
 * Writes a cursor's row: how many events more were handled, and, unless the
 * position is NULL, up to where and how fast.  False if there is no such row.
 * The caller holds the unit's lock, so nobody else changes it.
 */
static bool
cursor_write(ProcessManager *pm, int lane, Cursor *cursor, int handled, const int64 *position, double rate)
{
	ItemPointer place = cursor_place(pm, lane, cursor->log);
	RowScan		scan;
	HeapTuple	tuple;
	bool	   *replace;
	bool		found;

	scan_begin(&scan, "cursor", "cursor_key", RowExclusiveLock);
	scan_where_text(&scan, CURSOR_MANAGER, pm->name);
	scan_where_text(&scan, CURSOR_LOG, cursor->log);
	scan_where_int4(&scan, CURSOR_LANE, lane);
	found = scan_at(&scan, place) || scan_next(&scan);
	if (found)
	{
		replace = palloc0(sizeof(bool) * RelationGetNumberOfAttributes(scan.rel));
		replace[CURSOR_HANDLED - 1] = true;
		scan.values[CURSOR_HANDLED - 1] = Int64GetDatum(DatumGetInt64(scan.values[CURSOR_HANDLED - 1]) + handled);
		if (position != NULL)
		{
			replace[CURSOR_POSITION - 1] = replace[CURSOR_RATE - 1] = replace[CURSOR_MOVED_AT - 1] = true;
			scan.values[CURSOR_POSITION - 1] = Int64GetDatum(*position);
			scan.values[CURSOR_RATE - 1] = Float8GetDatum(rate);
			scan.values[CURSOR_MOVED_AT - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
		}
		tuple = heap_modify_tuple(scan.tuple, RelationGetDescr(scan.rel), scan.values, scan.nulls, replace);
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
	double		elapsed = Max((GetCurrentTimestamp() - cursor->moved_at) / 1000000.0, 0.000001);
	double		weight = 1 - exp(-elapsed / CURSOR_RATE_SPAN);

	Assert(position >= cursor->position);

	if (!cursor_write(pm, lane, cursor, handled, &position, cursor->rate + weight * (handled / elapsed - cursor->rate)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("process manager \"%s\" has lost its cursor in log \"%s\"", pm->name, cursor->log)));
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
		4, {TEXTOID, TEXTOID, INT4OID, INT8OID}
	};
	ExecScope	scope;
	Datum		values[4];

	exec_begin_owner(&scope);
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
		"UNION ALL SELECT FROM pm_catalog.recut r WHERE r.process_manager OPERATOR(pg_catalog.=) $1 "
		"AND r.position OPERATOR(pg_catalog.>) ANY (SELECT c.position FROM pm_catalog.cursor c "
		"WHERE c.process_manager OPERATOR(pg_catalog.=) $1 AND c.log OPERATOR(pg_catalog.=) r.log)",
		1, {TEXTOID}
	};
	Datum		values[1] = {CStringGetTextDatum(pm->name)};

	return exec_as_owner(&select_apart, values, NULL) == 0;
}

/*
 * Makes it so many lanes, which all start where the last one was.
 */
void
cursor_recut(ProcessManager *pm, int lanes)
{
	static ExecStatement set_back = {
		NULL,
		"UPDATE pm_catalog.cursor c SET position = o.position, handled = CASE c.lane WHEN 0 THEN c.handled OPERATOR(pg_catalog.+) o.others "
		"ELSE c.handled END, rate = 0 "
		"FROM (SELECT log, pg_catalog.min(position) AS position, "
		"coalesce(pg_catalog.sum(handled) FILTER (WHERE lane OPERATOR(pg_catalog.>=) $2), 0)::pg_catalog.int8 AS others "
		"FROM pm_catalog.cursor WHERE process_manager OPERATOR(pg_catalog.=) $1 GROUP BY log) o "
		"WHERE c.process_manager OPERATOR(pg_catalog.=) $1 AND c.log OPERATOR(pg_catalog.=) o.log",
		2, {TEXTOID, INT4OID}
	};
	static ExecStatement delete_lanes = {
		NULL,
		"DELETE FROM pm_catalog.cursor WHERE process_manager OPERATOR(pg_catalog.=) $1 AND lane OPERATOR(pg_catalog.>=) $2",
		2, {TEXTOID, INT4OID}
	};
	static ExecStatement add_lanes = {
		NULL,
		"INSERT INTO pm_catalog.cursor (process_manager, log, lane, position) SELECT c.process_manager, c.log, n, c.position "
		"FROM pm_catalog.cursor c, pg_catalog.generate_series($3, $2 OPERATOR(pg_catalog.-) 1) n "
		"WHERE c.process_manager OPERATOR(pg_catalog.=) $1 AND c.lane OPERATOR(pg_catalog.=) 0",
		3, {TEXTOID, INT4OID, INT4OID}
	};
	Datum		values[3];

	values[0] = CStringGetTextDatum(pm->name);
	values[1] = Int32GetDatum(lanes);
	values[2] = Int32GetDatum(pm->lanes);
	(void) exec_as_owner(&set_back, values, NULL);
	(void) exec_as_owner(&delete_lanes, values, NULL);
	(void) exec_as_owner(&add_lanes, values, NULL);
}

/*
 * The furthest cursor in a log, by its name.
 */
static int64
cursor_furthest_of(const char *log, Snapshot snapshot)
{
	RowScan		scan;
	int64		furthest = 0;

	scan_begin(&scan, "cursor", "cursor_log", AccessShareLock);
	scan_where_text(&scan, CURSOR_LOG, log);
	scan_use_snapshot(&scan, snapshot);
	while (scan_next(&scan))
		furthest = Max(furthest, DatumGetInt64(scan.values[CURSOR_POSITION - 1]));
	scan_end(&scan);
	return furthest;
}

/*
 * The furthest cursor in a log, by its table: 0 if nobody follows it.
 *
 * What this transaction has done itself counts only with "own".  It may have
 * handled its own events, which are settled for nobody else.
 */
int64
cursor_furthest(Oid relid, bool own)
{
	Snapshot	snapshot;
	RowScan		scan;
	int64		furthest = 0;

	/* The latest, whatever the isolation level; a copy, which can be changed. */
	(void) GetTransactionSnapshot();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	if (!own)
		snapshot->curcid = FirstCommandId;

	scan_begin(&scan, "log", "log_source", AccessShareLock);
	scan_where_oid(&scan, LOG_SOURCE, relid);
	while (scan_next(&scan))
		furthest = Max(furthest, cursor_furthest_of(scan_text(&scan, LOG_NAME), snapshot));
	scan_end(&scan);
	UnregisterSnapshot(snapshot);
	return furthest;
}
