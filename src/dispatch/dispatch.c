/*
 * dispatch.c
 *		Runs one batch of one unit: computes the marks, reads, handles, moves the cursors.
 *
 * Called by dispatchers in a transaction of their own, and by pm.catch_up in a
 * subtransaction of its caller.  The order of the steps is essential: lock the unit,
 * compute the marks, and only then take the snapshot that reads; handle, save the
 * instances, move the cursors, and leave the commit to the caller.  A batch that fails
 * leaves nothing behind except the caller's Progress, which says which item was being
 * handled.
 *
 * A batch handles either events of the logs and timers (handle.c), or the queues of
 * parked keys (retry.c).
 *
 * An event first passes through these files in the writer's session:
 *
 *	guard.c				the INSERT: a trigger notes that its transaction writes the log, and
 *						the CHECK compares each position with what readers have passed
 *	wakeup.c			at the end of that transaction: sets the latches of the dispatchers
 *
 * and then through these in a dispatcher, where each file calls those that are indented
 * below it:
 *
 *	dispatcher.c		wakes up
 *	  watch.c			finds out which logs have moved, and marks the units that follow them
 *	  run.c				begins a transaction for a batch of each of these units
 *		dispatch.c			locks the unit, reads its state, makes a BatchTask
 *		  handle.c			runs the batch:
 *			batch.c			merges what the logs and timers have into BatchItems:
 *			  batch_log.c	  asks for the log's mark (highwater_ask.c), and reads up to it:
 *				reading.c		turns rows into events, returns a Reading
 *				  log_index.c	  takes the snapshot, younger than the mark, and the rows
 *			call.c			asks for the key, calls the handler (handler.c);
 *							at the end saves the instances (instance_save.c)
 *			tally.c			counts the item; at the end moves the cursor (cursor.c)
 *		dispatch.c			turns the Tally into a DispatchResult
 *	  run.c				ends what the calls have left open (call.c), commits, and notes
 *						when to look at the unit again
 *
 * blame.c shows the same for a failure.
 */
#include "pm.h"

#include "access/xact.h"
#include "utils/guc.h"

#include "base/within.h"
#include "dispatch/careful.h"
#include "dispatch/dispatch.h"
#include "dispatch/handle.h"
#include "dispatch/retry.h"
#include "dispatch/separate.h"
#include "manager/manager_lock.h"
#include "manager/note.h"
#include "manager/sent.h"
#include "shmem/slot_activity.h"

/*
 * May the unit run at the same time as the other lanes of its process manager?  After lanes
 * have conflicted with each other, they run one after another for some time.  pm.catch_up
 * waits for locks, and runs all lanes in one transaction anyway.
 */
static bool
dispatch_lane_may_run(const DispatchRequest *request, bool *others_alone)
{
	if (request->pm->lanes == 1 || request->wait)
		return true;
	if (request->alone)
		return manager_lock_alone(request->pm, request->lane, request->alone_until);
	*others_alone = manager_lock_any_alone(request->pm->id);
	return !*others_alone;
}

/*
 * May the unit run now?  If it will be retried later, *due is set to that time.
 */
static bool
dispatch_may_run(const DispatchRequest *request, const LaneState *state, TimestampTz *due)
{
	ProcessManager *pm = request->pm;

	if (pm->paused || !pm->at_home || state->status == LANE_HALTED)
		return false;
	/*
	 * A caller that wants errors to be raised does not wait for a retry, but does wait
	 * for a deferral.
	 */
	if (state->status == LANE_RETRYING && !lane_retry_due(state, within_time()) &&
		(!request->raise || lane_failure(state).kind == FAILURE_DEFERRED))
	{
		*due = state->retry_at;
		return false;
	}
	return true;
}

static BatchTask
dispatch_task(const DispatchRequest *request, LaneState *state)
{
	ProcessManager *pm = request->pm;
	BatchTask task = {.pm = pm,
					  .lane = request->lane,
					  .state = state,
					  .now = request->now != 0 ? request->now : within_time(),
					  .limit = (int) Min(request->max_events, pm->batch_size),
					  .view = request->view,
					  .wait_for_logs = request->wait_for_logs,
					  .last_look = request->wait,
					  .raise = request->raise,
					  .parked_since = request->parked_since,
					  .walk = request->walk,
					  .watch = request->watch};

	/* The time must not move past that of the next retry of a parked event. */
	if (request->walk != NULL)
		task.now = state->parked_due > request->now ?
					   Min(request->walk->until, state->parked_due - 1) :
					   request->now;
	/* Handle one at a time if several may have failed, or if the handler takes arrays. */
	if (state->status == LANE_RETRYING && (state->attempts == 0 || pm->kind == HANDLER_BATCH))
		task.limit = 1;

	/* Where nothing is parked, or the unit tries one item again, the batch must stop there. */
	task.careful = request->careful > 0 && state->careful;
	task.note = request->note;
	if (task.careful)
		task.limit = 1;
	task.separate = request->separate > 0 && !task.careful && !request->raise &&
					!pm->halt_on_failure &&
					(state->status == LANE_OK || state->status == LANE_WAITING) &&
					separate_has_room();
	task.group = request->separate;
	if (task.separate)
		task.limit = Min(task.limit, SEPARATE_IDS * task.group);

	/*
	 * All logs are read unless only new events matter: an item that has failed may be
	 * in any log, and the events of all logs that were recorded before a timer are
	 * handled before it.
	 */
	task.some = request->some && !task.careful && state->status == LANE_OK &&
				(pm->kind != HANDLER_INSTANCE || state->timer_due > task.now);
	return task;
}

/*
 * Returns the parked event that must be handled before the logs, or NULL if
 * there is none.
 */
static Parked *
dispatch_head(const DispatchRequest *request, const BatchTask *task)
{
	/* Until the item that has failed is parked, nothing else is done. */
	if (request->leave_parked || request->max_parked <= 0 || task->state->status == LANE_PARKING ||
		!lane_parked_due(task->state, task->now))
		return NULL;
	return park_due(task->pm, task->lane, task->parked_since, task->now);
}

/*
 * Leaves out what was parked before the time that the request names.
 */
static void
dispatch_leave_parked(const DispatchRequest *request, LaneState *state)
{
	Parked *head;

	if (request->parked_since == 0 || state->parked_due == DT_NOEND)
		return;
	head = park_due(request->pm, request->lane, request->parked_since, DT_NOEND);
	state->parked_due = head == NULL ? DT_NOEND : head->retry_at;
}

/*
 * Returns when the unit has something to do, even without a new event.
 */
static TimestampTz
dispatch_due(const BatchTask *task, const Tally *tally)
{
	const LaneState *state = task->state;
	TimestampTz due = tally->due;

	if (tally->halted)
		return DT_NOEND;
	/* If some logs are left out, no timer fires. */
	if (tally->left_out > 0)
		return state->parked_due;
	if (state->status == LANE_PARKING)
		return due;
	if (task->pm->kind == HANDLER_INSTANCE)
		due = Min(due, state->timer_due);
	return Min(due, state->parked_due);
}

static DispatchOutcome
dispatch_outcome(const DispatchRequest *request, const BatchTask *task, const Tally *tally)
{
	if (tally->noted || tally->awaits)
		return tally->noted ? DISPATCH_NOTED : DISPATCH_AWAITS;
	if (tally->busy)
		return DISPATCH_BUSY;
	if (tally->halted)
		return DISPATCH_STOPPED;
	if (tally->more || tally->again || tally->left ||
		/* The parked event was left out only this time. */
		(request->leave_parked && lane_parked_due(task->state, task->now)))
		return DISPATCH_MORE;
	return tally->done > 0 ? DISPATCH_DONE : DISPATCH_IDLE;
}

/*
 * The batch has done nothing that must not be lost, so its commit need not wait for the
 * disk.
 */
static void
dispatch_commit_later(void)
{
	if (GetCurrentTransactionNestLevel() == 1)
		(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
}

/*
 * Locks the unit and reads its state.  Returns DISPATCH_MORE if it may run, or else the
 * outcome of the batch.
 */
static DispatchOutcome
dispatch_begin(const DispatchRequest *request, LaneState *state, DispatchResult *result)
{
	ProcessManager *pm = request->pm;

	if (!dispatch_lane_may_run(request, &result->others_alone))
		return DISPATCH_BUSY;
	if (!manager_lock_unit(pm->id, request->lane, !request->wait))
		return DISPATCH_BUSY;
	/* The registration can only change before we have the lock. */
	if (registry_version() != pm->version)
		return DISPATCH_STALE;
	lane_state(pm, request->lane, state);
	result->due_before = Min(state->timer_due, state->parked_due);
	dispatch_leave_parked(request, state);
	if (!dispatch_may_run(request, state, &result->due))
		return DISPATCH_STOPPED;
	return DISPATCH_MORE;
}

/*
 * Makes a result of what the batch has counted.
 */
static void
dispatch_conclude(const DispatchRequest *request, const BatchTask *task, bool parked,
				  const Tally *tally, DispatchResult *result)
{
	result->outcome = dispatch_outcome(request, task, tally);
	result->done = tally->done;
	result->handled = tally->handled;
	result->failed = tally->failed;
	result->left = tally->left;
	result->parked = parked;
	result->held = tally->held;
	result->left_out = tally->broken;
	result->all = parked || !task->some;
	result->rest = tally->rest;
	result->due = dispatch_due(task, tally);
	result->earlier = result->due < result->due_before;
	/* What has failed is retried or parked, so there is more to do. */
	result->next_known = tally->next_known &&
						 (task->state->status == LANE_OK || request->walk->look);
	result->next = tally->next;
}

/*
 * Has a unit that goes carefully passed what may have been in hand before the promotion?
 */
static bool
dispatch_has_passed(const DispatchRequest *request, const DispatchResult *result)
{
	if (result->outcome == DISPATCH_IDLE || result->outcome == DISPATCH_DONE)
		return !result->held;
	return result->outcome == DISPATCH_MORE && request->careful > 0 &&
		   result->done >= request->careful;
}

/*
 * Called at the end of a batch that goes carefully, and as long as the unit has not passed
 * what was in hand at a promotion.  That the unit has passed it is written with the first items
 * that are handled then, or when the dispatcher is idle (passed.c), because thousands of units may
 * have nothing in hand.
 */
static void
dispatch_end_careful(const DispatchRequest *request, const BatchTask *task, DispatchResult *result)
{
	result->careful = task->careful;
	result->parked_awaits = result->outcome == DISPATCH_AWAITS &&
							(request->passed || !task->state->careful);
	if (task->careful && task->note->committed && result->outcome != DISPATCH_NOTED)
	{
		note_forget(task->pm->name, task->lane);
		result->forgot = true;
	}
	if (!task->state->careful)
		return;
	result->passed = request->passed || dispatch_has_passed(request, result);
	if (result->passed && result->done > 0)
		lane_passed(task->pm->name, task->lane);
}

/*
 * Counts an attempt for the item that was in hand when an earlier primary was lost.  This
 * batch may handle neither that item nor anything else of the unit.
 */
static bool
dispatch_judge(const DispatchRequest *request, const LaneState *state)
{
	/* If the unit has passed, only a parked item can be noted. */
	bool may = state->careful ||
			   (state->has_parked && state->careful_to > 0 && request->note != NULL);

	if (!may || (request->walk != NULL && request->walk->look) ||
		(request->note != NULL && request->note->committed))
		return false;
	return careful_judge(request->pm, request->lane);
}

DispatchResult
dispatch_batch(const DispatchRequest *request, Progress *progress)
{
	ProcessManager *pm = request->pm;
	DispatchResult result = {.due = DT_NOEND};
	LaneState state;
	BatchTask task;
	Parked *head;
	Tally tally;

	Assert(!IsolationUsesXactSnapshot());
	Assert(!within_handler());
	slot_activity_set(ACTIVITY_READING);
	result.outcome = dispatch_begin(request, &state, &result);
	if (result.outcome != DISPATCH_MORE)
		return result;

	if (dispatch_judge(request, &state))
	{
		result.outcome = DISPATCH_DELIVERED;
		return result;
	}
	task = dispatch_task(request, &state);
	/*
	 * This commits by itself: a batch that is undone refers to its timers, whose rows
	 * must stay.
	 */
	if (request->sent && pm->kind == HANDLER_INSTANCE && sent_known() &&
		sent_deliver(pm, request->lane, task.now, &result.sending) > 0)
	{
		result.outcome = DISPATCH_DELIVERED;
		dispatch_commit_later();
		return result;
	}
	head = dispatch_head(request, &task);
	task.careful |= head != NULL && careful_wants(&task, head);
	if (head != NULL && (!task.careful || careful_may_retry(&task, head, &tally)))
		tally = retry_batch(&task, head, task.careful ? 1 : request->max_parked, progress);
	else if (head == NULL)
		tally = handle_batch(&task,
							 task.some ? cursor_list_some(pm, request->lane, request->logs) :
										 cursor_list(pm, request->lane),
							 progress);
	/* Where items have subtransactions, the batch itself has written this number. */
	if (tally.handled > 0 && state.in_a_row > 0 && !tally.halted && !task.separate)
		lane_in_a_row(pm->name, request->lane, 0, false);

	dispatch_conclude(request, &task, head != NULL, &tally, &result);
	if (state.careful || task.careful)
		dispatch_end_careful(request, &task, &result);
	/*
	 * If a crash loses the record that events of other lanes were skipped, they are skipped
	 * again.
	 */
	if (tally.done == 0 && result.outcome != DISPATCH_STOPPED && result.outcome != DISPATCH_NOTED)
		dispatch_commit_later();
	slot_activity_set(ACTIVITY_COMMITTING);
	return result;
}
