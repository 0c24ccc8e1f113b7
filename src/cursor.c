/*
 * cursor.c
 *		Up to where a unit has handled each of its logs.
 *
 * A cursor is moved by who holds the unit's lock, in the transaction that
 * handled the events: the effects and the move commit together or not at all.
 */
#include "pm.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "cursor.h"
#include "exec.h"
#include "utils/builtins.h"
#include "wakeup.h"

/* The rate is a moving average over about this many seconds. */
#define CURSOR_RATE_SPAN	10.0

/*
 * The state of the lane in the last result of cursor_read().
 */
static void
cursor_lane(LaneState *state)
{
	char	   *sqlstate;
	bool		isnull;

	state->status = lane_status(exec_text(0, 5));
	state->attempts = DatumGetInt32(exec_value(0, 6, &isnull));
	state->retry_at = DatumGetTimestampTz(exec_value(0, 7, &isnull));
	if (isnull)
		state->retry_at = DT_NOBEGIN;
	state->log = exec_text(0, 8);
	state->position = DatumGetInt64(exec_value(0, 9, &isnull));
	if (isnull)
		state->position = 0;
	state->reason = exec_text(0, 10);
	state->error.message = exec_text(0, 11);
	state->error.detail = exec_text(0, 12);
	state->error.context = exec_text(0, 13);
	sqlstate = exec_text(0, 14);
	if (sqlstate != NULL && strlen(sqlstate) == 5)
		state->error.sqlerrcode = MAKE_SQLSTATE(sqlstate[0], sqlstate[1], sqlstate[2], sqlstate[3], sqlstate[4]);
	state->crashes = DatumGetInt32(exec_value(0, 15, &isnull));
	state->in_a_row = DatumGetInt32(exec_value(0, 16, &isnull));
	state->has_parked = DatumGetBool(exec_value(0, 17, &isnull));
}

/*
 * The time that a statement returns, DT_NOEND if none.
 */
static TimestampTz
cursor_due(ExecStatement *statement, Datum *unit)
{
	TimestampTz due = DT_NOEND;
	bool		isnull;

	if (exec_statement(statement, unit, NULL) > 0)
		due = DatumGetTimestampTz(exec_value(0, 1, &isnull));
	return due;
}

/*
 * A unit's cursors, and its state.  In the caller's memory context.
 */
List *
cursor_read(ProcessManager *pm, int lane, LaneState *state)
{
	static ExecStatement read_cursors = {
		NULL,
		"SELECT c.log, c.position, c.rate, c.moved_at, l.state, l.attempts, l.retry_at, l.log, l.position, l.reason, "
		"l.message, l.detail, l.context, l.sqlstate, l.crashes, l.in_a_row, "
		"EXISTS (SELECT FROM pm_catalog.parked k WHERE k.process_manager OPERATOR(pg_catalog.=) $1 "
		"AND k.lane OPERATOR(pg_catalog.=) $2) "
		"FROM pm_catalog.lane l LEFT JOIN pm_catalog.cursor c ON c.process_manager OPERATOR(pg_catalog.=) l.process_manager "
		"AND c.lane OPERATOR(pg_catalog.=) l.lane "
		"WHERE l.process_manager OPERATOR(pg_catalog.=) $1 AND l.lane OPERATOR(pg_catalog.=) $2 ORDER BY c.log",
		2, {TEXTOID, INT4OID}
	};
	/* Asked only where there may be one: every batch comes here. */
	static ExecStatement parked_due = {
		NULL,
		"SELECT k.retry_at FROM pm_catalog.parked k WHERE k.process_manager OPERATOR(pg_catalog.=) $1 "
		"AND k.lane OPERATOR(pg_catalog.=) $2 AND k.retry_at IS NOT NULL ORDER BY k.retry_at LIMIT 1",
		2, {TEXTOID, INT4OID}
	};
	static ExecStatement timer_due = {
		NULL,
		"SELECT t.due FROM pm_catalog.timer t WHERE t.process_manager OPERATOR(pg_catalog.=) $1 "
		"AND t.lane OPERATOR(pg_catalog.=) $2 ORDER BY t.due LIMIT 1",
		2, {TEXTOID, INT4OID}
	};
	MemoryContext caller = CurrentMemoryContext;
	ExecScope	scope;
	Datum		values[2];
	List	   *cursors = NIL;
	bool		isnull;

	memset(state, 0, sizeof(*state));
	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(pm->name);
	values[1] = Int32GetDatum(lane);
	exec_statement(&read_cursors, values, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		MemoryContext spi = MemoryContextSwitchTo(caller);

		if (row == 0)
			cursor_lane(state);
		(void) exec_value(row, 1, &isnull);
		if (!isnull)
		{
			Cursor	   *cursor = palloc0(sizeof(Cursor));

			cursor->log = exec_text(row, 1);
			cursor->position = DatumGetInt64(exec_value(row, 2, &isnull));
			cursor->rate = DatumGetFloat8(exec_value(row, 3, &isnull));
			cursor->moved_at = DatumGetTimestampTz(exec_value(row, 4, &isnull));
			cursors = lappend(cursors, cursor);
		}
		MemoryContextSwitchTo(spi);
	}
	state->parked_due = state->has_parked ? cursor_due(&parked_due, values) : DT_NOEND;
	state->timer_due = pm->kind == HANDLER_INSTANCE ? cursor_due(&timer_due, values) : DT_NOEND;
	exec_end(&scope);
	return cursors;
}

/*
 * Moves a cursor.  The caller holds the unit's lock.
 */
void
cursor_move(ProcessManager *pm, int lane, Cursor *cursor, int64 position, int handled)
{
	static ExecStatement move_cursor = {
		NULL,
		"UPDATE pm_catalog.cursor SET position = $4, handled = handled OPERATOR(pg_catalog.+) $5, rate = $6, moved_at = $7 "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1 AND log OPERATOR(pg_catalog.=) $2 AND lane OPERATOR(pg_catalog.=) $3",
		7, {TEXTOID, TEXTOID, INT4OID, INT8OID, INT8OID, FLOAT8OID, TIMESTAMPTZOID}
	};
	TimestampTz now = GetCurrentTimestamp();
	double		elapsed = Max((now - cursor->moved_at) / 1000000.0, 0.000001);
	double		weight = 1 - exp(-elapsed / CURSOR_RATE_SPAN);
	ExecScope	scope;
	Datum		values[7];

	Assert(position >= cursor->position);

	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(pm->name);
	values[1] = CStringGetTextDatum(cursor->log);
	values[2] = Int32GetDatum(lane);
	values[3] = Int64GetDatum(position);
	values[4] = Int64GetDatum(handled);
	values[5] = Float8GetDatum(cursor->rate + weight * (handled / elapsed - cursor->rate));
	values[6] = TimestampTzGetDatum(now);
	if (exec_statement(&move_cursor, values, NULL) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("process manager \"%s\" has lost its cursor in log \"%s\"", pm->name, cursor->log)));
	exec_end(&scope);
	wakeup_moved();
}

/*
 * Counts parked events of a log that were handled, which moves no cursor.
 */
void
cursor_count(ProcessManager *pm, int lane, Cursor *cursor)
{
	static ExecStatement count_handled = {
		NULL,
		"UPDATE pm_catalog.cursor SET handled = handled OPERATOR(pg_catalog.+) $4 "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1 AND log OPERATOR(pg_catalog.=) $2 AND lane OPERATOR(pg_catalog.=) $3",
		4, {TEXTOID, TEXTOID, INT4OID, INT8OID}
	};
	Datum		values[4];

	values[0] = CStringGetTextDatum(pm->name);
	values[1] = CStringGetTextDatum(cursor->log);
	values[2] = Int32GetDatum(lane);
	values[3] = Int64GetDatum(cursor->parked);
	(void) exec_as_owner(&count_handled, values, NULL);
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
 * The furthest cursor in a log, by its table: 0 if nobody follows it.
 */
int64
cursor_furthest(Oid relid)
{
	static ExecStatement furthest = {
		NULL,
		"SELECT pg_catalog.max(c.position) FROM pm_catalog.cursor c "
		"JOIN pm_catalog.log l ON l.name OPERATOR(pg_catalog.=) c.log "
		"WHERE l.source::pg_catalog.oid OPERATOR(pg_catalog.=) $1",
		1, {OIDOID}
	};
	ExecScope	scope;
	Datum		values[1];
	int64		position;
	bool		isnull;

	exec_begin_owner(&scope);
	values[0] = ObjectIdGetDatum(relid);
	exec_statement(&furthest, values, NULL);
	position = DatumGetInt64(exec_value(0, 1, &isnull));
	exec_end(&scope);
	return isnull ? 0 : position;
}
