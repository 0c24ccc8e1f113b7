/*
 * lane.c
 *		The state of a unit: what keeps it from running, if anything does.
 *
 * All writing is done here, by who holds the unit's lock.
 */
#include "pm.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "base/exec.h"
#include "base/report.h"
#include "base/within.h"
#include "manager/head.h"
#include "manager/lane.h"
#include "manager/lane_row.h"
#include "shmem/handling.h"
#include "shmem/wakeup.h"

/* The longest time between two attempts, in ms. */
#define LANE_MAX_BACKOFF (INT64CONST(3600) * 1000)

/* When a unit that waits is worth a dispatcher again, in ms. */
#define LANE_WAIT 5000

/* A retry further away than this: the clock was set back meanwhile. */
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

/*
 * When to try again what has failed so many times: the delay doubles each
 * time, and a tenth of chance keeps those apart that failed together.
 */
TimestampTz
lane_retry_at(ProcessManager *pm, int attempts)
{
	int64 delay = Max(pm->backoff, 1);

	for (int i = 1; i < attempts && delay < LANE_MAX_BACKOFF; i++)
		delay *= 2;
	delay = Min(delay, LANE_MAX_BACKOFF);
	delay += (int64) (delay * 0.1 * pg_prng_double(&pg_global_prng_state));
	return within_later(delay);
}

/*
 * Is a retry due?
 */
bool
lane_is_due(TimestampTz at, TimestampTz now)
{
	return at <= now ||
		   (!TIMESTAMP_IS_NOEND(at) && at > TimestampTzPlusMilliseconds(now, LANE_TOO_FAR));
}

/* What lane_set() writes; all zero: nothing is wrong. */
typedef struct LaneChange
{
	LaneStatus status;
	const char *reason;
	const char *hint;
	int attempts;
	int crashes;
	TimestampTz retry_at; /* 0: at once, or never */
	const Handling *what; /* has failed */
	const char *log;	  /* or, as in LaneState */
	int64 position;
	ErrorData *error;
	bool count; /* the error */
} LaneChange;

/*
 * What the lane's row says of its state.
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
		state->reason = scan_text(scan, LANE_REASON);
		state->error.message = scan_text(scan, LANE_MESSAGE);
		state->error.detail = scan_text(scan, LANE_DETAIL);
		state->error.context = scan_text(scan, LANE_CONTEXT);
		sqlstate = scan_text(scan, LANE_SQLSTATE);
		if (sqlstate != NULL && strlen(sqlstate) == 5)
			state->error.sqlerrcode = MAKE_SQLSTATE(sqlstate[0], sqlstate[1], sqlstate[2],
													sqlstate[3], sqlstate[4]);
		state->crashes = DatumGetInt32(scan->values[LANE_CRASHES - 1]);
		state->in_a_row = DatumGetInt32(scan->values[LANE_IN_A_ROW - 1]);
		state->since = DatumGetTimestampTz(scan->values[LANE_SINCE - 1]);
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
	/* Asked only where there may be one: every batch comes here. */
	if (state->has_parked)
		state->parked_due = head_retry(pm->name, lane);
	if (pm->kind == HANDLER_INSTANCE)
		state->timer_due = head_timer(pm->name, lane);
}

/*
 * Something of the unit has been added, or is due earlier: a new version of
 * the row tells other backends (head.c).  Once a transaction is enough.
 */
void
lane_touch(const char *manager, int lane)
{
	LaneRow row;

	if (head_touched(manager, lane))
		return;
	lane_row_open(&row, manager, lane, RowExclusiveLock);
	row.write = row.found;
	lane_row_close(&row);
}

/*
 * The one transition.
 */
static void
lane_set(const char *manager, int lane, LaneChange *change)
{
	const Handling *what = change->what;
	const char *log = change->log;
	int64 position = change->position;
	const char *reason = report_cut(change->reason, REPORT_KEPT);
	const char *was;
	Datum error[4];
	char nulls[4];
	LaneRow row;

	if (what != NULL)
	{
		log = what->source == HANDLING_TIMER ? NULL : what->log;
		position = what->source == HANDLING_TIMER ? what->id : what->position;
	}
	lane_row_open(&row, manager, lane, RowExclusiveLock);
	if (row.found)
	{
		was = scan_text(&row.scan, LANE_REASON);
		if (strcmp(scan_text(&row.scan, LANE_STATE), lane_names[change->status]) != 0 ||
			(was == NULL) != (reason == NULL) || (was != NULL && strcmp(was, reason) != 0))
			lane_row_set(&row, LANE_SINCE, TimestampTzGetDatum(GetCurrentTimestamp()), false);
	}
	lane_row_set_text(&row, LANE_STATE, lane_names[change->status]);
	lane_row_set_text(&row, LANE_REASON, reason);
	lane_row_set_text(&row, LANE_HINT, report_cut(change->hint, REPORT_KEPT));
	lane_row_set(&row, LANE_ATTEMPTS, Int32GetDatum(change->attempts), false);
	lane_row_set(&row, LANE_CRASHES, Int32GetDatum(change->crashes), false);
	lane_row_set(&row, LANE_RETRY_AT, TimestampTzGetDatum(change->retry_at), change->retry_at == 0);
	lane_row_set_text(&row, LANE_LOG, log);
	lane_row_set(&row, LANE_POSITION, Int64GetDatum(position), position == 0);
	exec_error_args(change->error, error, nulls);
	for (int i = 0; i < lengthof(error); i++)
		lane_row_set(&row, LANE_MESSAGE + i, error[i], nulls[i] == 'n');
	lane_row_add(&row, LANE_ERRORS, change->count ? 1 : 0);
	lane_row_close(&row);
	wakeup_moved();
}

/*
 * Nothing is wrong any more.
 */
void
lane_clear(const char *manager, int lane)
{
	LaneChange change = {.status = LANE_OK};

	lane_set(manager, lane, &change);
}

/*
 * So many keys have failed since something was handled, or so many more.
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
 * A failure that says nothing of the lane.
 */
void
lane_error(const char *manager, int lane)
{
	lane_count(manager, lane, LANE_ERRORS, 1);
}

/*
 * Deadlocks and the like, which undid a batch and are no failures.
 */
void
lane_conflicts(const char *manager, int lane, int count)
{
	lane_count(manager, lane, LANE_CONFLICTS, count);
}

/*
 * The unit cannot run, through no fault of an event.  The reason is for all who
 * may see the unit; the error's own words, which may be a handler's, are not.
 * What has failed before, and how often, is not forgotten over it.
 */
void
lane_wait(const char *manager, int lane, LaneState *state, const char *reason, const char *hint,
		  ErrorData *error)
{
	bool failed = state->status == LANE_RETRYING || state->status == LANE_PARKING;
	LaneChange change = {.status = failed ? state->status : LANE_WAITING,
						 .reason = reason,
						 .hint = hint,
						 .error = error};

	if (failed)
	{
		change.error = &state->error;
		change.attempts = state->attempts;
		change.crashes = state->crashes;
		change.log = state->log;
		change.position = state->position;
	}
	change.retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LANE_WAIT);
	change.count = true;
	lane_set(manager, lane, &change);
}

/*
 * Several events, or timers, failed in a way that does not say which: they are
 * run one at a time, none of them blamed so far.
 */
void
lane_suspect(const char *manager, const Handling *what, ErrorData *error, bool crash)
{
	LaneChange change = {.status = LANE_RETRYING};

	change.reason =
		what->log[0] == '\0' ?
			"the handler failed for several timers" :
			psprintf("the handler failed for several events up to position %lld of log \"%s\"",
					 (long long) what->position, what->log);
	change.hint = "They are tried one at a time.";
	change.what = what;
	change.crashes = crash ? 1 : 0;
	change.error = error;
	change.count = true;
	lane_set(manager, what->lane, &change);
}

static char *
lane_halt_hint(ProcessManager *pm, const Handling *what)
{
	if (what->outside && what->log[0] != '\0')
		return psprintf(
			"Correct the data, then SELECT pm.resume(%s). To skip the event, SELECT pm.seek(%s, %s, %lld).",
			quote_literal_cstr(pm->name), quote_literal_cstr(pm->name),
			quote_literal_cstr(what->log), (long long) what->position);
	if (what->correlating)
		return psprintf(
			"Correct the correlate function, or the event in the log, then SELECT pm.resume(%s).",
			quote_literal_cstr(pm->name));
	if (what->log[0] == '\0')
		return psprintf("Correct the handler, then SELECT pm.resume(%s).",
						quote_literal_cstr(pm->name));
	if (pm->halt_on_failure)
		return psprintf("Correct the handler, or the event in the log, then SELECT pm.resume(%s).",
						quote_literal_cstr(pm->name));
	return psprintf(
		"Correct the handler, then SELECT pm.resume(%s). Parked events are retried with the data that "
		"they had when they were parked.",
		quote_literal_cstr(pm->name));
}

/*
 * It is said once that a unit has halted.
 */
static void
lane_say_halted(ProcessManager *pm, const char *reason)
{
	if (report_may(pm->owner, REPORT_OUTCOME))
		ereport(LOG, (errmsg("process manager \"%s\" in database \"%s\" has halted: %s", pm->name,
							 report_database(), report_cut(reason, REPORT_LOGGED))));
}

/*
 * Is it this that has failed?
 */
bool
lane_is_about(LaneState *state, const Handling *what)
{
	if (what->source == HANDLING_TIMER)
		return state->log == NULL && state->position != 0 && state->position == what->id;
	return state->log != NULL && state->position == what->position &&
		   strcmp(state->log, what->log) == 0;
}

/*
 * The handler of a unit in that state has failed for an event, alone: "failed"
 * says so in words.  It is tried again in its place, max_attempts times.
 * Returns when, DT_NOEND when the unit has halted.
 */
TimestampTz
lane_fail(ProcessManager *pm, LaneState *state, const Handling *what, const char *failed,
		  ErrorData *error, int max_attempts, bool crash)
{
	LaneChange change = {.status = LANE_RETRYING, .reason = failed};
	bool again = lane_is_about(state, what);

	change.what = what;
	change.error = error;
	change.count = true;
	change.attempts = again ? state->attempts + 1 : 1;
	change.crashes = (again ? state->crashes : 0) + (crash ? 1 : 0);
	if (crash)
		/* Somebody may have killed its dispatcher. */
		max_attempts = change.crashes < 2 ? change.attempts + 1 : change.attempts;
	if (change.attempts >= max_attempts)
	{
		change.status = LANE_HALTED;
		change.hint = lane_halt_hint(pm, what);
		lane_set(pm->name, what->lane, &change);
		lane_say_halted(pm, failed);
		return DT_NOEND;
	}
	change.retry_at = crash ? 0 : lane_retry_at(pm, change.attempts);
	if (what->source == HANDLING_TIMER)
		change.hint = psprintf("It is tried again until it has failed %d times.", max_attempts);
	else
		change.hint = psprintf(
			"It is tried again until it has failed %d times. To skip the event, SELECT pm.seek(%s, %s, %lld).",
			max_attempts, quote_literal_cstr(pm->name), quote_literal_cstr(what->log),
			(long long) what->position);
	lane_set(pm->name, what->lane, &change);
	return change.retry_at;
}

/*
 * The next batch is to set this event aside: only the owner's session may ask
 * for its key.  If the server has crashed over that before, this is not
 * forgotten.
 */
void
lane_decide_to_park(ProcessManager *pm, LaneState *state, const Handling *what, const char *failed,
					ErrorData *error, bool crash)
{
	int before = state->attempts > 0 && lane_is_about(state, what) ? state->crashes : 0;
	LaneChange change = {.status = LANE_PARKING,
						 .reason = failed,
						 .hint = "The event is about to be parked."};

	change.what = what;
	change.error = error;
	change.count = true;
	change.attempts = 1;
	change.crashes = before + (crash ? 1 : 0);
	lane_set(pm->name, what->lane, &change);
}

/*
 * The unit stops before an event (or timer), until pm.resume.  The error may
 * have been counted already.
 */
void
lane_halt(ProcessManager *pm, const Handling *what, const char *reason, ErrorData *error,
		  bool count)
{
	LaneChange change = {.status = LANE_HALTED, .reason = reason, .hint = lane_halt_hint(pm, what)};

	change.what = what;
	change.error = error;
	change.count = count;
	lane_set(pm->name, what->lane, &change);
	lane_say_halted(pm, reason);
}

/*
 * The rows of lanes from a number on.
 */
void
lane_add(const char *manager, int from, int lanes)
{
	static ExecStatement add_lanes =
		{NULL,
		 "INSERT INTO pm_catalog.lane (process_manager, lane) "
		 "SELECT $1, n FROM pg_catalog.generate_series($2, $3 OPERATOR(pg_catalog.-) 1) n",
		 3,
		 {TEXTOID, INT4OID, INT4OID}};
	Datum values[3];

	values[0] = CStringGetTextDatum(manager);
	values[1] = Int32GetDatum(from);
	values[2] = Int32GetDatum(lanes);
	(void) exec_as_owner(&add_lanes, values, NULL);
}

/*
 * Makes it so many lanes.  What those that go have counted stays.
 */
void
lane_repartition(ProcessManager *pm, int lanes)
{
	static ExecStatement delete_lanes = {
		NULL,
		"WITH gone AS (DELETE FROM pm_catalog.lane WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		"AND lane OPERATOR(pg_catalog.>=) $2 RETURNING errors, conflicts) "
		"UPDATE pm_catalog.lane SET errors = errors OPERATOR(pg_catalog.+) "
		"coalesce((SELECT pg_catalog.sum(gone.errors) FROM gone), 0)::pg_catalog.int8, "
		"conflicts = conflicts OPERATOR(pg_catalog.+) "
		"coalesce((SELECT pg_catalog.sum(gone.conflicts) FROM gone), 0)::pg_catalog.int8 "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1 AND lane OPERATOR(pg_catalog.=) 0",
		2,
		{TEXTOID, INT4OID}};
	Datum values[2];

	values[0] = CStringGetTextDatum(pm->name);
	values[1] = Int32GetDatum(lanes);
	(void) exec_as_owner(&delete_lanes, values, NULL);
	lane_add(pm->name, pm->lanes, lanes);
}
