/*
 * timer.c
 *		Timers: events that an instance sends to itself at a due time.
 *
 * A timer is a row of pm_catalog.timer until it is handled.  The batch that
 * handles it deletes it first.  So a timer of the same type that its handler
 * sets is another timer, and a timer that was canceled or replaced in between
 * is not handled.  A timer of a key with a parked event is a row of
 * pm_catalog.parked instead, and is canceled, replaced and ended there.
 *
 * Assumes that only the unit's own handlers set and cancel timers, while the
 * batch holds the unit's lock.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/argument.h"
#include "base/effect.h"
#include "base/event.h"
#include "base/exec.h"
#include "base/key.h"
#include "base/version.h"
#include "base/within.h"
#include "manager/consumer_key.h"
#include "manager/head.h"
#include "manager/lane.h"
#include "manager/timer.h"
#include "manager/timer_floor.h"
#include "shmem/wakeup.h"

PG_FUNCTION_INFO_V1(pm_set_timer);
PG_FUNCTION_INFO_V1(pm_cancel_timer);

/*
 * The columns of a timer, in the order that timer_form() expects.  The table also has the
 * events that were sent to instances (sent.c).  Version 0.1.0 of the extension has none,
 * and no such column, so there are two of each statement: without, and with it.
 */
#define TIMER_COLUMNS(sent) "id, key, type, due, data, metadata, " sent
#define TIMER_KNOWS_SENT	version_has("0.2.0")

/* The timers set since timer_begin(): the earliest, and the ids of those that were due. */
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
	/* As an event, a timer belongs to no log, and its key is its stream. */
	fields.nulls[EVENT_LOG - 1] = fields.nulls[EVENT_POSITION - 1] =
		fields.nulls[EVENT_VERSION - 1] = true;
	fields.values[EVENT_STREAM - 1] = exec_value(row, 2, &isnull);
	fields.values[EVENT_TYPE - 1] = exec_value(row, 3, &isnull);
	fields.values[EVENT_RECORDED_AT - 1] = TimestampTzGetDatum(timer->due);
	fields.values[EVENT_DATA - 1] = exec_value(row, 5, &isnull);
	fields.values[EVENT_METADATA - 1] = exec_value(row, 6, &isnull);
	if (DatumGetBool(exec_value(row, 7, &isnull)))
	{
		fields.nulls[EVENT_VERSION - 1] = false;
		fields.values[EVENT_VERSION - 1] = Int64GetDatum(0);
	}
	timer->event = event_form(&fields);
	return timer;
}

#define TIMER_SELECT_DUE(sent)                                                                     \
	"SELECT " TIMER_COLUMNS(                                                                       \
		sent) " FROM pm_catalog.timer WHERE process_manager OPERATOR(pg_catalog.=) $1 "            \
			  "AND lane OPERATOR(pg_catalog.=) $2 AND due OPERATOR(pg_catalog.<=) $3 "             \
			  "AND ROW(due, id) OPERATOR(pg_catalog.>=) ROW($5, $6) ORDER BY due, id LIMIT $4"

List *
timer_read(ProcessManager *pm, int lane, TimestampTz now, int limit)
{
	static ExecStatement select_timers[] = {
		{NULL,
		 TIMER_SELECT_DUE("false"),
		 6,
		 {TEXTOID, INT4OID, TIMESTAMPTZOID, INT8OID, TIMESTAMPTZOID, INT8OID}},
		{NULL,
		 TIMER_SELECT_DUE("sent"),
		 6,
		 {TEXTOID, INT4OID, TIMESTAMPTZOID, INT8OID, TIMESTAMPTZOID, INT8OID}},
	};
	HeadPoint from = head_timer_from(pm->name, lane);
	Datum values[6];

	exec_unit_args(values, pm->name, lane);
	values[2] = TimestampTzGetDatum(now);
	values[3] = Int64GetDatum(limit);
	values[4] = TimestampTzGetDatum(from.time);
	values[5] = Int64GetDatum(from.id);
	return exec_list(&select_timers[TIMER_KNOWS_SENT], values, NULL, timer_form);
}

#define TIMER_SELECT_ONE(sent)                                                                     \
	"SELECT " TIMER_COLUMNS(                                                                       \
		sent) " FROM pm_catalog.timer WHERE process_manager OPERATOR(pg_catalog.=) $1 "            \
			  "AND id OPERATOR(pg_catalog.=) $2"

Timer *
timer_get(ProcessManager *pm, int64 id)
{
	static ExecStatement select_timer[] = {
		{NULL, TIMER_SELECT_ONE("false"), 2, {TEXTOID, INT8OID}},
		{NULL, TIMER_SELECT_ONE("sent"), 2, {TEXTOID, INT8OID}},
	};
	Datum values[2];
	List *timers;

	values[0] = CStringGetTextDatum(pm->name);
	values[1] = Int64GetDatum(id);
	timers = exec_list(&select_timer[TIMER_KNOWS_SENT], values, NULL, timer_form);
	return timers == NIL ? NULL : linitial(timers);
}

bool
timer_take(int64 id)
{
	static ExecStatement delete_timer =
		{NULL, "DELETE FROM pm_catalog.timer WHERE id OPERATOR(pg_catalog.=) $1", 1, {INT8OID}};
	Datum values[1] = {Int64GetDatum(id)};

	return exec_as_owner(&delete_timer, values, NULL) > 0;
}

/*
 * Deletes parked timers of a key: those of a type, or all (0).
 */
static bool
timer_remove_parked(const char *manager, int lane, const char *key, Datum type)
{
	static ExecStatement delete_parked =
		{NULL,
		 "DELETE FROM pm_catalog.parked WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		 "AND lane OPERATOR(pg_catalog.=) $4 AND key OPERATOR(pg_catalog.=) $2 "
		 "AND log IS NULL AND version IS NULL "
		 "AND ($3 IS NULL OR type OPERATOR(pg_catalog.=) $3)",
		 4,
		 {TEXTOID, TEXTOID, TEXTOID, INT4OID}};
	Datum values[4];
	char nulls[4] = {' ', ' ', type ? ' ' : 'n', ' '};

	/* The batch has called head_parked(), and nothing is parked: skip the statement. */
	if (head_parked_from(manager, lane) == PG_INT64_MAX)
		return false;
	values[0] = CStringGetTextDatum(manager);
	values[1] = CStringGetTextDatum(key);
	values[2] = type;
	values[3] = Int32GetDatum(lane);
	return exec_as_owner(&delete_parked, values, nulls) > 0;
}

#define TIMER_NOT_SENT " AND NOT sent"

#define TIMER_DELETE_TYPE(more)                                                                    \
	"DELETE FROM pm_catalog.timer WHERE process_manager OPERATOR(pg_catalog.=) $1 "                \
	"AND key OPERATOR(pg_catalog.=) $2 AND type OPERATOR(pg_catalog.=) $3 "                        \
	"AND id OPERATOR(pg_catalog.>=) $4" more

#define TIMER_DELETE_KEY(more)                                                                     \
	"DELETE FROM pm_catalog.timer WHERE process_manager OPERATOR(pg_catalog.=) $1 "                \
	"AND key OPERATOR(pg_catalog.=) $2" more

#define TIMER_ANY(more)                                                                            \
	"SELECT FROM pm_catalog.timer WHERE process_manager OPERATOR(pg_catalog.=) $1 "                \
	"AND key OPERATOR(pg_catalog.=) $2" more " LIMIT 1"

/*
 * Deletes timers of a key, parked or not: that of a type, or all (0).
 */
static bool
timer_remove(const char *manager, int lane, const char *key, Datum type)
{
	static ExecStatement delete_timer[] = {
		{NULL, TIMER_DELETE_TYPE(""), 4, {TEXTOID, TEXTOID, TEXTOID, INT8OID}},
		{NULL, TIMER_DELETE_TYPE(TIMER_NOT_SENT), 4, {TEXTOID, TEXTOID, TEXTOID, INT8OID}},
	};
	static ExecStatement delete_timers[] = {
		{NULL, TIMER_DELETE_KEY(""), 2, {TEXTOID, TEXTOID}},
		{NULL, TIMER_DELETE_KEY(TIMER_NOT_SENT), 2, {TEXTOID, TEXTOID}},
	};
	int sent = TIMER_KNOWS_SENT;
	Datum values[4];
	bool removed = timer_remove_parked(manager, lane, key, type);

	values[0] = CStringGetTextDatum(manager);
	values[1] = CStringGetTextDatum(key);
	if (type != (Datum) 0)
	{
		values[2] = type;
		values[3] = Int64GetDatum(timer_floor(manager, key, type));
	}
	return exec_as_owner(type != (Datum) 0 ? &delete_timer[sent] : &delete_timers[sent], values,
						 NULL) > 0 ||
		   removed;
}

void
timer_end(ProcessManager *pm, int lane, const char *key)
{
	(void) timer_remove(pm->name, lane, key, (Datum) 0);
}

bool
timer_exists(ProcessManager *pm, const char *key)
{
	static ExecStatement any_timer[] = {
		{NULL, TIMER_ANY(""), 2, {TEXTOID, TEXTOID}},
		{NULL, TIMER_ANY(TIMER_NOT_SENT), 2, {TEXTOID, TEXTOID}},
	};
	Datum values[2];

	values[0] = CStringGetTextDatum(pm->name);
	values[1] = CStringGetTextDatum(key);
	return exec_as_owner(&any_timer[TIMER_KNOWS_SENT], values, NULL) > 0;
}

void
timer_begin(void)
{
	was_set = false;
	ndue = 0;
}

bool
timer_was_set(TimestampTz *earliest)
{
	*earliest = earliest_set;
	return was_set;
}

int
timer_set_due(int64 **ids)
{
	*ids = due_ids;
	return ndue;
}

/*
 * Remembers a timer that has been set.
 */
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
	text *type;

	argument_not_null(fcinfo, 0, "type");
	type = PG_GETARG_TEXT_PP(0);
	if (VARSIZE_ANY_EXHDR(type) == 0 || VARSIZE_ANY_EXHDR(type) > KEY_MAX)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid timer type"),
						errdetail("A type has 1 to %d bytes.", KEY_MAX)));
}

/*
 * When the timer that pm.set_timer sets is due.
 */
static TimestampTz
timer_due_argument(FunctionCallInfo fcinfo)
{
	TimestampTz due;
	TimestampTz own_due;

	argument_not_null(fcinfo, 1, "due");
	due = PG_GETARG_TIMESTAMPTZ(1);
	if (TIMESTAMP_NOT_FINITE(due))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("due must be finite"),
						errhint("To remove a timer, call pm.cancel_timer.")));

	/*
	 * If the handler of a timer set one for the same time or an earlier one, that
	 * would be handled next, and so on: events recorded later would never be
	 * handled, and pm.catch_up would not end.
	 */
	if (within_timer(&own_due) && due <= own_due)
		due = Max(due, within_end() + 1);
	if (!IS_VALID_TIMESTAMP(due))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("timestamp out of range"),
				 errdetail("A timer that is set while a timer is handled must be due later than "
						   "that timer.")));
	return due;
}

/*
 * Adds a row, and returns its id.
 */
static int64
timer_insert(const char *manager, int lane, const char *key, Datum type, TimestampTz due,
			 Datum data)
{
	static ExecStatement insert_timer =
		{NULL,
		 "INSERT INTO pm_catalog.timer (process_manager, lane, key, type, due, data, metadata) "
		 "VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id",
		 7,
		 {TEXTOID, INT4OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, JSONBOID, JSONBOID}};
	ExecScope scope;
	Datum values[7];
	int64 id;
	bool isnull;

	values[0] = CStringGetTextDatum(manager);
	values[1] = Int32GetDatum(lane);
	values[2] = CStringGetTextDatum(key);
	values[3] = type;
	values[4] = TimestampTzGetDatum(due);
	values[5] = data;
	values[6] = within_cause(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
	exec_begin_owner(&scope);
	exec_statement(&insert_timer, values, NULL);
	id = DatumGetInt64(exec_value(0, 1, &isnull));
	exec_end(&scope);
	return id;
}

/*
 * Sets the timer that the arguments of a call describe, for an instance.
 */
static int64
timer_set(FunctionCallInfo fcinfo, const char *manager, int lane, const char *key, TimestampTz due)
{
	Datum data = PG_ARGISNULL(2) ? DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")) :
								   PG_GETARG_DATUM(2);
	int64 id = timer_insert(manager, lane, key, PG_GETARG_DATUM(0), due, data);

	timer_floor_raise(manager, key, PG_GETARG_DATUM(0), id);
	head_add_timer(manager, lane, due, id);
	lane_touch(manager, lane);
	return id;
}

/*
 * Is the call one of a consumer, which names a process manager?  Version 0.1.0 of the
 * extension has no such arguments.
 */
static bool
timer_by_consumer(FunctionCallInfo fcinfo, int name)
{
	if (PG_NARGS() <= name)
		return false;
	if (PG_ARGISNULL(name) && !(PG_ARGISNULL(name + 1) && PG_ARGISNULL(name + 2)))
		argument_not_null(fcinfo, name, "name");
	return !PG_ARGISNULL(name);
}

/*
 * pm.set_timer(type, due, data, name, consumer, key), called by a consumer
 */
static void
timer_set_by_consumer(FunctionCallInfo fcinfo)
{
	ConsumerInstance instance;
	TimestampTz due;
	const char *manager;

	timer_check_type(fcinfo);
	due = timer_due_argument(fcinfo);
	consumer_key_begin(&instance, fcinfo, "pm.set_timer", 3, 4, 5);
	manager = instance.call.pm->name;
	if (!instance.key->live)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("process manager \"%s\" has no instance with this key", manager),
				 errhint(
					 "Call pm.save first: it begins the instance to which the timer belongs.")));
	(void) timer_remove(manager, instance.lane, instance.key->name, PG_GETARG_DATUM(0));
	(void) timer_set(fcinfo, manager, instance.lane, instance.key->name, due);
	wakeup_fetchers(instance.call.pm->id);
}

/*
 * pm.set_timer(type, due, data, name, consumer, key)
 */
Datum
pm_set_timer(PG_FUNCTION_ARGS)
{
	int lane;
	const char *key;
	TimestampTz due;
	int64 id;

	if (timer_by_consumer(fcinfo, 3))
	{
		timer_set_by_consumer(fcinfo);
		PG_RETURN_VOID();
	}
	key = within_instance("pm.set_timer", &lane);
	exec_require_writable("pm.set_timer");
	timer_check_type(fcinfo);
	due = timer_due_argument(fcinfo);

	/*
	 * The timer that this call handles has been deleted already.  If the call
	 * sets it again and has set no other, there is nothing to replace.
	 */
	if (was_set || !within_is_timer(PG_GETARG_TEXT_PP(0)))
		(void) timer_remove(within_manager(), lane, key, PG_GETARG_DATUM(0));
	id = timer_set(fcinfo, within_manager(), lane, key, due);
	timer_note(id, due);
	effect_timer(PG_GETARG_DATUM(0), due);
	PG_RETURN_VOID();
}

/*
 * pm.cancel_timer(type, name, consumer, key)
 */
Datum
pm_cancel_timer(PG_FUNCTION_ARGS)
{
	int lane;
	const char *key;

	if (timer_by_consumer(fcinfo, 1))
	{
		ConsumerInstance instance;

		timer_check_type(fcinfo);
		consumer_key_begin(&instance, fcinfo, "pm.cancel_timer", 1, 2, 3);
		PG_RETURN_BOOL(timer_remove(instance.call.pm->name, instance.lane, instance.key->name,
									PG_GETARG_DATUM(0)));
	}
	key = within_instance("pm.cancel_timer", &lane);
	exec_require_writable("pm.cancel_timer");
	timer_check_type(fcinfo);
	PG_RETURN_BOOL(timer_remove(within_manager(), lane, key, PG_GETARG_DATUM(0)));
}
