/*
 * run.c
 *		Runs one batch of a unit in a dispatcher.
 *
 * dispatch.c does the work of the batch.  This file gives the batch its
 * transaction, and records in the unit when to run it again.
 */
#include "pm.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"

#include "dispatch/call.h"
#include "dispatch/dispatch.h"
#include "shmem/crash.h"
#include "shmem/slot.h"
#include "shmem/slot_batch.h"
#include "shmem/slot_careful.h"
#include "shmem/slot_lost.h"
#include "shmem/standby.h"
#include "worker/failed.h"
#include "worker/noted.h"
#include "worker/run.h"
#include "worker/session.h"
#include "worker/worker.h"

/*
 * How many notes a unit may make before it handles something.  It needs two, but another item
 * may come first meanwhile.
 */
#define RUN_NOTES 8

/*
 * Runs a batch in a transaction of its own.  Returns the error that aborted
 * it, or NULL.  The caller has set *progress to zeros.
 */
static ErrorData *
run_batch(DispatchRequest *request, Progress *progress, DispatchResult *result)
{
	MemoryContext caller = CurrentMemoryContext;
	ErrorData *volatile error = NULL;

	PG_TRY();
	{
		worker_transaction();
		*result = dispatch_batch(request, progress);
		MemoryContextSwitchTo(caller);
		result->rest = bms_copy(result->rest);
		/* If it is about to give way, neither the commit nor what follows must be canceled. */
		if (slot_gives_way())
			QueryCancelPending = false;
		call_before_end(progress);
		slot_batch_commits(GetTopTransactionIdIfAny());
		CommitTransactionCommand();
		crash_unmark();
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		call_abandon(progress);
		AbortCurrentTransaction();
		crash_unmark();
		QueryCancelPending = false;
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	return error;
}

/*
 * Called when a batch was rolled back.
 */
static void
run_failed(Unit *unit, ErrorData *error, const Progress *progress)
{
	/* If it was canceled to give way to others, it has not failed: it is handled again. */
	if (slot_gives_way())
		return;
	session_clean();
	failed_batch(unit, error, progress);
}

/*
 * Makes a unit wait for its turn among the lanes.  A wake-up ends the wait.
 */
static void
run_wait(Unit *unit)
{
	contention_wait(&unit->contention, unit->pm->id, &unit->not_before);
	unit->polling = true;
	/* It runs again at that time, even if a parked event is due at once. */
	unit->due = DT_NOEND;
}

/*
 * Called when a unit has run alone.
 */
static void
run_turn(Unit *unit, TimestampTz began, bool more)
{
	if (contention_ran(&unit->contention, unit->pm->id, began, more) && more)
		run_wait(unit);
}

/*
 * Called when a batch was committed: records when to run the unit again.
 */
static void
run_succeeded(Unit *unit, const DispatchRequest *request, DispatchResult *result)
{
	isolate_succeeded(&unit->isolate, result, unit->pm->batch_size);
	/* The next attempt must not see what a failed call has left in the session. */
	if (result->failed > 0 || result->left)
		session_clean();
	unit->leave_parked = result->parked;
	unit->due = result->due;
	unit->careful += result->careful ? result->done : 0;
	unit->passed |= result->passed;
	if (result->passed)
		unit->unwritten = result->done == 0;

	/* A batch that left the parked events alone says nothing about one that fails. */
	if (!request->leave_parked)
		unit->contention.in_a_row = 0;
	if (result->handled > 0 && unit->isolate.prefix == 0)
		unit->servers_faults = 0;

	/* Nothing is in the way any more, so the next wait is a short one again. */
	if (!result->parked && !result->left_out)
		unit->wait_nap = UNIT_WAIT_MIN;
	if (result->done > 0)
		unit->held_nap = UNIT_HELD_MIN;

	unit->dirty = result->outcome == DISPATCH_MORE || isolate_busy(&unit->isolate);
	if (!unit->dirty && (result->held || result->left_out))
	{
		/* A transaction that holds a mark back, or holds a lock, may end without waking us. */
		unit->dirty = true;
		if (result->held)
			unit_poll(unit);
		else
			unit_wait(unit);
	}
}

/*
 * Called when a batch has returned: records when to run the unit again.
 */
static void
run_returned(Unit *unit, const DispatchRequest *request, DispatchResult *result, RunCounts *counts)
{
	switch (result->outcome)
	{
		case DISPATCH_STALE:
			break;
		case DISPATCH_BUSY:
			unit->leave_parked = false;
			unit_poll(unit);
			if (request->alone || result->others_alone)
				run_wait(unit);
			break;
		case DISPATCH_STOPPED:
			unit->not_before = result->due;
			break;
		case DISPATCH_DELIVERED:
			/* The next batch looks once more, and handles it. */
			unit->dirty = true;
			counts->batches++;
			break;
		case DISPATCH_NOTED:
			/* The next batch calls the handler. */
			unit->dirty = true;
			counts->batches++;
			if (!noted_committed(unit))
			{
				result->outcome = DISPATCH_AWAITS;
				unit_poll(unit);
			}
			break;
		case DISPATCH_AWAITS:
			/* The next batch begins with the logs if only a parked event waits. */
			unit->awaits = !result->parked_awaits;
			unit->leave_parked |= result->parked_awaits;
			unit->dirty = true;
			unit_poll(unit);
			break;
		case DISPATCH_IDLE:
		case DISPATCH_DONE:
		case DISPATCH_MORE:
			unit->sent = false;
			if (result->sending)
				unit->sent_again = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
															   UNIT_SENT_NAP);
			/* A batch of parked events has not read the logs. */
			if (!result->parked)
				unit_looked(unit, result->all, request->logs, result->rest);
			counts->batches++;
			counts->events += result->done;
			run_succeeded(unit, request, result);
			counts->passed |= unit->unwritten;
			break;
	}
}

/*
 * Shows the unit in pg_stat_activity.  When a handler is called, the text says for which item.
 */
static void
run_activity(const Unit *unit)
{
	char text[NAMEDATALEN + 64];

	snprintf(text, sizeof(text), "process manager \"%s\", lane %d", unit->pm->name, unit->lane);
	pgstat_report_activity(STATE_RUNNING, text);
}

/*
 * A unit that waits for a standby, or for its turn: must it still?
 */
static bool
run_awaits(void)
{
	bool missing = standby_missing();

	slot_careful_misses(missing);
	return missing || !slot_careful_ask();
}

/*
 * May the unit run a batch now?  If not, sets when to try again.
 */
static bool
run_may(Unit *unit, DispatchRequest *request)
{
	/* A batch would find out the same, but there may be thousands of units that wait. */
	if (unit->awaits && run_awaits())
	{
		unit_poll(unit);
		return false;
	}
	unit->awaits = false;
	request->alone = contention_alone(unit->pm);
	/* If lanes that run in parallel have conflicts, little should be undone. */
	if (unit->pm->lanes > 1 && !request->alone && !unit->contention.beside)
		isolate_begin_small(&unit->isolate);
	unit->contention.alone = request->alone;
	unit->contention.beside = !request->alone;
	if (request->alone &&
		!contention_take(&unit->contention, unit->pm, unit->not_before != 0, &request->alone_until))
	{
		run_wait(unit);
		return false;
	}
	unit->not_before = 0;
	unit->due = DT_NOEND;
	unit->polling = false;

	/*
	 * An earlier dispatcher died in a handler of this unit.  The scheduler will
	 * count that as an attempt soon, and until then the handler must not run.
	 */
	if (slot_lost_unit(unit->pm->id, unit->lane))
	{
		contention_taken();
		unit_poll(unit);
		return false;
	}
	return true;
}

/*
 * Called before and after a batch of a process manager with several lanes.
 */
static void
run_lane_begins(Unit *unit)
{
	if (unit->pm->lanes > 1)
		slot_batch_begin(unit->pm->id);
}

static void
run_lane_ended(Unit *unit, const DispatchRequest *request, TimestampTz began, bool ran, bool more)
{
	slot_batch_end();
	contention_taken();
	if (!ran)
		return;
	unit->contention.waits_since = 0;
	if (request->alone)
		run_turn(unit, began, more && unit->dirty && unit->not_before == 0);
}

/*
 * After a promotion, a unit goes carefully for this many items.  Twice as many as a batch
 * has: with asynchronous replication the last batch of the old primary may be lost.
 */
static int
run_careful(const Unit *unit)
{
	return unit->passed ? 0 : Max(2 * unit->pm->batch_size - unit->careful, 1);
}

/*
 * Called when a batch has returned, or has raised an error.
 */
static void
run_ended(Unit *unit, const DispatchRequest *request, DispatchResult *result, ErrorData *error,
		  const Progress *progress, RunCounts *counts)
{
	if (error == NULL)
	{
		if (result->forgot)
			noted_forgotten();
		run_returned(unit, request, result, counts);
		return;
	}
	/* The server is still there, so what was noted is not in hand any more. */
	(void) noted_end(true);
	run_failed(unit, error, progress);
}

/*
 * Runs one batch of a unit, and records when to run it again.  Returns whether it has only
 * noted what the next batch handles.
 */
static bool
run_once(Unit *unit, MemoryContext context, RunCounts *counts)
{
	DispatchRequest request = {
		.pm = unit->pm,
		.lane = unit->lane,
		.leave_parked = unit->leave_parked,
		.view = HIGHWATER_EVERYBODY,
		.sent = unit->sent,
		.careful = run_careful(unit),
		.note = noted_note(),
		.passed = unit->passed,
	};
	Progress progress = {0};
	DispatchResult result;
	TimestampTz began;
	ErrorData *error;
	bool noted;

	if (!run_may(unit, &request))
		return false;
	began = GetCurrentTimestamp();
	session_begin_batch(unit->pm->id);
	contention_begin(unit->pm->lanes);
	run_activity(unit);
	request.max_events = isolate_limit(&unit->isolate, unit->pm->batch_size);
	request.max_parked = isolate_limit_parked(&unit->isolate, unit->pm->batch_size);
	MemoryContextSwitchTo(context);
	request.some = unit_moved(unit, &request.logs);
	request.separate = isolate_separate(&unit->isolate);
	run_lane_begins(unit);
	error = run_batch(&request, &progress, &result);
	if (error != NULL || progress.stage != PROGRESS_PREPARE)
		session_used(Max(progress.count, 1));
	run_ended(unit, &request, &result, error, &progress, counts);
	noted = error == NULL && result.outcome == DISPATCH_NOTED;
	/* A lane keeps its turn among the lanes for what it has noted. */
	run_lane_ended(unit, &request, began,
				   error != NULL || (result.outcome != DISPATCH_BUSY && !noted), error == NULL);
	MemoryContextSwitchTo(TopMemoryContext);
	MemoryContextReset(context);
	return noted;
}

/*
 * Runs one batch of a unit, and records when to run it again.  After a promotion, first runs
 * the batches that note what it handles.
 */
void
run_unit(Unit *unit, MemoryContext context, RunCounts *counts)
{
	if (!noted_end(true))
	{
		unit_poll(unit);
		return;
	}
	for (int i = 0; i < RUN_NOTES && run_once(unit, context, counts); i++)
		if (slot_asked_to_leave())
			break;
	(void) noted_end(unit->dirty && unit->not_before == 0);
}
