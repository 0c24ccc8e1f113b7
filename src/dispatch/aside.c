/*
 * aside.c
 *		Sets items of a batch aside: those that failed, and those that wait for another one.
 *
 * A failed item is parked in one of two ways.  Usually its batch was undone, blame.c has
 * recorded the failure in the state of the unit, and the next batch parks the item
 * (aside_park).  Where items have subtransactions of their own (separate.c), the batch
 * itself parks it (aside_failed).
 */
#include "pm.h"

#include "access/xact.h"

#include "dispatch/aside.h"
#include "dispatch/blame.h"
#include "dispatch/call_correlate.h"
#include "dispatch/keyless.h"
#include "manager/lane_fail.h"
#include "manager/park.h"
#include "manager/park_queue.h"
#include "shmem/crash.h"

bool
aside_has_queue(HandleRun *run, Key *key)
{
	if (key == NULL)
		return false;
	/* This batch may have begun the queue. */
	return key->parked || (run->had_parked && park_has(run->task->pm, run->task->lane, key));
}

/*
 * From now on the batch checks whether there is a queue.
 */
static void
aside_queued(HandleRun *run, Key *key)
{
	run->task->state->has_parked = true;
	if (key != NULL)
		key->parked_known = key->parked = true;
	run->tally.again = true;
}

/*
 * Called after a row has been added to those that will be written.
 */
static void
aside_added(HandleRun *run, const BatchItem *item)
{
	run->parked_last = item;
	if (park_rows_full(&run->parked))
		aside_write(run);
	crash_unmark();
}

void
aside_write(HandleRun *run)
{
	const BatchTask *task = run->task;
	Handling what;

	if (park_rows_count(&run->parked) == 0)
		return;
	/* If this crashes the server, one of the items is the cause. */
	if (crash_marks())
	{
		memset(&what, 0, sizeof(what));
		what.manager = task->pm->id;
		what.lane = task->lane;
		what.lanes = task->pm->lanes;
		what.outside = true;
		what.several = park_rows_count(&run->parked) > 1;
		batch_item_name(run->parked_last, &what);
		crash_mark(&what);
	}
	park_rows_write(&run->parked);
	crash_unmark();
}

void
aside_behind(HandleRun *run, const BatchItem *item)
{
	batch_item_crash_mark(run->task, item);
	park_behind(&run->parked, item->key->name, item->event, item->too_large);
	aside_added(run, item);
}

void
aside_untried(HandleRun *run, const BatchItem *item)
{
	batch_item_crash_mark(run->task, item);
	park_untried(&run->parked, item->key->name, item->event, item->too_large);
	aside_added(run, item);
	aside_queued(run, item->key);
}

/*
 * Halts the unit at an item, because too many have been parked.
 */
static void
aside_halt(HandleRun *run, const BatchItem *item, const char *refused, ErrorData *error)
{
	Handling what;

	memset(&what, 0, sizeof(what));
	what.lane = run->task->lane;
	batch_item_name(item, &what);
	lane_halt(run->task->pm, &what, refused, error, false);
	run->tally.halted = true;
}

/*
 * Why no further key may be parked.  If the limit may have been reached, the rows of this
 * batch are written first, so that all are counted.
 */
static char *
aside_refused(HandleRun *run, FailureKind kind)
{
	const BatchTask *task = run->task;

	if (!park_has_room(task->pm, task->lane, park_rows_count(&run->parked)))
		aside_write(run);
	return park_refused(task->pm, task->state, task->lane, kind);
}

void
aside_park(HandleRun *run, const BatchItem *item, ErrorData *error, Failure failure)
{
	const BatchTask *task = run->task;
	LaneState *state = task->state;
	char *refused = state->crashes > 0 ? NULL : aside_refused(run, failure.kind);

	if (refused != NULL)
	{
		aside_halt(run, item, refused, error);
		return;
	}
	/* The item will be tried again.  If that crashes the server once more, this must be on disk. */
	if (state->crashes > 0)
		ForceSyncCommit();
	batch_item_crash_mark(task, item);
	if (park_failed(&run->parked, item->key == NULL ? NULL : item->key->name, item->event,
					item->too_large, state->attempts, state->crashes, error, &failure))
		lane_in_a_row(task->pm->name, task->lane, 1, true);
	aside_added(run, item);
	aside_queued(run, item->key);
}

void
aside_failed(HandleRun *run, const BatchItem *item, ErrorData *error, const Failure *failure)
{
	const BatchTask *task = run->task;
	bool deferred = failure->kind == FAILURE_DEFERRED;
	char *refused;

	task->state->in_a_row = run->in_a_row;
	refused = aside_refused(run, failure->kind);
	/*
	 * The batch has taken the timer, or has handled or parked the event for other keys of
	 * it.  That must not be committed if the unit halts before the item.  So the batch is
	 * undone, and its items are tried one at a time.
	 */
	if (refused != NULL && (item->source == HANDLING_TIMER || item->nkeys > 0))
		ReThrowError(error);
	if (!deferred)
	{
		blame_say(task->pm, &run->calls.progress->handling, error);
		run->errors++;
	}
	if (refused != NULL)
	{
		aside_halt(run, item, refused, error);
		return;
	}
	batch_item_crash_mark(task, item);
	if (park_failed(&run->parked, item->key == NULL ? NULL : item->key->name, item->event,
					item->too_large, deferred ? 0 : 1, 0, error, failure))
		run->in_a_row++;
	aside_added(run, item);
	aside_queued(run, item->key);
	run->tally.failed++;
}

bool
aside_keyless(HandleRun *run, BatchItem *item)
{
	const BatchTask *task = run->task;
	ErrorData *error;
	Failure failure;

	if (!run->calls.handler.correlates || item->key != NULL || item->passed)
		return false;
	if (!task->separate && lane_failure(task->state).kind == FAILURE_ORDINARY)
		return false;
	error = keyless_ask(&run->calls, item, run->tally.done + 1, &failure);
	if (error == NULL)
		return false;
	if (!call_correlate_by_stream(item))
		return true;
	if (task->separate)
		aside_failed(run, item, error, &failure);
	else
		aside_park(run, item, error, failure);
	return true;
}

void
aside_count(const HandleRun *run)
{
	const BatchTask *task = run->task;

	if (run->errors > 0 || run->in_a_row != run->in_a_row_before)
		lane_count_failures(task->pm->name, task->lane, run->errors, run->in_a_row);
}
