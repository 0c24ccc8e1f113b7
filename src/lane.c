/*
 * lane.c
 *		The state of a unit: what keeps it from running, if anything does.
 *
 * All writing is done here, by who holds the unit's lock.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "exec.h"
#include "lane.h"
#include "utils/builtins.h"
#include "wakeup.h"

/* The longest time between two attempts, in ms. */
#define LANE_MAX_BACKOFF	(INT64CONST(3600) * 1000)

/* When a unit that waits is worth a dispatcher again, in ms. */
#define LANE_WAIT			5000

static const char *const lane_names[] = {"ok", "retrying", "halted", "waiting"};

LaneStatus
lane_status(const char *text)
{
	for (int i = 0; i < lengthof(lane_names); i++)
		if (strcmp(text, lane_names[i]) == 0)
			return (LaneStatus) i;
	elog(ERROR, "unknown state \"%s\" of a lane", text);
}

static Datum
lane_text(const char *text, char *null)
{
	*null = text ? ' ' : 'n';
	return text ? CStringGetTextDatum(text) : (Datum) 0;
}

/*
 * The one transition.
 */
static void
lane_set(const char *manager, int lane, LaneStatus status, const char *reason, const char *hint,
		 int attempts, TimestampTz retry_at, bool count_error,
		 const char *log, int64 position, ErrorData *error)
{
	static ExecStatement set_lane = {
		NULL,
		"UPDATE pm_catalog.lane SET state = $3, reason = $4, hint = $5, attempts = $6, retry_at = $7, "
		"errors = errors OPERATOR(pg_catalog.+) $8, log = $9, position = $10, message = $11, detail = $12, context = $13, "
		"sqlstate = $14, since = CASE WHEN state OPERATOR(pg_catalog.=) $3 AND reason IS NOT DISTINCT FROM $4 "
		"THEN since ELSE pg_catalog.clock_timestamp() END "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1 AND lane OPERATOR(pg_catalog.=) $2",
		14, {TEXTOID, INT4OID, TEXTOID, TEXTOID, TEXTOID, INT4OID, TIMESTAMPTZOID,
		INT8OID, TEXTOID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID}
	};
	ExecScope	scope;
	Datum		values[14];
	char		nulls[14];

	memset(nulls, ' ', sizeof(nulls));
	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(manager);
	values[1] = Int32GetDatum(lane);
	values[2] = CStringGetTextDatum(lane_names[status]);
	values[3] = lane_text(reason, &nulls[3]);
	values[4] = lane_text(hint, &nulls[4]);
	values[5] = Int32GetDatum(attempts);
	values[6] = TimestampTzGetDatum(retry_at);
	nulls[6] = TIMESTAMP_IS_NOBEGIN(retry_at) ? 'n' : ' ';
	values[7] = Int64GetDatum(count_error ? 1 : 0);
	values[8] = lane_text(log, &nulls[8]);
	values[9] = Int64GetDatum(position);
	nulls[9] = log ? ' ' : 'n';
	values[10] = lane_text(error ? error->message : NULL, &nulls[10]);
	values[11] = lane_text(error ? error->detail : NULL, &nulls[11]);
	values[12] = lane_text(error ? error->context : NULL, &nulls[12]);
	values[13] = lane_text(error ? unpack_sql_state(error->sqlerrcode) : NULL, &nulls[13]);
	exec_statement(&set_lane, values, nulls);
	exec_end(&scope);
	wakeup_moved();
}

/*
 * Nothing is wrong any more.
 */
void
lane_clear(const char *manager, int lane)
{
	lane_set(manager, lane, LANE_OK, NULL, NULL, 0, DT_NOBEGIN, false, NULL, 0, NULL);
}

/*
 * The unit cannot run, through no fault of an event.  The reason is for all who
 * may see the unit; the error's own words, which may be a handler's, are not.
 */
void
lane_wait(const char *manager, int lane, const char *reason, const char *hint, ErrorData *error)
{
	lane_set(manager, lane, LANE_WAITING, reason, hint, 0,
			 TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LANE_WAIT), true,
			 NULL, 0, error);
}

/*
 * An array of events failed in a way that does not say which: they are run one
 * at a time, none of them blamed so far.
 */
void
lane_suspect(const char *manager, int lane, const char *log, int64 position, ErrorData *error)
{
	lane_set(manager, lane, LANE_RETRYING,
			 psprintf("the handler failed for several events up to position %lld of log \"%s\"", (long long) position, log),
			 "They are tried one at a time.", 0, DT_NOBEGIN, true, log, position, error);
}

/*
 * An event's handler failed, alone, in a unit of that state.  Returns when to try again, DT_NOEND when
 * the unit has halted.
 */
TimestampTz
lane_fail(ProcessManager *pm, int lane, LaneState *state, const char *log, int64 position, ErrorData *error)
{
	LaneStatus	status;
	TimestampTz retry_at;
	int			attempts;
	int64		delay = Max(pm->backoff, 1);
	char	   *hint;

	attempts = 1;
	if (state->log != NULL && strcmp(state->log, log) == 0 && state->position == position)
		attempts = state->attempts + 1;

	/* Doubles each time; a tenth of chance keeps failing units apart. */
	for (int i = 1; i < attempts && delay < LANE_MAX_BACKOFF; i++)
		delay *= 2;
	delay = Min(delay, LANE_MAX_BACKOFF);
	delay += (int64) (delay * 0.1 * pg_prng_double(&pg_global_prng_state));

	if (attempts >= pm->max_attempts)
	{
		status = LANE_HALTED;
		retry_at = DT_NOBEGIN;
		hint = psprintf("Mend the handler or the data, then SELECT pm.resume(%s).", quote_literal_cstr(pm->name));
	}
	else
	{
		status = LANE_RETRYING;
		retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), delay);
		hint = psprintf("It is tried again until it has failed %d times. To skip the event, SELECT pm.seek(%s, %s, %lld).",
						pm->max_attempts, quote_literal_cstr(pm->name), quote_literal_cstr(log), (long long) position);
	}
	lane_set(pm->name, lane, status,
			 psprintf("the handler failed at position %lld of log \"%s\"", (long long) position, log),
			 hint, attempts, retry_at, true, log, position, error);
	return status == LANE_HALTED ? DT_NOEND : retry_at;
}

/*
 * The rows of a new process manager's lanes.
 */
void
lane_add(const char *manager, int lanes)
{
	static ExecStatement add_lane = {
		NULL,
		"INSERT INTO pm_catalog.lane (process_manager, lane) VALUES ($1, $2)",
		2, {TEXTOID, INT4OID}
	};
	ExecScope	scope;
	Datum		values[2];

	exec_begin_owner(&scope);
	for (int lane = 0; lane < lanes; lane++)
	{
		values[0] = CStringGetTextDatum(manager);
		values[1] = Int32GetDatum(lane);
		exec_statement(&add_lane, values, NULL);
	}
	exec_end(&scope);
}
