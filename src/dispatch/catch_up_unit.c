/*
 * catch_up_unit.c
 *		Runs one unit for pm.catch_up, in the caller's transaction.
 *
 * Each batch runs in an internal subtransaction, so that a batch that fails can
 * be undone.  The lock of the unit belongs to the transaction itself.
 */
#include "pm.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "base/exec.h"
#include "base/within.h"
#include "dispatch/blame.h"
#include "dispatch/call.h"
#include "dispatch/catch_up_unit.h"
#include "dispatch/dispatch.h"
#include "log/highwater_ask.h"
#include "manager/lane.h"
#include "manager/manager_lock.h"
#include "shmem/handling.h"

/* ---------- may it run? ---------- */

/*
 * Raises an error unless the session's own role calls: a handler must not be
 * able to switch to another role.
 */
void
catch_up_unit_require_caller(const char *function)
{
	highwater_require_fresh_snapshots(function);
	exec_require_writable(function);
	if (within_handler())
		ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
						errmsg("%s cannot be called by a handler", function)));
	if (GetUserId() != GetAuthenticatedUserId() || GetUserId() != GetSessionUserId() ||
		InSecurityRestrictedOperation())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("%s must be called by the session's own role", function),
				 errhint("Connect as that role, and call it neither after SET ROLE or SET SESSION "
						 "AUTHORIZATION nor in a SECURITY DEFINER function.")));
}

bool
catch_up_unit_may_run(ProcessManager *pm, bool named)
{
	if (pm->owner == GetUserId() && pm->at_home && !pm->paused && pm->handler != NULL)
		return true;
	if (!named)
		return false;
	if (pm->handler == NULL)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("process manager \"%s\" has no handler", pm->name),
						errhint("Its consumers get its events with pm.fetch.")));
	if (pm->owner != GetUserId())
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("process manager \"%s\" can only be run by its owner", pm->name),
						errhint("Connect as \"%s\".", pm->owner_name)));
	if (!pm->at_home)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("process manager \"%s\" cannot run: this database is a copy", pm->name),
				 errhint(
					 "SELECT pm.resume() adopts it; what its handlers do outside the database is "
					 "then done twice.")));
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("process manager \"%s\" cannot run: it is paused", pm->name),
					errhint("Call pm.resume first.")));
}

/*
 * Has the unit halted?  That is an error if its process manager was named.
 */
static bool
catch_up_unit_halted(ProcessManager *pm, int lane, bool named)
{
	LaneState state;

	lane_state(pm, lane, &state);
	if (state.status == LANE_HALTED && named)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 state.log == NULL ?
					 errmsg("process manager \"%s\" has halted", pm->name) :
					 errmsg("process manager \"%s\" has halted at position %lld of log \"%s\"",
							pm->name, (long long) state.position, state.log),
				 errhint("SELECT reason FROM pm.status tells why; pm.resume ends it.")));
	return state.status == LANE_HALTED;
}

/*
 * Loads the process manager as it is now; NULL if it does not exist any more,
 * or has no such lane.  Another one may have taken its name.
 */
static ProcessManager *
catch_up_unit_reload(ProcessManager *pm, int lane)
{
	ProcessManager *again = registry_get(pm->name, true);

	if (again == NULL || again->id != pm->id || again->owner != pm->owner || lane >= again->lanes)
		return NULL;
	return again;
}

/*
 * Locks a unit in the caller's transaction, because a failed batch must not
 * release the lock.  While this session waited for the lock, the process manager
 * may have been paused, halted or registered again, so all of that is checked
 * afterwards.  False if the unit must not be run.
 */
static bool
catch_up_unit_lock(ProcessManager **manager, int lane, bool named)
{
	ProcessManager *again = *manager;

	/* This transaction may hold the locks of other units: the queue lock prevents a deadlock. */
	manager_lock_queue(again->id);
	(void) manager_lock_unit(again->id, lane, false);
	if (registry_version() != again->version)
	{
		again = catch_up_unit_reload(*manager, lane);
		if (again == NULL && named)
			(void) registry_get((*manager)->name, false);
		if (again == NULL || !catch_up_unit_may_run(again, named))
			return false;
		*manager = again;
	}
	return !catch_up_unit_halted(again, lane, named);
}

/* ---------- a batch ---------- */

/*
 * Runs one batch in a subtransaction.  Returns NULL, or the error that undid it;
 * then *progress says where it was.
 */
static ErrorData *
catch_up_unit_try(CatchUp *run, const DispatchRequest *request, Progress *progress,
				  DispatchResult *result)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(run->batch_context);
	PG_TRY();
	{
		*result = dispatch_batch(request, progress);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		/* Do this first, because the handler's timeout must not interrupt the rollback. */
		call_abandon(progress);
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	MemoryContextReset(run->batch_context);
	return error;
}

/*
 * Raises the error that has undone a batch.  If a handler ran, the context says
 * for which item (call_context.c).
 */
COMPAT_NORETURN static void
catch_up_unit_raise(ErrorData *error, ProcessManager *pm, const Progress *progress)
{
	if (progress->stage == PROGRESS_PREPARE)
	{
		char *where = psprintf("process manager \"%s\"", pm->name);

		error->context = error->context ? psprintf("%s\n%s", error->context, where) : where;
	}
	ReThrowError(error);
}

/*
 * Was the error a conflict, which does not count as a failure?  Then the batch is
 * tried again, in parts.
 */
static bool
catch_up_unit_conflict(CatchUpUnit *unit, const ErrorData *error, const Progress *progress)
{
	int bound = blame_conflicts(error->sqlerrcode);

	if (bound == 0)
		return false;
	if (!isolate_conflict(&unit->isolate, progress) && unit->conflicts++ >= bound)
		return false;
	lane_conflicts(unit->pm->name, unit->lane, 1);
	return true;
}

/*
 * Called when a batch was undone by an error.  Returns whether the unit can
 * continue.
 */
static bool
catch_up_unit_failed(CatchUpUnit *unit, ErrorData *error, const Progress *progress)
{
	CatchUp *run = unit->run;
	ProcessManager *pm = unit->pm;
	const Handling *what = &progress->handling;
	bool timed_out = blame_timeout(error, pm, what);
	bool deferred = failure_of(error).kind == FAILURE_DEFERRED;
	LaneState state;

	/* Neither a cancel of the caller's statement nor a deferral is a failure of the handler. */
	if ((run->raise && !deferred) || (error->sqlerrcode == ERRCODE_QUERY_CANCELED && !timed_out))
		catch_up_unit_raise(error, pm, progress);
	lane_state(pm, unit->lane, &state);
	if (catch_up_unit_conflict(unit, error, progress))
		return true;
	/* No handler ran, so something outside is wrong, and another batch would fail too. */
	if (progress->stage == PROGRESS_PREPARE)
	{
		unit->stopped = true;
		blame_wait(pm, unit->lane, &state, error, NULL);
		return false;
	}
	/* If the failed item was not alone, search for it first. */
	if (!isolate_failed(&unit->isolate, progress, pm->kind))
		return true;
	run->changed = true;
	if (blame_server(error->sqlerrcode))
	{
		blame_wait(pm, unit->lane, &state, error, what);
		unit->stopped = what->source != HANDLING_PARKED;
		return !unit->stopped;
	}
	unit->conflicts = 0;
	if (blame(pm, what, error, BLAME_ERROR) != 0)
		return false;
	/*
	 * The event was parked.  That counts, because the call continues until nothing is
	 * handled, parked or skipped.
	 */
	unit->done++;
	return true;
}

/*
 * Called when a batch succeeded.  Returns whether there may be more to do.
 */
static bool
catch_up_unit_succeeded(CatchUpUnit *unit, const DispatchResult *result)
{
	CatchUp *run = unit->run;

	if (result->outcome == DISPATCH_DELIVERED)
		return true;
	unit->next = result->due;
	/* A unit that is stopped does nothing with its next event. */
	unit->next_known = result->next_known || result->outcome == DISPATCH_BUSY ||
					   result->outcome == DISPATCH_STOPPED;
	if (result->next_known && result->outcome != DISPATCH_STOPPED)
		unit->next = Min(unit->next, result->next);
	if (unit->walk != NULL && unit->walk->look)
		return false;
	isolate_succeeded(&unit->isolate, result, unit->pm->batch_size);
	/*
	 * If the batch left out the parked events, it says nothing about the one that had
	 * the conflict.
	 */
	if (!unit->leave_parked)
		unit->conflicts = 0;
	unit->leave_parked = result->parked;
	unit->done += result->done;
	run->handled += result->handled;
	run->left -= result->handled;
	run->changed |= result->earlier;
	return result->outcome == DISPATCH_DONE || result->outcome == DISPATCH_MORE;
}

bool
catch_up_unit_next(CatchUpUnit *unit)
{
	CatchUp *run = unit->run;
	ProcessManager *pm = unit->pm;
	bool look = unit->walk != NULL && unit->walk->look;
	int max_events = isolate_limit(&unit->isolate, pm->batch_size);
	int max_parked = isolate_limit_parked(&unit->isolate, pm->batch_size);
	DispatchRequest request = {.pm = pm,
							   .lane = unit->lane,
							   .max_events = Min(run->left, max_events),
							   .max_parked = (int) Min(run->left, max_parked),
							   .leave_parked = unit->leave_parked || look,
							   .separate = isolate_separate(&unit->isolate),
							   .view = HIGHWATER_OWN,
							   .wait = true,
							   .wait_for_logs = run->named,
							   .now = run->now,
							   .sent = true,
							   .raise = run->raise,
							   .parked_since = run->parked_since,
							   .walk = unit->walk};
	DispatchResult result = {0};
	Progress progress = {0};
	ErrorData *error = catch_up_unit_try(run, &request, &progress, &result);

	unit->failed = error != NULL;
	unit->next_known = false;
	if (error != NULL)
	{
		bool more = catch_up_unit_failed(unit, error, &progress);

		/* A parked event that failed does not keep the logs waiting. */
		unit->leave_parked = progress.handling.source == HANDLING_PARKED;
		return more;
	}
	if (result.outcome == DISPATCH_STALE)
	{
		ProcessManager *again = catch_up_unit_reload(pm, unit->lane);

		if (again != NULL)
			unit->pm = again;
		unit->stopped = again == NULL;
		return again != NULL;
	}
	return catch_up_unit_succeeded(unit, &result);
}

bool
catch_up_unit_begin(CatchUpUnit *unit, bool named)
{
	return catch_up_unit_lock(&unit->pm, unit->lane, named);
}

int64
catch_up_unit(CatchUp *run, ProcessManager **manager, int lane, bool named)
{
	CatchUpUnit unit = {.run = run, .lane = lane};

	if (!catch_up_unit_lock(manager, lane, named))
		return 0;
	unit.pm = *manager;
	while (run->left > 0)
	{
		CHECK_FOR_INTERRUPTS();
		if (!catch_up_unit_next(&unit))
			break;
	}
	*manager = unit.pm;
	return unit.done;
}
