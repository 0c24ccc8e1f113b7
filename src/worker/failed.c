/*
 * failed.c
 *		Records the failure of a dispatcher's batch.
 *
 * The failure is recorded for the event that caused it, or the search for that
 * event continues (isolate.c).  blame.c decides what the failure means for the
 * event or the unit.  Recording it may fail as well, for example because the
 * disk is full, so nothing here relies on that: at worst, the unit runs again
 * after some time, and fails again.
 */
#include "pm.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "base/report.h"
#include "dispatch/blame.h"
#include "manager/cursor.h"
#include "manager/lane.h"
#include "manager/manager_lock.h"
#include "shmem/handling.h"
#include "worker/failed.h"
#include "worker/worker.h"

/* How many failures in a row can count as problems of the server: about five minutes. */
#define FAILED_FAULTS 60

static bool
failed_same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool
failed_same_registration(const ProcessManager *now, const ProcessManager *then)
{
	return now->id == then->id && now->lanes == then->lanes && now->kind == then->kind &&
		   !now->paused && now->at_home && strcmp(now->handler, then->handler) == 0 &&
		   failed_same_text(now->correlate, then->correlate);
}

/*
 * Locks the unit and returns its registration, if the batch ran under the same
 * one.  NULL if a session is changing it or has changed it: then the failure
 * says nothing about the present registration.
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

	/*
	 * The version alone does not tell whether this registration has changed,
	 * because the handler may have changed another one before it failed.
	 */
	now = registry_get(pm->name, true);
	return now != NULL && failed_same_registration(now, pm) ? now : NULL;
}

/*
 * Makes the unit wait, longer each time.
 */
static void
failed_wait(Unit *unit)
{
	unit->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), unit->wait_nap);
	unit->wait_nap = Min(unit->wait_nap * 2, UNIT_WAIT_MAX);
}

/*
 * Records a failure, in a transaction of its own.  "culprit" is the item that was
 * alone in its batch when the handler failed.  "met" is an item whose call met a
 * problem of the server.  If both are NULL, no handler was involved.
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
		/* The next batch finds out what is to be done under the new registration. */
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
	/* If a parked event waits, the unit need not wait. */
	if (met == NULL || met->source != HANDLING_PARKED)
		failed_wait(unit);
}

/*
 * Records that a failure could not be recorded, and why.
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
 * Reports in the server's log that a failure could not be recorded.  This reads no
 * catalog, since that may be what fails.
 */
static void
failed_say_trouble(Unit *unit, ErrorData *trouble)
{
	if (report_may(unit->pm->owner, REPORT_FAILURE))
		ereport(
			LOG,
			(errcode(trouble->sqlerrcode),
			 errmsg(
				 "process manager \"%s\" in database \"%s\": a failure could not be recorded: %s",
				 unit->pm->name, report_database(), report_cut(trouble->message, REPORT_LOGGED)),
			 report_error(trouble)));
}

/*
 * Runs a function that records something.  Returns the error that it raised, or
 * NULL.
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
		MemoryContextSwitchTo(caller);
		trouble = CopyErrorData();
		worker_recover(caller, false);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	if (trouble != NULL)
		failed_say_trouble(unit, trouble);
	return trouble;
}

/*
 * Records a failure.  If that fails, records that.  If even that fails, the unit
 * runs again after some time, and this function is called again.
 */
static void
failed_try_record(Unit *unit, ErrorData *failure, const Handling *culprit, const Handling *met)
{
	ErrorData *trouble = failed_try(failed_record, unit, failure, culprit, met);

	if (trouble == NULL)
		return;
	(void) failed_try(failed_record_trouble, unit, trouble, NULL, NULL);
	failed_wait(unit);
}

/*
 * Adds the unit's conflicts to those that pm.status shows.  The batches that had
 * them were rolled back, so this is a transaction of its own.  It need not wait
 * for the disk, since it does no harm if a crash loses a count.  While another
 * session has locked the unit, the conflicts are kept for the next time.
 */
static void
failed_record_conflicts(Unit *unit, ErrorData *error, const Handling *culprit, const Handling *met)
{
	worker_transaction();
	if (failed_take(unit) != NULL)
	{
		lane_conflicts(unit->pm->name, unit->lane, unit->contention.unrecorded);
		worker_commit_later();
		CommitTransactionCommand();
		unit->contention.unrecorded = 0;
	}
	else
		CommitTransactionCommand();
}

/*
 * Was the error a conflict, which does not count as a failure?  Then the batch is
 * tried again.  An item that was alone counts as failed after too many conflicts.
 */
static bool
failed_conflict(Unit *unit, ErrorData *error, const Progress *progress)
{
	int bound = blame_conflicts(error->sqlerrcode);

	if (bound == 0)
		return false;
	if (!isolate_conflict(&unit->isolate, progress) && unit->contention.in_a_row++ >= bound)
		return false;
	unit->contention.unrecorded++;
	(void) failed_try(failed_record_conflicts, unit, error, NULL, NULL);
	if (progress->stage == PROGRESS_PREPARE)
		unit_poll(unit);
	else
		contention_met(&unit->contention, unit->pm, error, &unit->not_before);
	return true;
}

void
failed_batch(Unit *unit, ErrorData *error, const Progress *progress)
{
	Handling culprit = progress->handling;
	bool parked = culprit.source == HANDLING_PARKED;

	/*
	 * If a parked event failed, the next batch begins with the logs, so that they have
	 * their turn.
	 */
	unit->leave_parked = parked;
	(void) blame_timeout(error, unit->pm, &culprit);
	unit->dirty = true;

	if (failed_conflict(unit, error, progress))
		return;

	/* No handler had been called yet. */
	if (progress->stage == PROGRESS_PREPARE)
	{
		failed_try_record(unit, error, NULL, NULL);
		return;
	}

	/* As long as the failing item is not alone in its batch, smaller batches search for it. */
	if (!isolate_failed(&unit->isolate, progress, unit->pm->kind))
		return;

	/*
	 * A problem of the server does not count as an attempt.  A handler can raise
	 * an error that looks the same, so this ends after some time.
	 */
	if (blame_server(error->sqlerrcode) && (parked || unit->servers_faults < FAILED_FAULTS))
	{
		unit->servers_faults += parked ? 0 : 1;
		failed_try_record(unit, error, NULL, &culprit);
		return;
	}
	unit->contention.in_a_row = 0;
	failed_try_record(unit, error, &culprit, NULL);
}
