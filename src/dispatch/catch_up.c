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
 * In a superuser's session after SET SESSION AUTHORIZATION, a handler could say
 * RESET SESSION AUTHORIZATION.
 */
#include "pm.h"

#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "base/exec.h"
#include "base/within.h"
#include "dispatch/batch_log.h"
#include "dispatch/blame.h"
#include "dispatch/call.h"
#include "dispatch/dispatch.h"
#include "dispatch/isolate.h"
#include "dispatch/reading.h"
#include "log/highwater_ask.h"
#include "log/log_open.h"
#include "manager/cursor.h"
#include "manager/lane.h"
#include "manager/manager_lock.h"
#include "shmem/handling.h"

PG_FUNCTION_INFO_V1(pm_catch_up);

/* Deadlocks and the like, in a unit, that do not count as failures. */
#define CATCH_UP_AT_ONCE 10

typedef struct CatchUp
{
	int64 left; /* events that may still be handled */
	int64 handled;
	bool changed;	 /* something will be due: tell the dispatchers */
	bool raise;		 /* on_failure => 'raise' */
	bool named;		 /* a process manager was asked for */
	TimestampTz now; /* what is due by then: the same in the whole call, so that it ends */
	MemoryContext batch_context;
} CatchUp;

/*
 * Runs one batch in a subtransaction.  Returns NULL, or the error that undid
 * it; then *progress says where it was.
 */
static ErrorData *
catch_up_batch(CatchUp *run, DispatchRequest *request, Progress *progress, DispatchResult *result)
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
 * Raises what has undone a batch.  Where a handler ran, the context says for
 * what (call.c).
 */
static void
catch_up_raise(ErrorData *error, ProcessManager *pm, const Progress *progress)
{
	if (progress->stage == PROGRESS_PREPARE)
	{
		char *where = psprintf("process manager \"%s\"", pm->name);

		error->context = error->context ? psprintf("%s\n%s", error->context, where) : where;
	}
	ReThrowError(error);
}

/*
 * A batch was undone by an error.  Returns whether the unit can go on;
 * *settled, whether more has come of it than a narrower search.
 */
static bool
catch_up_failed(CatchUp *run, ProcessManager *pm, int lane, Isolate *isolate, int *at_once,
				ErrorData *error, const Progress *progress, bool *settled)
{
	bool ours = blame_timeout(error, pm, &progress->handling);
	LaneState state;
	TimestampTz look_at;

	/* The caller's own cancel is not the handler's failure. */
	if (run->raise || (error->sqlerrcode == ERRCODE_QUERY_CANCELED && !ours))
		catch_up_raise(error, pm, progress);
	*settled = false;
	lane_state(pm, lane, &state);
	if (blame_nobody(error->sqlerrcode) && (*at_once)++ < CATCH_UP_AT_ONCE)
	{
		lane_conflicts(pm->name, lane, 1);
		return true;
	}
	if (progress->stage == PROGRESS_PREPARE)
	{
		blame_wait(pm, lane, &state, error, NULL);
		return false;
	}
	if (!isolate_failed(isolate, progress, pm->kind))
		return true;
	if (blame_server(error->sqlerrcode))
	{
		blame_wait(pm, lane, &state, error, &progress->handling);
		run->changed = true;
		return progress->handling.source == HANDLING_PARKED;
	}
	*at_once = 0;
	look_at = blame(pm, &progress->handling, error, BLAME_ERROR);
	run->changed = *settled = true;
	return look_at == 0;
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
			ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
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
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
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
	LaneState state;

	lane_state(pm, lane, &state);
	if (state.status != LANE_HALTED)
		return false;
	if (named)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 state.log == NULL ?
					 errmsg("process manager \"%s\" has halted", pm->name) :
					 errmsg("process manager \"%s\" has halted at position %lld of log \"%s\"",
							pm->name, (long long) state.position, state.log),
				 errhint("SELECT reason FROM pm.status tells why; pm.resume ends it.")));
	return true;
}

/*
 * The process manager as it is now, NULL when there is none any more that has
 * such a lane: another one may have taken its name.
 */
static ProcessManager *
catch_up_reload(ProcessManager *pm, int lane)
{
	ProcessManager *again = registry_get(pm->name, true);

	if (again == NULL || again->id != pm->id || again->owner != pm->owner || lane >= again->lanes)
		return NULL;
	return again;
}

/*
 * Locks a unit, in the caller's transaction: a failed batch must not give the
 * lock back.  While we waited for it the process manager can have been paused,
 * or halted, or registered anew, so all of that is looked at afterwards.  False
 * when the unit is not to be run.
 */
static bool
catch_up_lock(ProcessManager **manager, int lane, bool named)
{
	ProcessManager *again = *manager;

	manager_lock_queue(again->id);
	(void) manager_lock_unit(again->id, lane, false);
	if (registry_version() != again->version)
	{
		again = catch_up_reload(*manager, lane);
		if (again == NULL && named)
			(void) registry_get((*manager)->name, false);
		if (again == NULL || !catch_up_may(again, named))
			return false;
		*manager = again;
	}
	return !catch_up_halted(again, lane, named);
}

/*
 * Handles what one unit has to do.  Returns how many events and timers it got
 * past; run->handled counts those that a handler got.  The process manager is
 * loaded again when its registration has changed.
 */
static int64
catch_up_unit(CatchUp *run, ProcessManager **manager, int lane, bool named)
{
	ProcessManager *pm;
	Isolate isolate = {0, 0, 0};
	int64 done = 0;
	int at_once = 0;
	bool leave_parked = false;

	if (!catch_up_lock(manager, lane, named))
		return 0;
	pm = *manager;

	while (run->left > 0)
	{
		DispatchRequest request = {pm,			 lane,			0,	   0,
								   leave_parked, HIGHWATER_OWN, true,  run->named,
								   run->now,	 run->raise,	false, NULL};
		DispatchResult result = {0};
		Progress progress = {0};
		ErrorData *error;

		CHECK_FOR_INTERRUPTS();
		request.max_events = Min(run->left, isolate_limit(&isolate, pm->batch_size));
		request.max_parked = (int) Min(run->left, isolate_limit_parked(&isolate, pm->batch_size));
		error = catch_up_batch(run, &request, &progress, &result);
		if (error != NULL)
		{
			bool settled;

			if (!catch_up_failed(run, pm, lane, &isolate, &at_once, error, &progress, &settled))
				break;
			done += settled ? 1 : 0;
			leave_parked = progress.handling.source == HANDLING_PARKED;
			continue;
		}
		if (result.outcome == DISPATCH_STALE)
		{
			ProcessManager *again = catch_up_reload(pm, lane);

			if (again == NULL)
				break;
			pm = *manager = again;
			continue;
		}
		isolate_succeeded(&isolate, &result);
		if (!leave_parked)
			at_once = 0;
		leave_parked = result.parked;
		done += result.done;
		run->handled += result.handled;
		run->left -= result.handled;
		run->changed |= result.due != DT_NOEND;
		if (result.outcome != DISPATCH_DONE && result.outcome != DISPATCH_MORE)
			break;
	}
	return done;
}

/*
 * A log for the call.  One of a process manager that was named is waited for,
 * and stays locked: now, since whoever holds its table would keep all the other
 * logs from being handled once the units are taken.  (Where the process manager
 * has very many logs, each is locked only while it is looked at.)
 */
static PmLog *
catch_up_open(const char *name, bool named, bool keep)
{
	PmLog *log;
	bool locked;

	if (named)
	{
		log = log_get(name, true);
		return log != NULL && keep ? log_lock(log, AccessShareLock) : log;
	}
	log = log_get_nowait(name, &locked);
	/* Nobody has asked for it by name: it is not waited for. */
	if (log == NULL && locked)
		ereport(NOTICE,
				(errmsg("log \"%s\" is locked, and left out", name),
				 errhint(
					 "Call pm.catch_up with the name of a process manager to wait for its logs.")));
	return log;
}

/*
 * Without shared memory nobody has watched the writers: give those of now some
 * time to end, so that a single call handles what is there.
 */
static void
catch_up_await(List *managers, bool named)
{
	List *seen = NIL;
	ListCell *lc;
	ListCell *lc2;

	foreach(lc, managers)
		foreach(lc2, ((ProcessManager *) lfirst(lc))->logs)
		{
			List *logs = ((ProcessManager *) lfirst(lc))->logs;
			PmLog *log = catch_up_open(lfirst(lc2), named, list_length(logs) <= BATCH_LOG_LOCKS);

			if (log == NULL || log->problem != NULL || list_member_oid(seen, log->relid))
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
	bool named = !PG_ARGISNULL(0);
	CatchUp run = {0};
	char *on_failure = PG_ARGISNULL(3) ? "raise" : text_to_cstring(PG_GETARG_TEXT_PP(3));
	List *managers = NIL;
	List *all;
	ListCell *lc;
	int64 done;
	bool first = true;

	highwater_require_fresh_snapshots("pm.catch_up");
	exec_require_writable("pm.catch_up");
	if (within_handler())
		ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
						errmsg("pm.catch_up cannot be called by a handler")));
	if (GetUserId() != GetAuthenticatedUserId() || GetUserId() != GetSessionUserId() ||
		InSecurityRestrictedOperation())
		ereport(
			ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("pm.catch_up must be called by the session's own role"),
			 errhint(
				 "Connect as that role. Not after SET ROLE or SET SESSION AUTHORIZATION, nor in a SECURITY DEFINER function.")));
	if (strcmp(on_failure, "raise") != 0 && strcmp(on_failure, "policy") != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid on_failure: \"%s\"", on_failure),
						errhint("It is 'raise' or 'policy'.")));
	run.raise = strcmp(on_failure, "raise") == 0;
	run.left = PG_ARGISNULL(2) ? PG_INT64_MAX : PG_GETARG_INT64(2);
	if (run.left < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("max_count must not be negative")));

	if (!PG_ARGISNULL(1) && TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(1)))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("as_of must be finite")));

	all = named ? list_make1(registry_get(text_to_cstring(PG_GETARG_TEXT_PP(0)), false)) :
				  registry_load(GetUserId());
	foreach(lc, all)
		if (catch_up_may(lfirst(lc), named))
			managers = lappend(managers, lfirst(lc));
	run.named = named;
	catch_up_await(managers, named);

	run.batch_context = AllocSetContextCreate(CurrentMemoryContext, "pm catch up",
											  ALLOCSET_DEFAULT_SIZES);
	if (!PG_ARGISNULL(1))
		within_set_time(PG_GETARG_TIMESTAMPTZ(1));
	run.now = within_time();
	PG_TRY();
	{
		do
		{
			done = 0;
			foreach(lc, managers)
			{
				ProcessManager *pm = lfirst(lc);

				/* A change of the lanes is taken up while they are gone through. */
				for (int lane = 0; lane < pm->lanes; lane++)
					done += catch_up_unit(&run, &pm, lane, named && first);
				lfirst(lc) = pm;
			}
			first = false;
		} while (done > 0 && run.left > 0);
	}
	PG_FINALLY();
	{
		within_clear_time();
		reading_forget();
	}
	PG_END_TRY();
	if (run.changed)
		registry_changed();
	PG_RETURN_INT64(run.handled);
}
