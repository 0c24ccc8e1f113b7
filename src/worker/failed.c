/*
 * failed.c
 *		A dispatcher's batch has failed: who is to blame is written down, or
 *		looked for, and the unit looked at again in time.
 */
#include "pm.h"

#include "access/xact.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "base/report.h"
#include "dispatch/blame.h"
#include "manager/cursor.h"
#include "manager/lane.h"
#include "manager/manager_lock.h"
#include "shmem/handling.h"
#include "worker/failed.h"
#include "worker/worker.h"

#define FAILED_WAIT_MAX	 5000 /* looking again at what is wrong outside, at most, ms */
#define FAILED_FAULTS	 60	  /* waits for the server's own trouble, about five minutes */
#define FAILED_AT_ONCE	 10	  /* deadlocks and the like, in a row, that do not count */
#define FAILED_PAUSE_MIN 5	  /* before trying again after one of these, ms; longer each time */
#define FAILED_PAUSE_MAX 20

static bool
failed_same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/*
 * Locks the unit, and returns its registration if it is still what the batch
 * ran under; NULL if somebody changes it, or has changed it.  That something
 * was changed does not say so: it may have been the handler itself, which has
 * changed another registration before it failed, and was undone.
 */
static ProcessManager *
failed_take(Unit *unit)
{
	ProcessManager *pm = unit->pm;
	ProcessManager *now;

	if (!manager_lock_unit(pm->id, unit->lane, true))
		return NULL;
	if (registry_version() == pm->version)
		return pm;
	now = registry_get(pm->name, true);
	return now != NULL && now->id == pm->id && now->lanes == pm->lanes && now->kind == pm->kind &&
				   !now->paused && now->at_home && strcmp(now->handler, pm->handler) == 0 &&
				   failed_same_text(now->correlate, pm->correlate) ?
			   now :
			   NULL;
}

/*
 * Writes down what is wrong with a unit, in a transaction of its own.  "culprit"
 * is what stood alone when the handler failed; "met", what met trouble of the
 * server; neither: no handler was to do with it.
 */
static void
failed_record(Unit *unit, ErrorData *error, const Handling *culprit, const Handling *met)
{
	ProcessManager *pm;
	LaneState state;
	TimestampTz look_at;

	worker_transaction();
	pm = failed_take(unit);
	if (pm == NULL)
	{
		/* What to do is decided afresh. */
		CommitTransactionCommand();
		unit_poll(unit);
		return;
	}
	lane_state(pm, unit->lane, &state);
	if (culprit != NULL)
	{
		look_at = blame(pm, culprit, error, BLAME_ERROR);
		CommitTransactionCommand();
		unit->not_before = look_at;
		return;
	}
	blame_wait(pm, unit->lane, &state, error, met);
	CommitTransactionCommand();
	if (met != NULL && met->source == HANDLING_PARKED)
		return;
	unit->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), unit->wait_nap);
	unit->wait_nap = Min(unit->wait_nap * 2, FAILED_WAIT_MAX);
}

/*
 * Says that what is wrong could not be written down.
 */
static void
failed_record_trouble(Unit *unit, ErrorData *trouble, const Handling *culprit, const Handling *met)
{
	ProcessManager *pm;
	LaneState state;

	worker_transaction();
	pm = failed_take(unit);
	if (pm != NULL)
	{
		lane_state(pm, unit->lane, &state);
		trouble->message = psprintf("a failure of the handler could not be recorded: %s",
									trouble->message);
		blame_wait(pm, unit->lane, &state, trouble, NULL);
	}
	CommitTransactionCommand();
}

/*
 * Logs that something could not be written down.  Looks nothing up: that may
 * be what fails.
 */
static void
failed_say_trouble(Unit *unit, ErrorData *trouble)
{
	if (report_may(unit->pm->owner, REPORT_FAILURE))
		ereport(
			LOG,
			(errmsg(
				 "process manager \"%s\" in database \"%s\": a failure could not be recorded: %s",
				 unit->pm->name, report_database(), report_cut(trouble->message, REPORT_LOGGED)),
			 report_error(trouble)));
}

/*
 * Runs a function that writes something down; the error that kept it from
 * that, or NULL.
 */
static ErrorData *
failed_try(void (*write)(Unit *unit, ErrorData *error, const Handling *culprit,
						 const Handling *met),
		   Unit *unit, ErrorData *error, const Handling *culprit, const Handling *met)
{
	MemoryContext caller = CurrentMemoryContext;
	ErrorData *volatile trouble = NULL;

	PG_TRY();
	{
		write(unit, error, culprit, met);
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(caller);
		trouble = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		QueryCancelPending = false;
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	if (trouble != NULL)
		failed_say_trouble(unit, trouble);
	return trouble;
}

/*
 * Writes down what is wrong.  If that fails, that is what is written down; if
 * even that fails, the unit is run again after a while, and comes here again.
 */
static void
failed_try_record(Unit *unit, ErrorData *failure, const Handling *culprit, const Handling *met)
{
	ErrorData *trouble = failed_try(failed_record, unit, failure, culprit, met);

	if (trouble == NULL)
		return;
	(void) failed_try(failed_record_trouble, unit, trouble, NULL, NULL);
	unit->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), unit->wait_nap);
	unit->wait_nap = Min(unit->wait_nap * 2, FAILED_WAIT_MAX);
}

/*
 * Who has lost a deadlock and comes back at once takes its locks again before
 * the other one, which has waited for them, is awake: it would lose again.
 */
static void
failed_pause(Unit *unit)
{
	uint64 pause = pg_prng_uint64_range(&pg_global_prng_state, FAILED_PAUSE_MIN * unit->at_once,
										FAILED_PAUSE_MAX * unit->at_once);

	unit->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), (int64) pause);
}

/*
 * Adds the unit's conflicts to those that pm.status shows.  The batches that
 * met them were undone, so this is a transaction of its own; nobody waits for
 * it to reach the disk.  While somebody else has the unit, they are kept for
 * the next time.
 */
static void
failed_record_conflicts(Unit *unit, ErrorData *error, const Handling *culprit, const Handling *met)
{
	worker_transaction();
	if (failed_take(unit) != NULL)
	{
		lane_conflicts(unit->pm->name, unit->lane, unit->conflicts);
		(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
		CommitTransactionCommand();
		unit->conflicts = 0;
	}
	else
		CommitTransactionCommand();
}

/*
 * A batch of a unit has raised an error and was rolled back; its progress says
 * where it was.  Runs in no transaction.
 */
void
failed_batch(Unit *unit, ErrorData *error, const Progress *progress)
{
	Handling culprit = progress->handling;

	unit->leave_parked = culprit.source == HANDLING_PARKED;
	(void) blame_timeout(error, unit->pm, &culprit);
	unit->dirty = true;
	if (blame_nobody(error->sqlerrcode) && unit->at_once < FAILED_AT_ONCE)
	{
		unit->at_once++;
		unit->conflicts++;
		(void) failed_try(failed_record_conflicts, unit, error, NULL, NULL);
		if (progress->stage == PROGRESS_PREPARE)
			unit_poll(unit);
		else
			failed_pause(unit);
		return;
	}
	if (progress->stage == PROGRESS_PREPARE)
	{
		failed_try_record(unit, error, NULL, NULL);
		return;
	}
	if (!isolate_failed(&unit->isolate, progress, unit->pm->kind))
		return;
	/* A handler can raise what looks like the server's trouble: not for ever. */
	if (blame_server(error->sqlerrcode) &&
		(culprit.source == HANDLING_PARKED || unit->servers_faults < FAILED_FAULTS))
	{
		unit->servers_faults += culprit.source == HANDLING_PARKED ? 0 : 1;
		failed_try_record(unit, error, NULL, &culprit);
		return;
	}
	unit->at_once = 0;
	failed_try_record(unit, error, &culprit, NULL);
}
