/*
 * dispatch.c
 *		One batch of one unit: mark -> read -> handle -> advance.
 *
 * Called by dispatchers in a transaction of their own, and by pm.catch_up in a
 * subtransaction of its caller's.  The order is what makes it right: lock the
 * unit, compute the marks, only then take the snapshot that reads, handle,
 * save the instances, move the cursors, and leave the commit to the caller.  A
 * batch that fails leaves nothing behind; the caller's Progress says which event
 * to blame.
 *
 * A batch handles either what the logs and timers have, or the queue of one
 * parked key.
 */
#include "pm.h"

#include "access/xact.h"
#include "utils/guc.h"

#include "base/within.h"
#include "dispatch/batch.h"
#include "dispatch/call.h"
#include "dispatch/dispatch.h"
#include "manager/cursor.h"
#include "manager/handler.h"
#include "manager/instance.h"
#include "manager/lane.h"
#include "manager/manager_lock.h"
#include "manager/park.h"
#include "manager/park_queue.h"
#include "manager/timer.h"
#include "shmem/crash.h"
#include "shmem/slot.h"
#include "shmem/slot_activity.h"

/* ---------- logs and timers ---------- */

/*
 * Is this what has failed, and is to be tried again or set aside now?
 */
static bool
dispatch_has_failed(Batch *batch, BatchItem *item)
{
	Handling what;

	if (batch->state.status != LANE_PARKING && batch->state.status != LANE_RETRYING)
		return false;
	memset(&what, 0, sizeof(what));
	batch_name(item, &what);
	return lane_is_about(&batch->state, &what);
}

/*
 * Sets the item aside that has failed, unless too many have.
 */
static void
dispatch_park(Batch *batch, BatchItem *item)
{
	char *refused = batch->state.crashes > 0 ? NULL :
											   park_refused(batch->pm, &batch->state, batch->lane);

	if (refused != NULL)
	{
		Handling what;

		memset(&what, 0, sizeof(what));
		what.lane = batch->lane;
		batch_name(item, &what);
		lane_halt(batch->pm, &what, refused, &batch->state.error, false);
		batch->halted = true;
		return;
	}
	/* It is about to be tried again: the next crash must not undo this. */
	if (batch->state.crashes > 0)
		ForceSyncCommit();
	batch_mark(batch, item);
	park_failed(batch->pm, batch->lane, item->key->name, item->event, item->too_large,
				batch->state.attempts, batch->state.crashes, &batch->state.error);
	crash_unmark();
	batch->again = true;
}

/*
 * Sets an item aside whose key has a queue.
 */
static void
dispatch_behind(Batch *batch, BatchItem *item)
{
	batch_mark(batch, item);
	park_behind(batch->pm, batch->lane, item->key->name, item->event, item->too_large);
	crash_unmark();
}

/*
 * Gets past one item: handles it, or sets it aside, or finds that there is
 * nothing to do.
 */
static void
dispatch_item(Batch *batch, Calls *calls, BatchItem *item)
{
	bool to_park = batch->state.status == LANE_PARKING && !batch->request->raise &&
				   dispatch_has_failed(batch, item);
	bool handled = false;
	bool keyed;

	calls->progress->count = batch->done + 1;
	if (item->source == HANDLING_TIMER && !timer_take(item->id))
	{
		/* Cancelled or replaced since it was read. */
		batch_done(batch, item, false);
		return;
	}
	if (item->source == HANDLING_TIMER)
	{
		batch->again = true;
		instance_load(batch->pm, item->key);
		if (!item->key->live)
		{
			batch_done(batch, item, false);
			return;
		}
	}

	keyed = calls->handler.correlates || calls->handler.kind == HANDLER_INSTANCE ||
			batch->state.has_parked || to_park;
	if (keyed && !call_correlate(batch, calls, item))
	{
		batch_done(batch, item, false);
		return;
	}
	if (batch->state.has_parked && park_has(batch->pm, batch->lane, item->key))
		dispatch_behind(batch, item);
	else if (to_park)
		dispatch_park(batch, item);
	else
	{
		call_handler(batch, calls, item);
		handled = true;
	}
	if (!batch->halted)
		batch_done(batch, item, handled);
}

/*
 * Gets past a batch in one call of the handler.
 */
static void
dispatch_array(Batch *batch, Calls *calls)
{
	BatchItem **items = palloc(sizeof(BatchItem *) * Max(batch->count, 1));
	BatchItem *item;
	int count = 0;

	while ((item = batch_next(batch)) != NULL)
	{
		if ((calls->handler.correlates || batch->state.has_parked) &&
			!call_correlate(batch, calls, item))
			batch_done(batch, item, false);
		else if (batch->state.has_parked && park_has(batch->pm, batch->lane, item->key))
		{
			dispatch_behind(batch, item);
			batch_done(batch, item, false);
		}
		else
		{
			items[count++] = item;
			batch_done(batch, item, true);
		}
	}
	if (count == 0)
		return;

	call_array(batch, calls, items, count);
}

/*
 * Where the keys can be told without asking the items before, what is kept of
 * them is read at once.
 */
static void
dispatch_foretell(Batch *batch, Calls *calls)
{
	/* An event that is to run alone is asked alone. */
	if (batch->state.status == LANE_RETRYING || batch->state.status == LANE_PARKING)
		return;
	if (!calls->handler.foretells || batch->count < 2 ||
		!(calls->handler.kind == HANDLER_INSTANCE || batch->state.has_parked))
		return;
	for (int i = 0; i < batch->count; i++)
	{
		/* An error here is found to be due to its event, as if it were its turn. */
		batch->done = i;
		(void) call_correlate(batch, calls, batch->events[i]);
	}
	batch->done = 0;
	if (calls->handler.kind == HANDLER_INSTANCE)
		instance_prefetch(batch->pm, &batch->keys);
	if (batch->state.has_parked)
		park_prefetch(batch->pm, batch->lane, batch->keys.all);
}

/*
 * Has the batch shown that what was wrong with the unit is over?  A retry must
 * have got past the item that failed; to get this far is enough for a wait.
 * Runs after the cursors have moved.
 */
static bool
dispatch_cures(Batch *batch)
{
	LaneState *state = &batch->state;

	if (batch->halted)
		return false;
	if (state->status == LANE_WAITING)
		return true;
	if (state->status != LANE_RETRYING && state->status != LANE_PARKING)
		return false;
	if (state->log == NULL)
	{
		Timer *timer = timer_get(batch->pm, state->position);

		/* It may have failed at a time that is still to come. */
		return timer == NULL || timer->due > batch->now;
	}
	for (int i = 0; i < batch->nlogs; i++)
		if (strcmp(batch->logs[i].cursor->log, state->log) == 0)
			return batch->logs[i].cursor->position >= state->position;
	return true;
}

/*
 * A batch of events and timers.  Stops early, between two of them, when it has
 * lasted long enough.
 */
static void
dispatch_logs(Batch *batch, List *cursors, Progress *progress, DispatchResult *result)
{
	Calls calls;
	BatchItem *item;
	bool more;

	result->outcome = DISPATCH_BUSY;
	batch_open(batch, cursors);
	if (!batch_read(batch, result))
		return;
	batch->timers_unread = batch->pm->kind == HANDLER_INSTANCE && batch->left_out == 0 &&
						   batch->state.timer_due <= batch->now;
	if (batch->count > 0 || batch->timers_unread)
	{
		call_begin(&calls, batch, progress);
		dispatch_foretell(batch, &calls);
		if (calls.handler.kind == HANDLER_BATCH && batch->state.status != LANE_PARKING)
			dispatch_array(batch, &calls);
		else
			while (!batch->halted && (item = batch_next(batch)) != NULL)
			{
				bool alone = dispatch_has_failed(batch, item);

				CHECK_FOR_INTERRUPTS();
				batch->again |= alone;
				if (alone && batch->done > 0)
				{
					batch_put_back(batch, item);
					break;
				}
				dispatch_item(batch, &calls, item);
				if (alone || GetCurrentTimestamp() >= calls.deadline || slot_asked_to_leave())
					break;
			}
		batch->again |= batch->has_timers && batch->left_out == 0 &&
						(batch->timers_unread || batch->timers_more ||
						 batch->next_timer < list_length(batch->timers));
		call_end(&calls, batch);
	}

	more = batch_advance(batch, result) || batch->again;
	if (dispatch_cures(batch))
		lane_clear(batch->pm->name, batch->lane);
	result->outcome = batch->halted	  ? DISPATCH_STOPPED :
					  more			  ? DISPATCH_MORE :
					  batch->done > 0 ? DISPATCH_DONE :
										DISPATCH_IDLE;
}

/* ---------- parked events ---------- */

static void
dispatch_count_parked(List *cursors, const char *log)
{
	ListCell *lc;

	foreach(lc, cursors)
		if (log != NULL && strcmp(((Cursor *) lfirst(lc))->log, log) == 0)
			((Cursor *) lfirst(lc))->parked++;
}

/*
 * A batch of one parked key, whose head is due.  What has failed before runs
 * alone; when it succeeds the next of the queue follow.
 */
static void
dispatch_parked(Batch *batch, List *cursors, Parked *head, Progress *progress,
				DispatchResult *result)
{
	Calls calls;
	BatchItem first = {.source = HANDLING_PARKED,
					   .id = head->id,
					   .position = head->position,
					   .log_name = head->log};
	int64 last = head->id;
	List *queue;
	ListCell *lc;

	batch_mark(batch, &first);
	queue = park_read(batch->pm, batch->lane, head->key, head->id,
					  head->attempts > 0 ? 1 : batch->request->max_parked);
	crash_unmark();
	if (queue == NIL || ((Parked *) linitial(queue))->id != head->id)
		elog(ERROR, "parked event %lld is gone", (long long) head->id);
	result->parked = true;
	call_begin(&calls, batch, progress);
	foreach(lc, queue)
	{
		Parked *parked = lfirst(lc);
		BatchItem item;

		if (parked->attempts > 0 && batch->done > 0)
			break;

		CHECK_FOR_INTERRUPTS();
		progress->count = batch->done + 1;
		memset(&item, 0, sizeof(item));
		item.source = HANDLING_PARKED;
		item.id = parked->id;
		item.position = parked->position;
		item.log_name = parked->log;
		item.event = parked->event;
		item.too_large = parked->too_large;
		item.key = key_get_text(&batch->keys, parked->key);
		last = parked->id;
		/* A timer may have been cancelled by what ran before it. */
		if (park_take(parked->id))
		{
			if (parked->log == NULL)
				instance_load(batch->pm, item.key);
			if (parked->log != NULL || item.key->live)
			{
				call_handler(batch, &calls, &item);
				dispatch_count_parked(cursors, parked->log);
				batch->handled++;
			}
		}
		batch->done++;
		if (GetCurrentTimestamp() >= calls.deadline || slot_asked_to_leave())
			break;
	}
	call_end(&calls, batch);
	foreach(lc, cursors)
		if (((Cursor *) lfirst(lc))->parked > 0)
			cursor_count(batch->pm, batch->lane, lfirst(lc));
	park_promote(batch->pm, batch->lane, head->key, last);
	result->outcome = DISPATCH_MORE;
}

/* ---------- a batch ---------- */

/*
 * May the unit run now?
 */
static bool
dispatch_may_run(DispatchRequest *request, LaneState *state, DispatchResult *result)
{
	ProcessManager *pm = request->pm;

	if (pm->paused || !pm->at_home || state->status == LANE_HALTED)
		return false;
	/* Who wants to see the error wants it now. */
	if (state->status == LANE_RETRYING && !request->raise &&
		!lane_is_due(state->retry_at, within_time()))
	{
		result->due = state->retry_at;
		return false;
	}
	return true;
}

/*
 * The cursors of the logs to look at.  All of them, where more than new events is
 * to be decided on: what has failed is in some log, and before a timer go the
 * events of all logs that were recorded before.
 */
static List *
dispatch_cursors(Batch *batch)
{
	DispatchRequest *request = batch->request;

	batch->some = request->some && batch->state.status == LANE_OK &&
				  (batch->pm->kind != HANDLER_INSTANCE || batch->state.timer_due > batch->now);
	return batch->some ? cursor_list_some(batch->pm, batch->lane, request->logs) :
						 cursor_list(batch->pm, batch->lane);
}

/*
 * Runs one batch of a unit in the current (sub)transaction, which must be
 * fresh: READ COMMITTED, no snapshot in use that is older than the marks.  Where
 * it is at any moment, is in *progress, which the caller has set to zeros.
 */
DispatchResult
dispatch_batch(DispatchRequest *request, Progress *progress)
{
	Batch batch;
	DispatchResult result;
	Parked *head = NULL;

	Assert(!IsolationUsesXactSnapshot());
	Assert(!within_handler());
	memset(&batch, 0, sizeof(batch));
	memset(&result, 0, sizeof(result));
	batch.request = request;
	batch.pm = request->pm;
	batch.lane = request->lane;
	batch.now = request->now != 0 ? request->now : within_time();
	result.due = DT_NOEND;
	slot_activity_set(ACTIVITY_READING);

	result.outcome = DISPATCH_BUSY;
	if (!manager_lock_unit(request->pm->id, request->lane, !request->wait))
		return result;
	result.outcome = DISPATCH_STALE;
	if (registry_version() != request->pm->version)
		return result;

	lane_state(batch.pm, request->lane, &batch.state);
	result.outcome = DISPATCH_STOPPED;
	if (!dispatch_may_run(request, &batch.state, &result))
		return result;

	key_begin(&batch.keys);
	batch.limit = (int) Min(request->max_events, request->pm->batch_size);
	/* Where it is not known which of several has failed, or the handler takes several, one at a
	 * time. */
	if (batch.state.status == LANE_RETRYING &&
		(batch.state.attempts == 0 || batch.pm->kind == HANDLER_BATCH))
		batch.limit = 1;
	/* Until the verdict is carried out, nothing else counts. */
	batch.due = batch.state.status == LANE_PARKING ? DT_NOEND : batch.state.parked_due;
	if (batch.pm->kind == HANDLER_INSTANCE && batch.state.status != LANE_PARKING)
		batch.due = Min(batch.due, batch.state.timer_due);

	if (!request->leave_parked && batch.state.status != LANE_PARKING && request->max_parked > 0 &&
		lane_is_due(batch.state.parked_due, batch.now))
		head = park_due(batch.pm, batch.lane, batch.now);
	if (head != NULL)
		dispatch_parked(&batch, cursor_list(batch.pm, batch.lane), head, progress, &result);
	else
		dispatch_logs(&batch, dispatch_cursors(&batch), progress, &result);
	result.all = !batch.some;

	if (batch.handled > 0 && batch.state.in_a_row > 0 && !batch.halted)
		lane_in_a_row(batch.pm->name, batch.lane, 0, false);
	result.done = batch.done;
	result.handled = batch.handled;
	/* Without all logs no timer is fired. */
	result.due = batch.halted ? DT_NOEND : batch.left_out > 0 ? batch.state.parked_due : batch.due;
	if ((result.outcome == DISPATCH_IDLE || result.outcome == DISPATCH_DONE) &&
		request->leave_parked && lane_is_due(batch.state.parked_due, batch.now))
		result.outcome = DISPATCH_MORE;
	/* That events of others were passed over may be lost: they are passed over again. */
	if (batch.done == 0 && result.outcome != DISPATCH_STOPPED &&
		GetCurrentTransactionNestLevel() == 1)
		(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
	slot_activity_set(ACTIVITY_COMMITTING);
	return result;
}
