/*
 * rehearse.c
 *		pm.rehearse: what a handler would do, undone afterwards.
 *
 * A rehearsal is a process manager of its own: a copy of the registration in memory, with
 * another handler if one is given, under a name that no process manager can have.  Its
 * lane, cursors, instances and timers are rows like any others, but are written in a
 * subtransaction that is always rolled back.  So no row of the real process manager is
 * written or locked, and its workers continue.
 *
 * Items are handled one by one in the order of time, each in a subtransaction, and
 * pm.now() is the time of the item (catch_up_walk.c).  What the handler appends is not
 * handled: the logs are read up to where others have written them.
 *
 * The handler runs with the rights of the session's own role.  So that must be a role that
 * could register this handler.
 */
#include "pm.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/argument.h"
#include "base/exec.h"
#include "base/within.h"
#include "dispatch/blame.h"
#include "dispatch/call.h"
#include "dispatch/catch_up_unit.h"
#include "dispatch/dispatch.h"
#include "dispatch/reading.h"
#include "dispatch/rehearse_watch.h"
#include "log/highwater_ask.h"
#include "log/log_open.h"
#include "manager/cursor_change.h"
#include "manager/follow.h"
#include "manager/handler_find.h"
#include "manager/head.h"
#include "manager/lane.h"
#include "manager/timer.h"

PG_FUNCTION_INFO_V1(pm_rehearse);

/* No process manager has an empty name (register_args.c). */
#define REHEARSE_NAME ""

#define REHEARSE_MAX  10000

typedef struct Rehearsal
{
	ProcessManager pm;
	bool to_come; /* from the cursors and instances of the real process manager */
	int64 after;
	int left;
	TimestampTz until;
	RehearseWatch watch;
	MemoryContext context; /* of one item */
} Rehearsal;

/* ---------- what is rehearsed ---------- */

static void
rehearse_function(Rehearsal *rehearsal, FunctionCallInfo fcinfo)
{
	ProcessManager *pm = &rehearsal->pm;

	if (!PG_ARGISNULL(1))
		pm->handler = handler_find(text_to_cstring(PG_GETARG_TEXT_PP(1)), pm->owner, &pm->kind,
								   &pm->found_handler.registered_owner);
	else if (pm->handler == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("process manager \"%s\" has no handler", pm->name),
						errhint("Name one in handler.")));
	pm->found_handler.version = 0;
	pm->found_correlate.version = 0;
}

/*
 * Reads and checks the arguments that say which logs are rehearsed, and from where on.
 */
static void
rehearse_logs(Rehearsal *rehearsal, FunctionCallInfo fcinfo)
{
	ProcessManager *pm = &rehearsal->pm;
	Oid relid;

	rehearsal->to_come = PG_ARGISNULL(3);
	rehearsal->after = rehearsal->to_come ? 0 : PG_GETARG_INT64(3);
	if (rehearsal->after < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("after must not be negative"),
				 errhint("0 is the beginning; NULL means the events to come.")));
	if (PG_ARGISNULL(2) && rehearsal->after != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("after needs a log"),
						errhint("A position belongs to a log: name the log too.")));
	if (PG_ARGISNULL(2))
		return;
	pm->logs = list_make1(log_find(text_to_cstring(PG_GETARG_TEXT_PP(2)), &relid, false));
	/* A cursor beyond the mark would look as if the log had been set back. */
	if (rehearsal->after > 0)
		highwater_require_position(log_open_as(linitial(pm->logs), pm->owner), rehearsal->after);
}

static void
rehearse_read(Rehearsal *rehearsal, FunctionCallInfo fcinfo)
{
	ProcessManager *real;
	ProcessManager *pm = &rehearsal->pm;

	argument_not_null(fcinfo, 0, "name");
	argument_not_null(fcinfo, 4, "max_count");
	rehearsal->left = PG_GETARG_INT32(4);
	if (rehearsal->left < 1 || rehearsal->left > REHEARSE_MAX)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("max_count must be between 1 and %d", REHEARSE_MAX)));
	real = registry_get(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	registry_require_owner(real);
	*pm = *real;
	/* Another session of the role may rehearse as well. */
	pm->id = -MyProcPid;
	pm->owner = GetUserId();
	pm->lanes = 1;
	pm->former_lanes = NIL;
	pm->paused = pm->journal = pm->halt_on_failure = false;
	pm->at_home = true;
	pm->keep_ended = -1;
	rehearse_function(rehearsal, fcinfo);
	rehearse_logs(rehearsal, fcinfo);
	pm->name = pstrdup(REHEARSE_NAME);
	if (rehearsal->to_come)
		pm->origin = real->name;
}

/* ---------- its rows ---------- */

/*
 * Where the real process manager is in a log: its lane that is furthest behind.
 */
static int64
rehearse_position(ProcessManager *pm, const char *log)
{
	static ExecStatement look = {NULL,
								 "SELECT pg_catalog.min(position) FROM pm_catalog.cursor "
								 "WHERE process_manager OPERATOR(pg_catalog.=) $1 "
								 "AND log OPERATOR(pg_catalog.=) $2",
								 2,
								 {TEXTOID, TEXTOID}};
	ExecScope scope;
	Datum values[2];
	int64 position;
	bool isnull;

	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(pm->origin);
	values[1] = CStringGetTextDatum(log);
	exec_statement(&look, values, NULL);
	position = DatumGetInt64(exec_value(0, 1, &isnull));
	exec_end(&scope);
	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("process manager \"%s\" does not follow log \"%s\"", pm->origin, log),
				 errhint("Set after to a position, such as 0, to rehearse over history.")));
	return position;
}

/*
 * Copies the timers that are due, as many as can be handled.
 */
static void
rehearse_timers(Rehearsal *rehearsal)
{
	static ExecStatement copy =
		{NULL,
		 "INSERT INTO pm_catalog.timer (process_manager, lane, key, type, due, data, metadata) "
		 "SELECT $1, 0, t.key, t.type, t.due, t.data, t.metadata FROM pm_catalog.timer t "
		 "WHERE t.process_manager OPERATOR(pg_catalog.=) $2 "
		 "AND t.due OPERATOR(pg_catalog.<=) $3 ORDER BY t.due, t.id LIMIT $4",
		 4,
		 {TEXTOID, TEXTOID, TIMESTAMPTZOID, INT8OID}};
	Datum values[4];

	values[0] = CStringGetTextDatum(REHEARSE_NAME);
	values[1] = CStringGetTextDatum(rehearsal->pm.origin);
	values[2] = TimestampTzGetDatum(rehearsal->until);
	values[3] = Int64GetDatum(rehearsal->left);
	(void) exec_as_owner(&copy, values, NULL);
}

static void
rehearse_begin(Rehearsal *rehearsal)
{
	ProcessManager *pm = &rehearsal->pm;
	int64 *positions = palloc(sizeof(int64) * Max(list_length(pm->logs), 1));
	ListCell *lc;

	lane_add(REHEARSE_NAME, 0, 1);
	foreach(lc, pm->logs)
		positions[foreach_current_index(lc)] = rehearsal->to_come ?
												   rehearse_position(pm, lfirst(lc)) :
												   rehearsal->after;
	cursor_add(REHEARSE_NAME, pm->logs, positions, 1);
	if (rehearsal->to_come && pm->kind == HANDLER_INSTANCE)
		rehearse_timers(rehearsal);
	head_forget(REHEARSE_NAME, 0);
}

/* ---------- one item ---------- */

/*
 * Runs a batch of one item in a subtransaction.  Returns NULL, or the error that undid it.
 */
static ErrorData *
rehearse_try(Rehearsal *rehearsal, Progress *progress, DispatchResult *result)
{
	BatchWalk walk = {.until = rehearsal->until, .last = rehearsal->until};
	DispatchRequest request = {.pm = &rehearsal->pm,
							   .max_events = 1,
							   .leave_parked = true,
							   .view = HIGHWATER_EVERYBODY,
							   .wait = true,
							   .wait_for_logs = true,
							   .now = within_time(),
							   .raise = true,
							   .walk = &walk,
							   .watch = &rehearsal->watch.watch};
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;

	/* Nobody else can change this registration, so it is never outdated. */
	rehearsal->pm.version = registry_version();
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(rehearsal->context);
	PG_TRY();
	{
		*result = dispatch_batch(&request, progress);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(rehearsal->context);
		error = CopyErrorData();
		FlushErrorState();
		call_abandon(progress);
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	return error;
}

/*
 * Gets past an item that has failed.
 */
static void
rehearse_pass(const Handling *what)
{
	if (what->source == HANDLING_TIMER)
		(void) timer_take(what->id);
	else
		cursor_seek(REHEARSE_NAME, what->log, what->position);
	head_forget(REHEARSE_NAME, 0);
}

/*
 * Handles the next item.  False if there is none.
 */
static bool
rehearse_next(Rehearsal *rehearsal)
{
	Progress progress = {0};
	DispatchResult result = {0};
	ErrorData *error;

	rehearse_watch_begin(&rehearsal->watch);
	error = rehearse_try(rehearsal, &progress, &result);
	if (error == NULL)
	{
		rehearse_watch_put(&rehearsal->watch, &rehearsal->pm);
		return result.done > 0;
	}
	/* A cancel of the caller's statement, or a server problem, is not a result. */
	if (progress.stage == PROGRESS_PREPARE || blame_server(error->sqlerrcode) ||
		(error->sqlerrcode == ERRCODE_QUERY_CANCELED &&
		 !blame_timeout(error, &rehearsal->pm, &progress.handling)))
		ReThrowError(error);
	rehearse_watch_put_failed(&rehearsal->watch, &progress.handling, error);
	rehearse_pass(&progress.handling);
	return true;
}

static void
rehearse_run(Rehearsal *rehearsal)
{
	rehearse_begin(rehearsal);
	while (rehearsal->left-- > 0)
	{
		bool more;

		CHECK_FOR_INTERRUPTS();
		more = rehearse_next(rehearsal);
		MemoryContextReset(rehearsal->context);
		if (!more)
			break;
	}
}

/* ---------- the function ---------- */

/*
 * Undoes everything, and leaves nothing behind in this session.
 */
static void
rehearse_undo(MemoryContext caller, ResourceOwner owner)
{
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	within_clear_time();
	reading_forget();
	head_forget(REHEARSE_NAME, 0);
}

/*
 * pm.rehearse(name, handler, log, after, max_count)
 */
Datum
pm_rehearse(PG_FUNCTION_ARGS)
{
	Rehearsal rehearsal = {0};
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	catch_up_unit_require_caller("pm.rehearse");
	rehearse_read(&rehearsal, fcinfo);
	InitMaterializedSRF(fcinfo, 0);
	rehearsal.until = GetCurrentTimestamp();
	rehearsal.context = AllocSetContextCreate(caller, "pm rehearsal", ALLOCSET_DEFAULT_SIZES);
	rehearse_watch_open(&rehearsal.watch, (ReturnSetInfo *) fcinfo->resultinfo, &rehearsal.pm);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	within_set_time(DT_NOBEGIN);
	within_set_end(rehearsal.until);
	PG_TRY();
	{
		rehearse_run(&rehearsal);
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		rehearse_undo(caller, owner);
		ReThrowError(error);
	}
	PG_END_TRY();
	rehearse_undo(caller, owner);
	return (Datum) 0;
}
