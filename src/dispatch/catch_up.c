/*
 * catch_up.c
 *		pm.catch_up: handles events in the caller's session and transaction.
 *
 * This is for tests in BEGIN ... ROLLBACK, for servers without the preloaded
 * library, and for a single run from psql.  The caller's own uncommitted events
 * are handled too, because the cursor moves in the same transaction.
 *
 * A handler runs only as it would in the background: as the owner, in a session
 * of the owner.  In a superuser's session after SET SESSION AUTHORIZATION, a
 * handler could run RESET SESSION AUTHORIZATION.
 */
#include "pm.h"

#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/within.h"
#include "dispatch/batch_log.h"
#include "dispatch/catch_up_unit.h"
#include "dispatch/catch_up_walk.h"
#include "dispatch/reading.h"
#include "log/highwater_ask.h"
#include "log/log_open.h"

PG_FUNCTION_INFO_V1(pm_catch_up);

/* ---------- logs ---------- */

/*
 * Opens a log for the call; NULL if it cannot be read.  If the process manager
 * was named, this waits for the log, and keeps it locked.  It waits now, before
 * the units are locked: later, a session that holds the log's table would keep
 * all the other logs from being handled.  (If a process manager has very many
 * logs, each is locked only while it is read.)
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
	/* The caller has not named the process manager, so do not wait for the log. */
	if (log == NULL && locked)
		ereport(NOTICE,
				(errmsg("log \"%s\" is locked, and left out", name),
				 errhint(
					 "Call pm.catch_up with the name of a process manager to wait for its logs.")));
	return log;
}

/*
 * Without shared memory, no process has watched the writers.  This gives the
 * writers that are open now some time to end, so that a single call handles
 * what is there.
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

/* ---------- the function ---------- */

/*
 * The arguments of the call.
 */
static CatchUp
catch_up_args(FunctionCallInfo fcinfo)
{
	const char *on_failure = PG_ARGISNULL(3) ? "raise" : text_to_cstring(PG_GETARG_TEXT_PP(3));
	CatchUp run = {.named = !PG_ARGISNULL(0),
				   .raise = strcmp(on_failure, "raise") == 0,
				   .left = PG_ARGISNULL(2) ? PG_INT64_MAX : PG_GETARG_INT64(2)};

	if (!run.raise && strcmp(on_failure, "policy") != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid on_failure: \"%s\"", on_failure),
						errhint("Use 'raise' or 'policy'.")));
	if (run.left < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("max_count must not be negative")));
	if (!PG_ARGISNULL(1) && TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(1)))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("as_of must be finite")));
	/* Events that others have parked must not affect a test. */
	if (!run.named && run.raise)
		run.parked_since = GetCurrentTransactionStartTimestamp();
	return run;
}

/*
 * The process managers to run: the one that was named, or all that this role may
 * run.
 */
static List *
catch_up_managers(FunctionCallInfo fcinfo)
{
	bool named = !PG_ARGISNULL(0);
	List *all = named ? list_make1(registry_get(text_to_cstring(PG_GETARG_TEXT_PP(0)), false)) :
						registry_load(GetUserId());
	List *managers = NIL;
	ListCell *lc;

	foreach(lc, all)
		if (catch_up_unit_may_run(lfirst(lc), named))
			managers = lappend(managers, lfirst(lc));
	return managers;
}

/*
 * Continues until nothing is left to do, including events that the handlers
 * append.
 */
static void
catch_up_loop(CatchUp *run, List *managers)
{
	bool first = true;
	int64 done;
	ListCell *lc;

	do
	{
		done = 0;
		foreach(lc, managers)
		{
			ProcessManager *pm = lfirst(lc);

			/* The number of lanes may change during this loop. */
			for (int lane = 0; lane < pm->lanes; lane++)
				done += catch_up_unit(run, &pm, lane, run->named && first);
			lfirst(lc) = pm;
		}
		first = false;
	} while (done > 0 && run->left > 0);
}

/*
 * Removes what the call must not leave behind in this session.
 */
static void
catch_up_forget(void)
{
	within_clear_time();
	/* Events that were read may have been written by this transaction, which may undo them. */
	reading_forget();
}

/*
 * Runs the process managers, and leaves nothing behind in this session.
 */
static void
catch_up_run(CatchUp *run, List *managers, const TimestampTz *as_of)
{
	PG_TRY();
	{
		if (as_of != NULL)
			catch_up_walk(run, managers, *as_of);
		else
			catch_up_loop(run, managers);
	}
	PG_CATCH();
	{
		catch_up_forget();
		PG_RE_THROW();
	}
	PG_END_TRY();
	catch_up_forget();
}

/*
 * pm.catch_up(name, as_of, max_count, on_failure)
 */
Datum
pm_catch_up(PG_FUNCTION_ARGS)
{
	CatchUp run;
	List *managers;
	TimestampTz as_of = PG_ARGISNULL(1) ? 0 : PG_GETARG_TIMESTAMPTZ(1);

	catch_up_unit_require_caller("pm.catch_up");
	run = catch_up_args(fcinfo);
	managers = catch_up_managers(fcinfo);
	catch_up_await(managers, run.named);
	run.batch_context = AllocSetContextCreate(CurrentMemoryContext, "pm catch up",
											  ALLOCSET_DEFAULT_SIZES);
	run.now = within_time();
	catch_up_run(&run, managers, PG_ARGISNULL(1) ? NULL : &as_of);
	if (run.changed)
		registry_changed();
	PG_RETURN_INT64(run.handled);
}
