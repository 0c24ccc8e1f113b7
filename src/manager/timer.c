/*
 * timer.c
 *		Events that an instance sends to itself at a due time.
 *
 * A timer is a row until it is due.  The batch that handles it deletes it
 * first, so that what its handler sets anew is a timer of its own, and one
 * that has been cancelled or replaced meanwhile is found gone.  One that waits
 * behind a parked event is a row of pm_catalog.parked instead: what cancels,
 * replaces or ends reaches it there too.
 *
 * Only the unit's own handlers set and cancel timers, under the unit's lock.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/event.h"
#include "base/exec.h"
#include "base/key.h"
#include "base/within.h"
#include "manager/head.h"
#include "manager/lane.h"
#include "manager/timer.h"
#include "manager/timer_floor.h"

PG_FUNCTION_INFO_V1(pm_set_timer);
PG_FUNCTION_INFO_V1(pm_cancel_timer);

/* The columns of a timer, in the order that timer_form() wants. */
#define TIMER_COLUMNS "id, key, type, due, data, metadata"

/* What has been set since timer_begin(): the earliest, and the ids of those that are due already.
 */
static bool was_set = false;
static TimestampTz earliest_set;
static int64 *due_ids = NULL;
static int ndue = 0;
static int max_due = 0;

/*
 * The timer in a row of the last result, in the current memory context.
 */
static void *
timer_form(uint64 row)
{
	Timer *timer = palloc0(sizeof(Timer));
	EventFields fields;
	bool isnull;

	timer->id = DatumGetInt64(exec_value(row, 1, &isnull));
	timer->key = exec_text(row, 2);
	timer->type = exec_text(row, 3);
	timer->due = DatumGetTimestampTz(exec_value(row, 4, &isnull));
	memset(fields.nulls, false, sizeof(fields.nulls));
	fields.nulls[EVENT_LOG - 1] = fields.nulls[EVENT_POSITION - 1] =
		fields.nulls[EVENT_VERSION - 1] = true;
	fields.values[EVENT_STREAM - 1] = exec_value(row, 2, &isnull);
	fields.values[EVENT_TYPE - 1] = exec_value(row, 3, &isnull);
	fields.values[EVENT_RECORDED_AT - 1] = TimestampTzGetDatum(timer->due);
	fields.values[EVENT_DATA - 1] = exec_value(row, 5, &isnull);
	fields.values[EVENT_METADATA - 1] = exec_value(row, 6, &isnull);
	timer->event = event_form(&fields);
	return timer;
}

/*
 * Timers that are due, the earliest first.
 */
List *
timer_read(ProcessManager *pm, int lane, TimestampTz now, int limit)
{
	static ExecStatement select_timers =
		{NULL,
		 "SELECT " TIMER_COLUMNS
		 " FROM pm_catalog.timer WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		 "AND lane OPERATOR(pg_catalog.=) $2 AND due OPERATOR(pg_catalog.<=) $3 "
		 "AND ROW(due, id) OPERATOR(pg_catalog.>=) ROW($5, $6) ORDER BY due, id LIMIT $4",
		 6,
		 {TEXTOID, INT4OID, TIMESTAMPTZOID, INT8OID, TIMESTAMPTZOID, INT8OID}};
	HeadPoint from = head_timer_from(pm->name, lane);
	Datum values[6];

	values[0] = CStringGetTextDatum(pm->name);
	values[1] = Int32GetDatum(lane);
	values[2] = TimestampTzGetDatum(now);
	values[3] = Int64GetDatum(limit);
	values[4] = TimestampTzGetDatum(from.time);
	values[5] = Int64GetDatum(from.id);
	return exec_list(&select_timers, values, NULL, timer_form);
}

/*
 * A timer by its id, or NULL.
 */
Timer *
timer_get(ProcessManager *pm, int64 id)
{
	static ExecStatement select_timer =
		{NULL,
		 "SELECT " TIMER_COLUMNS " FROM pm_catalog.timer "
		 "WHERE process_manager OPERATOR(pg_catalog.=) $1 AND id OPERATOR(pg_catalog.=) $2",
		 2,
		 {TEXTOID, INT8OID}};
	Datum values[2];
	List *timers;

	values[0] = CStringGetTextDatum(pm->name);
	values[1] = Int64GetDatum(id);
	timers = exec_list(&select_timer, values, NULL, timer_form);
	return timers == NIL ? NULL : linitial(timers);
}

/*
 * Deletes a timer in order to handle it.  False if it is gone.
 */
bool
timer_take(int64 id)
{
	static ExecStatement delete_timer =
		{NULL, "DELETE FROM pm_catalog.timer WHERE id OPERATOR(pg_catalog.=) $1", 1, {INT8OID}};
	Datum values[1] = {Int64GetDatum(id)};

	return exec_as_owner(&delete_timer, values, NULL) > 0;
}

/*
 * Deletes a key's timers of a type, or all (0), where they are parked.
 */
static bool
timer_remove_parked(const char *manager, int lane, const char *key, Datum type)
{
	static ExecStatement delete_parked =
		{NULL,
		 "DELETE FROM pm_catalog.parked WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		 "AND lane OPERATOR(pg_catalog.=) $4 AND key OPERATOR(pg_catalog.=) $2 "
		 "AND log IS NULL AND ($3 IS NULL OR type OPERATOR(pg_catalog.=) $3)",
		 4,
		 {TEXTOID, TEXTOID, TEXTOID, INT4OID}};
	Datum values[4];
	char nulls[4] = {' ', ' ', type ? ' ' : 'n', ' '};

	/* The lane has been read when the batch began: this says that nothing is parked. */
	if (head_parked_from(manager, lane) == PG_INT64_MAX)
		return false;
	values[0] = CStringGetTextDatum(manager);
	values[1] = CStringGetTextDatum(key);
	values[2] = type;
	values[3] = Int32GetDatum(lane);
	return exec_as_owner(&delete_parked, values, nulls) > 0;
}

/*
 * Deletes a key's timer of a type, or all (0), wherever it is.
 */
static bool
timer_remove(const char *manager, int lane, const char *key, Datum type)
{
	static ExecStatement delete_timer = {
		NULL,
		"DELETE FROM pm_catalog.timer WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		"AND key OPERATOR(pg_catalog.=) $2 AND type OPERATOR(pg_catalog.=) $3 AND id OPERATOR(pg_catalog.>=) $4",
		4,
		{TEXTOID, TEXTOID, TEXTOID, INT8OID}};
	static ExecStatement delete_timers =
		{NULL,
		 "DELETE FROM pm_catalog.timer WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		 "AND key OPERATOR(pg_catalog.=) $2",
		 2,
		 {TEXTOID, TEXTOID}};
	Datum values[4];
	bool removed = timer_remove_parked(manager, lane, key, type);

	values[0] = CStringGetTextDatum(manager);
	values[1] = CStringGetTextDatum(key);
	if (type != (Datum) 0)
	{
		values[2] = type;
		values[3] = Int64GetDatum(timer_floor(manager, key, type));
	}
	return exec_as_owner(type != (Datum) 0 ? &delete_timer : &delete_timers, values, NULL) > 0 ||
		   removed;
}

/*
 * An instance has ended: its timers go with it.
 */
void
timer_end(ProcessManager *pm, int lane, const char *key)
{
	(void) timer_remove(pm->name, lane, key, (Datum) 0);
}

bool
timer_exists(ProcessManager *pm, const char *key)
{
	static ExecStatement any_timer = {
		NULL,
		"SELECT FROM pm_catalog.timer WHERE process_manager OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) $2 LIMIT 1",
		2,
		{TEXTOID, TEXTOID}};
	Datum values[2];

	values[0] = CStringGetTextDatum(pm->name);
	values[1] = CStringGetTextDatum(key);
	return exec_as_owner(&any_timer, values, NULL) > 0;
}

/*
 * From here on timer_was_set() counts.
 */
void
timer_begin(void)
{
	was_set = false;
	ndue = 0;
}

/*
 * Has a handler set a timer?  It may have undone that since, in a
 * subtransaction.
 */
bool
timer_was_set(TimestampTz *earliest)
{
	*earliest = earliest_set;
	return was_set;
}

/*
 * The timers that have been set and are due already, in the order of setting.
 */
int
timer_set_due(int64 **ids)
{
	*ids = due_ids;
	return ndue;
}

static void
timer_note(int64 id, TimestampTz due)
{
	earliest_set = was_set ? Min(earliest_set, due) : due;
	was_set = true;
	if (due > within_time())
		return;
	if (ndue == max_due)
	{
		max_due = Max(64, max_due * 2);
		due_ids = due_ids == NULL ?
					  MemoryContextAllocHuge(TopMemoryContext, sizeof(int64) * max_due) :
					  repalloc_huge(due_ids, sizeof(int64) * max_due);
	}
	due_ids[ndue++] = id;
}

/* ---------- what handlers call ---------- */

static void
timer_check_type(FunctionCallInfo fcinfo)
{
	text *type = PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0);

	if (type == NULL)
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("type must not be null")));
	if (VARSIZE_ANY_EXHDR(type) == 0 || VARSIZE_ANY_EXHDR(type) > KEY_MAX)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid type of a timer"),
						errdetail("It has 1 to %d bytes.", KEY_MAX)));
}

/*
 * pm.set_timer(type, due, data)
 */
Datum
pm_set_timer(PG_FUNCTION_ARGS)
{
	static ExecStatement insert_timer =
		{NULL,
		 "INSERT INTO pm_catalog.timer (process_manager, lane, key, type, due, data, metadata) "
		 "VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id",
		 7,
		 {TEXTOID, INT4OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, JSONBOID, JSONBOID}};
	int lane;
	const char *key = within_instance("pm.set_timer", &lane);
	TimestampTz due;
	TimestampTz own_due;
	int64 id;
	bool isnull;
	ExecScope scope;
	Datum values[7];

	exec_require_writable("pm.set_timer");
	timer_check_type(fcinfo);
	if (PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("due must not be null")));
	due = PG_GETARG_TIMESTAMPTZ(1);
	if (TIMESTAMP_NOT_FINITE(due))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("due must be finite"),
						errhint("pm.cancel_timer takes a timer away.")));

	/*
	 * A timer that sets one for the same time or before would keep time from
	 * moving on, and all that is recorded later from being handled; and
	 * pm.catch_up from ending.
	 */
	if (within_timer(&own_due) && due <= own_due)
		due = Max(due, within_time() + 1);
	if (!IS_VALID_TIMESTAMP(due))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("timestamp out of range"),
				 errdetail("A timer that a timer sets is due later than that.")));

	/* The one that is being handled has gone, and this call has set none so far. */
	if (was_set || !within_is_timer(PG_GETARG_TEXT_PP(0)))
		(void) timer_remove(within_manager(), lane, key, PG_GETARG_DATUM(0));
	values[0] = CStringGetTextDatum(within_manager());
	values[1] = Int32GetDatum(lane);
	values[2] = CStringGetTextDatum(key);
	values[3] = PG_GETARG_DATUM(0);
	values[4] = TimestampTzGetDatum(due);
	values[5] = PG_ARGISNULL(2) ? DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")) :
								  PG_GETARG_DATUM(2);
	values[6] = within_cause(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
	exec_begin_owner(&scope);
	exec_statement(&insert_timer, values, NULL);
	id = DatumGetInt64(exec_value(0, 1, &isnull));
	exec_end(&scope);
	timer_floor_raise(within_manager(), key, PG_GETARG_DATUM(0), id);
	head_add_timer(within_manager(), lane, due, id);
	lane_touch(within_manager(), lane);
	timer_note(id, due);
	PG_RETURN_VOID();
}

/*
 * pm.cancel_timer(type)
 */
Datum
pm_cancel_timer(PG_FUNCTION_ARGS)
{
	int lane;
	const char *key = within_instance("pm.cancel_timer", &lane);

	exec_require_writable("pm.cancel_timer");
	timer_check_type(fcinfo);
	PG_RETURN_BOOL(timer_remove(within_manager(), lane, key, PG_GETARG_DATUM(0)));
}
