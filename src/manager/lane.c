/*
 * lane.c
 *		The state of a unit: what keeps it from running, if anything does.
 *
 * This file reads and writes the state.  lane_fail.c decides on the next state
 * after a failure.  A unit is one lane of one process manager.
 *
 * Assumes that the caller holds the lock of the unit.  The exception is
 * lane_state(), if the state is only displayed, or if a dispatcher looks for
 * work.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "base/exec.h"
#include "base/report.h"
#include "base/version.h"
#include "base/within.h"
#include "manager/head.h"
#include "manager/lane.h"
#include "manager/lane_row.h"
#include "manager/note.h"
#include "shmem/handling.h"
#include "shmem/stat.h"
#include "shmem/wakeup.h"

/* If a retry is further away than this, in ms, the clock was set back meanwhile. */
#define LANE_TOO_FAR (2 * LANE_MAX_BACKOFF)

static const char *const lane_names[] = {"ok", "retrying", "parking", "halted", "waiting"};

static LaneStatus
lane_status(const char *text)
{
	for (int i = 0; i < lengthof(lane_names); i++)
		if (strcmp(text, lane_names[i]) == 0)
			return (LaneStatus) i;
	elog(ERROR, "unknown state \"%s\" of a lane", text);
}

bool
lane_is_due(TimestampTz at, bool deferred, TimestampTz now)
{
	TimestampTz walk;

	/*
	 * If the clock was set back, do not wait until it reaches this time again.  But a
	 * handler may defer an event for as long as it likes, and pm.catch_up may be in
	 * the past.
	 */
	return at <= now || (!deferred && !TIMESTAMP_IS_NOEND(at) && !within_time_set(&walk) &&
						 at > TimestampTzPlusMilliseconds(now, LANE_TOO_FAR));
}

bool
lane_retry_due(const LaneState *state, TimestampTz now)
{
	return lane_is_due(state->retry_at, lane_failure(state).kind == FAILURE_DEFERRED, now);
}

bool
lane_parked_due(const LaneState *state, TimestampTz now)
{
	return lane_is_due(state->parked_due, state->parked_deferred, now);
}

/*
 * A deferral is stored as an error of pm.defer with a time.  An error that only looks
 * like one has no time while its event is about to be parked, and a time after a
 * backoff otherwise, which makes no difference.
 */
Failure
lane_failure(const LaneState *state)
{
	Failure failure = {FAILURE_ORDINARY, 0};

	if (state->error.sqlerrcode == ERRCODE_PM_PERMANENT)
		failure.kind = FAILURE_PERMANENT;
	else if (state->error.sqlerrcode == ERRCODE_PM_DEFERRED &&
			 !TIMESTAMP_IS_NOBEGIN(state->retry_at))
	{
		failure.kind = FAILURE_DEFERRED;
		failure.until = state->retry_at;
	}
	return failure;
}

/*
 * Reads the state from the lane's row.
 */
static void
lane_read(const char *manager, int lane, LaneState *state)
{
	LaneRow row;
	RowScan *scan = &row.scan;
	char *sqlstate;

	lane_row_open(&row, manager, lane, AccessShareLock);
	if (row.found)
	{
		state->status = lane_status(scan_text(scan, LANE_STATE));
		state->attempts = DatumGetInt32(scan->values[LANE_ATTEMPTS - 1]);
		state->retry_at = scan->nulls[LANE_RETRY_AT - 1] ?
							  DT_NOBEGIN :
							  DatumGetTimestampTz(scan->values[LANE_RETRY_AT - 1]);
		state->log = scan_text(scan, LANE_LOG);
		state->position = scan->nulls[LANE_POSITION - 1] ?
							  0 :
							  DatumGetInt64(scan->values[LANE_POSITION - 1]);
		state->key = scan_text(scan, LANE_KEY);
		state->reason = scan_text(scan, LANE_REASON);
		state->error.message = scan_text(scan, LANE_MESSAGE);
		state->error.detail = scan_text(scan, LANE_DETAIL);
		state->error.context = scan_text(scan, LANE_CONTEXT);
		state->error.hint = scan_text(scan, LANE_ERROR_HINT);
		sqlstate = scan_text(scan, LANE_SQLSTATE);
		if (sqlstate != NULL && strlen(sqlstate) == 5)
			state->error.sqlerrcode = MAKE_SQLSTATE(sqlstate[0], sqlstate[1], sqlstate[2],
													sqlstate[3], sqlstate[4]);
		state->crashes = DatumGetInt32(scan->values[LANE_CRASHES - 1]);
		state->in_a_row = DatumGetInt32(scan->values[LANE_IN_A_ROW - 1]);
		state->since = DatumGetTimestampTz(scan->values[LANE_SINCE - 1]);
		/* Without the column, the extension has no notes (note.c) either. */
		state->careful = scan_has(scan, LANE_TIMELINE) &&
						 (scan->nulls[LANE_TIMELINE - 1] ||
						  DatumGetInt32(scan->values[LANE_TIMELINE - 1]) != note_timeline());
		if (state->careful)
			state->careful_to = PG_INT64_MAX;
		else if (scan_has(scan, LANE_CAREFUL_TO) && !scan->nulls[LANE_CAREFUL_TO - 1])
			state->careful_to = DatumGetInt64(scan->values[LANE_CAREFUL_TO - 1]);
	}
	lane_row_close(&row);
}

/*
 * The state of a unit, and when its parked events and timers are due.
 */
void
lane_state(ProcessManager *pm, int lane, LaneState *state)
{
	memset(state, 0, sizeof(*state));
	state->parked_due = state->timer_due = DT_NOEND;
	lane_read(pm->name, lane, state);

	state->has_parked = head_parked(pm->name, lane);
	/* Every batch calls this, so search only if there may be a row. */
	if (state->has_parked)
		state->parked_due = head_retry(pm->name, lane, &state->parked_deferred);
	if (pm->kind == HANDLER_INSTANCE)
		state->timer_due = head_timer(pm->name, lane);
}

/*
 * Called when a timer or parked event of the unit was added, or is due earlier
 * than before.  A new version of the lane's row tells other backends (head.c).
 */
void
lane_touch(const char *manager, int lane)
{
	LaneRow row;

	/* Once in a transaction is enough. */
	if (head_touched(manager, lane))
		return;
	lane_row_open(&row, manager, lane, RowExclusiveLock);
	row.write = row.found;
	lane_row_close(&row);
}

/*
 * Does a change bring the lane to another state, or to the same for another
 * reason?
 */
static bool
lane_differs(LaneRow *row, const LaneChange *change, const char *reason)
{
	const char *before = scan_text(&row->scan, LANE_REASON);

	if (strcmp(scan_text(&row->scan, LANE_STATE), lane_names[change->status]) != 0)
		return true;
	return before == NULL || reason == NULL ? before != reason : strcmp(before, reason) != 0;
}

/*
 * Writes a state.  All changes of the state are made here.
 */
void
lane_change(const char *manager, int lane, const LaneChange *change)
{
	const Handling *what = change->what;
	const char *log = change->log;
	int64 position = change->position;
	const char *key = change->key;
	const char *reason = report_cut(change->reason, REPORT_KEPT);
	Datum error[4];
	char nulls[4];
	LaneRow row;

	if (what != NULL)
	{
		log = what->source == HANDLING_TIMER ? NULL : what->log;
		position = what->source == HANDLING_TIMER ? what->id : what->position;
		key = what->key[0] != '\0' ? what->key : NULL;
	}
	lane_row_open(&row, manager, lane, RowExclusiveLock);
	/*
	 * "since" is when the lane entered this state for this reason; further attempts do
	 * not change it.
	 */
	if (row.found && lane_differs(&row, change, reason))
		lane_row_set(&row, LANE_SINCE, TimestampTzGetDatum(GetCurrentTimestamp()), false);
	lane_row_set_text(&row, LANE_STATE, lane_names[change->status]);
	lane_row_set_text(&row, LANE_REASON, reason);
	lane_row_set_text(&row, LANE_HINT, report_cut(change->hint, REPORT_KEPT));
	lane_row_set(&row, LANE_ATTEMPTS, Int32GetDatum(change->attempts), false);
	lane_row_set(&row, LANE_CRASHES, Int32GetDatum(change->crashes), false);
	lane_row_set(&row, LANE_RETRY_AT, TimestampTzGetDatum(change->retry_at), change->retry_at == 0);
	lane_row_set_text(&row, LANE_LOG, log);
	lane_row_set(&row, LANE_POSITION, Int64GetDatum(position), position == 0);
	lane_row_set_text(&row, LANE_KEY, key);
	exec_error_args(change->error, error, nulls);
	for (int i = 0; i < lengthof(error); i++)
		lane_row_set(&row, LANE_MESSAGE + i, error[i], nulls[i] == 'n');
	lane_row_set_text(&row, LANE_ERROR_HINT,
					  change->error ? report_cut(change->error->hint, REPORT_KEPT) : NULL);
	lane_row_add(&row, LANE_ERRORS, change->count ? 1 : 0);
	lane_row_close(&row);
	stat_count_failed(manager, lane, change->count ? 1 : 0, 0);
	/* Sessions in pm.wait_for look at the state too. */
	wakeup_moved();
}

/*
 * The last id that a parked event has been given, or a higher one.
 */
static int64
lane_last_parked(void)
{
	static ExecStatement select_last = {
		NULL,
		"SELECT last_value FROM pm_catalog.parked_id_seq",
		0,
		{InvalidOid},
	};
	ExecScope scope;
	int64 last;
	bool isnull;

	exec_begin_owner(&scope);
	(void) exec_statement(&select_last, NULL, NULL);
	last = DatumGetInt64(exec_value(0, 1, &isnull));
	exec_end(&scope);
	return last;
}

/*
 * Records that the unit has passed what may have been in hand at the last promotion, except
 * what is parked now.  Nobody else parks events of this unit, so new ones get higher ids.
 */
void
lane_passed(const char *manager, int lane)
{
	int64 last = head_parked(manager, lane) ? lane_last_parked() : 0;
	LaneRow row;

	lane_row_open(&row, manager, lane, RowExclusiveLock);
	lane_row_set(&row, LANE_TIMELINE, Int32GetDatum(note_timeline()), false);
	lane_row_set(&row, LANE_CAREFUL_TO, Int64GetDatum(last), last == 0);
	lane_row_close(&row);
}

/*
 * Records that nothing is wrong any more.
 */
void
lane_clear(const char *manager, int lane)
{
	LaneChange change = {.status = LANE_OK};

	lane_change(manager, lane, &change);
}

/*
 * Sets how many keys have failed since something was handled, or (more) adds to
 * that number.
 */
void
lane_in_a_row(const char *manager, int lane, int keys, bool more)
{
	LaneRow row;

	lane_row_open(&row, manager, lane, RowExclusiveLock);
	if (row.found && more)
		keys += DatumGetInt32(row.scan.values[LANE_IN_A_ROW - 1]);
	lane_row_set(&row, LANE_IN_A_ROW, Int32GetDatum(keys), false);
	lane_row_close(&row);
}

static void
lane_count(const char *manager, int lane, AttrNumber column, int count)
{
	LaneRow row;

	lane_row_open(&row, manager, lane, RowExclusiveLock);
	lane_row_add(&row, column, count);
	lane_row_close(&row);
}

/*
 * Counts a failure that does not change the state of the lane.
 */
void
lane_error(const char *manager, int lane)
{
	lane_count(manager, lane, LANE_ERRORS, 1);
	stat_count_failed(manager, lane, 1, 0);
}

/*
 * Counts failures of a batch that has parked what failed, and sets how many keys have
 * failed since something was handled.
 */
void
lane_count_failures(const char *manager, int lane, int errors, int in_a_row)
{
	LaneRow row;

	lane_row_open(&row, manager, lane, RowExclusiveLock);
	lane_row_add(&row, LANE_ERRORS, errors);
	lane_row_set(&row, LANE_IN_A_ROW, Int32GetDatum(in_a_row), false);
	lane_row_close(&row);
	stat_count_failed(manager, lane, errors, 0);
}

/*
 * Counts deadlocks and similar errors, which undid a batch but are not
 * failures.
 */
void
lane_conflicts(const char *manager, int lane, int count)
{
	lane_count(manager, lane, LANE_CONFLICTS, count);
	stat_count_failed(manager, lane, 0, count);
}

/*
 * Adds the rows of lanes, from a number on.
 */
void
lane_add(const char *manager, int from, int lanes)
{
	static ExecStatement add_lanes = {
		NULL,
		"INSERT INTO pm_catalog.lane (process_manager, lane) "
		"SELECT $1, n "
		"FROM pg_catalog.generate_series($2, $3 OPERATOR(pg_catalog.-) 1) n",
		3,
		{TEXTOID, INT4OID, INT4OID},
	};
	Datum values[3];

	values[0] = CStringGetTextDatum(manager);
	values[1] = Int32GetDatum(from);
	values[2] = Int32GetDatum(lanes);
	(void) exec_as_owner(&add_lanes, values, NULL);
	/* Counters of earlier lanes may be there, if a prepared transaction has removed these. */
	stat_forget(manager, from, lanes);
}

/*
 * Parked events may move to any lane.
 */
static void
lane_spread_careful(const char *manager)
{
	static ExecStatement spread = {
		NULL,
		"UPDATE pm_catalog.lane SET careful_to = "
		"(SELECT pg_catalog.max(l.careful_to) FROM pm_catalog.lane l "
		"WHERE l.process_manager OPERATOR(pg_catalog.=) $1) "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1",
		1,
		{TEXTOID},
	};
	Datum values[1] = {CStringGetTextDatum(manager)};

	if (version_has("0.2.0"))
		(void) exec_as_owner(&spread, values, NULL);
}

/*
 * Changes the number of lanes.  The counts of removed lanes are added to those
 * of lane 0.
 */
void
lane_repartition(ProcessManager *pm, int lanes)
{
	static ExecStatement delete_lanes = {
		NULL,
		"WITH gone AS (DELETE FROM pm_catalog.lane "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		"AND lane OPERATOR(pg_catalog.>=) $2 "
		"RETURNING errors, conflicts) "
		"UPDATE pm_catalog.lane SET "
		"errors = errors OPERATOR(pg_catalog.+) "
		"coalesce((SELECT pg_catalog.sum(gone.errors) FROM gone), 0)::pg_catalog.int8, "
		"conflicts = conflicts OPERATOR(pg_catalog.+) "
		"coalesce((SELECT pg_catalog.sum(gone.conflicts) FROM gone), 0)::pg_catalog.int8 "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1 AND lane OPERATOR(pg_catalog.=) 0",
		2,
		{TEXTOID, INT4OID},
	};
	Datum values[2];

	values[0] = CStringGetTextDatum(pm->name);
	values[1] = Int32GetDatum(lanes);
	lane_spread_careful(pm->name);
	(void) exec_as_owner(&delete_lanes, values, NULL);
	stat_merge(pm->name, lanes, pm->lanes);
	lane_add(pm->name, pm->lanes, lanes);
	lane_spread_careful(pm->name);
}
