/*
 * catch_up.c
 *		pm.catch_up: handling in the caller's session and transaction.
 *
 * For tests in BEGIN ... ROLLBACK, for servers without the preloaded library,
 * for a one-off from psql.  The caller's own uncommitted events are handled
 * too: the cursor moves in the same transaction.  Each batch runs in an
 * internal subtransaction, so that a failing one can be undone.
 *
 * Runs only for whom it would run in the background: the owner, undisguised.
 */
#include "pm.h"

#include "access/xact.h"
#include "cursor.h"
#include "dispatch.h"
#include "isolate.h"
#include "log.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "within.h"

PG_FUNCTION_INFO_V1(pm_catch_up);

/* Deadlocks and the like, in a unit, that do not count as failures. */
#define CATCH_UP_AT_ONCE	10

typedef struct CatchUp
{
	int64		left;			/* events that may still be handled */
	bool		raise;			/* on_failure => 'raise' */
	MemoryContext batch_context;
} CatchUp;

/*
 * Runs one batch in a subtransaction.  Returns NULL, or the error that undid
 * it.
 */
static ErrorData *
catch_up_batch(CatchUp *run, DispatchRequest *request, DispatchResult *result)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(run->batch_context);
	PG_TRY();
	{
		*result = dispatch_batch(request);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		dispatch_abandon();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	MemoryContextReset(run->batch_context);
	return error;
}

static void
catch_up_raise(ErrorData *error, ProcessManager *pm)
{
	char	   *where = DispatchCurrent.stage == STAGE_PREPARE ?
		psprintf("process manager \"%s\"", pm->name) :
		psprintf("process manager \"%s\", position %lld of log \"%s\"", pm->name,
				 (long long) DispatchCurrent.position, DispatchCurrent.log);

	error->context = error->context ? psprintf("%s\n%s", error->context, where) : where;
	ReThrowError(error);
}

/*
 * Handles what one unit has to do.  Returns the number of events.
 */
static int64
catch_up_unit(CatchUp *run, ProcessManager *pm, int lane)
{
	Isolate		isolate = {0, 0};
	int64		handled = 0;
	int			at_once = 0;

	/* In the caller's transaction: a failed batch must not give it back. */
	(void) registry_lock(pm->id, lane, false);

	while (run->left > 0)
	{
		DispatchRequest request = {pm, lane, 0, HIGHWATER_OWN, true};
		DispatchResult result;
		LaneState	state;
		ErrorData  *error;

		CHECK_FOR_INTERRUPTS();
		request.max_events = Min(run->left, isolate_limit(&isolate, pm->batch_size));
		error = catch_up_batch(run, &request, &result);
		if (error != NULL)
		{
			bool		ours = dispatch_error(error, pm);

			/* The caller's own cancel is not the handler's failure. */
			if (run->raise || (error->sqlerrcode == ERRCODE_QUERY_CANCELED && !ours))
				catch_up_raise(error, pm);
			(void) cursor_read(pm, lane, &state);
			if (dispatch_retry_at_once(error->sqlerrcode) && at_once++ < CATCH_UP_AT_ONCE)
				continue;
			if (DispatchCurrent.stage == STAGE_PREPARE)
			{
				dispatch_wait(pm, lane, &state, error);
				break;
			}
			if (!isolate_failed(&isolate, pm->kind))
				continue;
			if (dispatch_servers_fault(error->sqlerrcode))
			{
				dispatch_wait(pm, lane, &state, error);
				break;
			}
			(void) lane_fail(pm, lane, &state, DispatchCurrent.log, DispatchCurrent.position, error);
			break;
		}
		if (result.outcome == DISPATCH_STALE)
		{
			ProcessManager *again = registry_get(pm->name, true);

			if (again == NULL)
				break;
			pm = again;
			continue;
		}
		isolate_succeeded(&isolate, result.handled);
		handled += result.handled;
		run->left -= result.handled;
		if (result.outcome != DISPATCH_DONE && result.outcome != DISPATCH_MORE)
			break;
	}
	return handled;
}

/*
 * May this session run the process manager's handler?
 */
static bool
catch_up_may(ProcessManager *pm, bool named)
{
	const char *why = NULL;
	const char *hint = NULL;

	if (pm->owner != GetUserId())
	{
		if (named)
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("process manager \"%s\" can only be run by its owner", pm->name),
					 errhint("Connect as \"%s\".", pm->owner_name)));
		return false;
	}
	if (!pm->at_home)
	{
		why = "this database is a copy";
		hint = "SELECT pm.resume() adopts it; what its handlers do outside is then done twice.";
	}
	else if (pm->paused)
	{
		why = "it is paused";
		hint = "Call pm.resume first.";
	}
	if (why != NULL && named)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("process manager \"%s\" cannot run: %s", pm->name, why),
				 errhint("%s", hint)));
	return why == NULL;
}

/*
 * A unit that has halted says so when asked for by name; the others are left
 * out.
 */
static bool
catch_up_halted(ProcessManager *pm, int lane, bool named)
{
	LaneState	state;

	(void) cursor_read(pm, lane, &state);
	if (state.status != LANE_HALTED)
		return false;
	if (named)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("process manager \"%s\" has halted at position %lld of log \"%s\"", pm->name,
						(long long) state.position, state.log),
				 errhint("SELECT reason FROM pm.status tells why; pm.resume ends it.")));
	return true;
}

/*
 * Without shared memory nobody has watched the writers: give those of now some
 * time to end, so that a single call handles what is there.
 */
static void
catch_up_await(List *managers)
{
	List	   *seen = NIL;
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, managers)
		foreach(lc2, ((ProcessManager *) lfirst(lc))->logs)
	{
		PmLog	   *log = log_get(lfirst(lc2), false);

		if (log->problem != NULL || list_member_oid(seen, log->relid))
			continue;
		seen = lappend_oid(seen, log->relid);
		(void) highwater_await(log->relid, log->seqid, HIGHWATER_OWN, log->name);
	}
}

/*
 * pm.catch_up(name, as_of, max_count, on_failure)
 *
 * Goes on until there is nothing left, also of what the handlers append.
 */
Datum
pm_catch_up(PG_FUNCTION_ARGS)
{
	bool		named = !PG_ARGISNULL(0);
	CatchUp		run;
	char	   *on_failure = PG_ARGISNULL(3) ? "raise" : text_to_cstring(PG_GETARG_TEXT_PP(3));
	List	   *managers = NIL;
	List	   *all;
	ListCell   *lc;
	int64		total = 0;
	int64		handled;

	highwater_require_fresh_snapshots("pm.catch_up");
	if (within_handler())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("pm.catch_up cannot be called by a handler")));
	if (GetUserId() != GetSessionUserId() || InSecurityRestrictedOperation())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("pm.catch_up must be called by the session's own role"),
				 errhint("Not after SET ROLE, nor in a SECURITY DEFINER function.")));
	if (strcmp(on_failure, "raise") != 0 && strcmp(on_failure, "policy") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid on_failure: \"%s\"", on_failure),
				 errhint("It is 'raise' or 'policy'.")));
	run.raise = strcmp(on_failure, "raise") == 0;
	run.left = PG_ARGISNULL(2) ? PG_INT64_MAX : PG_GETARG_INT64(2);
	if (run.left < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_count must not be negative")));

	all = named ? list_make1(registry_get(text_to_cstring(PG_GETARG_TEXT_PP(0)), false)) :
		registry_load(GetUserId());
	foreach(lc, all)
		if (catch_up_may(lfirst(lc), named))
			managers = lappend(managers, lfirst(lc));
	catch_up_await(managers);

	run.batch_context = AllocSetContextCreate(CurrentMemoryContext, "pm catch up", ALLOCSET_DEFAULT_SIZES);
	if (!PG_ARGISNULL(1))
		within_set_time(PG_GETARG_TIMESTAMPTZ(1));
	PG_TRY();
	{
		do
		{
			handled = 0;
			foreach(lc, managers)
			{
				ProcessManager *pm = lfirst(lc);

				for (int lane = 0; lane < pm->lanes; lane++)
					if (!catch_up_halted(pm, lane, named && total == 0))
						handled += catch_up_unit(&run, pm, lane);
			}
			total += handled;
		} while (handled > 0 && run.left > 0);
	}
	PG_FINALLY();
	{
		within_clear_time();
	}
	PG_END_TRY();
	PG_RETURN_INT64(total);
}
