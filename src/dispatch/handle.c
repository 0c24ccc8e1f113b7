/*
 * handle.c
 *		Handles the events of a unit's logs, and its timers.
 *
 * For each item, calls the handler, or sets the item aside, or finds that there
 * is nothing to do.  The batch ends between two items, when it has lasted for
 * long enough, or after an item that must run alone.
 */
#include "pm.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "base/event.h"
#include "base/within.h"
#include "dispatch/aside.h"
#include "dispatch/call_correlate.h"
#include "dispatch/careful.h"
#include "dispatch/handle.h"
#include "dispatch/keyless.h"
#include "dispatch/separate.h"
#include "dispatch/separate_group.h"
#include "log/guard.h"
#include "manager/instance.h"
#include "manager/lane_fail.h"
#include "manager/park.h"
#include "manager/park_queue.h"
#include "manager/timer.h"
#include "shmem/crash.h"
#include "shmem/slot.h"

/* When a batch has met this many keys, it does not compute more of them in advance. */
#define HANDLE_KEYS 10000

/*
 * Is this the item that has failed, and that must be tried again or parked now?
 */
static bool
handle_has_failed(const BatchTask *task, const BatchItem *item)
{
	Handling what;

	if (task->state->status != LANE_PARKING && task->state->status != LANE_RETRYING)
		return false;
	memset(&what, 0, sizeof(what));
	batch_item_name(item, &what);
	return lane_is_about(task->state, &what);
}

/* ---------- one item ---------- */

/*
 * Takes a timer in order to handle it.  False if it has been canceled or
 * replaced since it was read, or has no instance any more.
 */
static bool
handle_take_timer(HandleRun *run, const BatchItem *item)
{
	if (!timer_take(item->id))
		return false;
	run->tally.again = true;
	instance_load(run->task->pm, item->key);
	return item->key->live || event_is_sent(item->event);
}

/*
 * Calls the handler for an item.
 */
static void
handle_call(HandleRun *run, BatchItem *item)
{
	BatchWatch *watch = run->task->watch;
	CallTimers timers;

	if (watch != NULL)
		watch->before(watch, item);
	timers = call_handler(&run->calls, item, run->tally.done + run->ahead + 1);
	if (watch != NULL)
		watch->after(watch, item);
	run->tally.due = Min(run->tally.due, timers.earliest);
	run->timer_came |= timers.ndue > 0;
	for (int i = 0; i < timers.ndue; i++)
		batch_timer_set(run->task, &run->batch.timers, &run->batch.keys, timers.due[i], item);
	crash_unmark();
}

/*
 * Handles or parks an item, for the key that it has now.  Returns whether the handler
 * was called.
 */
static bool
handle_one(HandleRun *run, BatchItem *item, bool to_park)
{
	const BatchTask *task = run->task;

	if (aside_has_queue(run, item->key))
		aside_behind(run, item);
	else if (to_park)
		aside_park(run, item, &task->state->error, lane_failure(task->state));
	else if (task->separate)
		return separate_item(run, item, handle_call);
	else
	{
		handle_call(run, item);
		journal_save_full(&run->calls.journal);
		return true;
	}
	return false;
}

/* ---------- an event that goes to several keys ---------- */

/*
 * Parks an event for the keys from this one on.  From then on it is handled, or fails,
 * for each of them by itself.  If it has failed, "failed" is the key for which it did.
 */
static void
handle_split(HandleRun *run, BatchItem *item, int from, Key *failed)
{
	/* First the one that may have to halt the unit, since nothing is parked then. */
	if (failed != NULL)
	{
		item->key = failed;
		(void) handle_one(run, item, true);
		if (run->tally.halted)
			return;
	}
	for (int i = from; i < item->nkeys; i++)
	{
		item->key = item->keys[i];
		if (item->key == failed)
			continue;
		if (aside_has_queue(run, item->key))
			aside_behind(run, item);
		else
			aside_untried(run, item);
	}
}

/*
 * The key for which the event has failed, as the lane's state has it.  NULL if correlate
 * does not return that key any more.
 */
static Key *
handle_failed_key(const LaneState *state, const BatchItem *item)
{
	if (state->key == NULL)
		return item->keys[0];
	for (int i = 0; i < item->nkeys; i++)
		if (strcmp(item->keys[i]->name, state->key) == 0)
			return item->keys[i];
	return NULL;
}

/*
 * Handles an event for each of its keys, in one transaction, because the cursor cannot
 * stop in the middle of an event.  If that takes too long, or if the event has failed
 * for one key, it is parked for the others, so that no key keeps another one from being
 * handled.  Where nothing is parked, all keys wait.  Returns how often the handler was
 * called.
 */
static int
handle_several(HandleRun *run, BatchItem *item, bool to_park)
{
	const BatchTask *task = run->task;
	bool may_split = !task->pm->halt_on_failure && !task->raise;
	int handled = 0;

	if (to_park)
	{
		handle_split(run, item, 0, handle_failed_key(task->state, item));
		return 0;
	}
	for (int i = 0; i < item->nkeys; i++)
	{
		CHECK_FOR_INTERRUPTS();
		/* For each of the others, a call is noted by itself. */
		if (i > 0 && may_split &&
			(task->careful || GetCurrentTimestamp() >= run->calls.deadline ||
			 (task->separate && separate_is_full(&run->ids))))
		{
			handle_split(run, item, i, NULL);
			break;
		}
		item->key = item->keys[i];
		handled += handle_one(run, item, false) ? 1 : 0;
	}
	return handled;
}

/* ---------- any item ---------- */

/*
 * Handles, parks or skips one item.  "failed" says that it has failed before.
 */
static void
handle_item(HandleRun *run, BatchItem *item, bool failed)
{
	const BatchTask *task = run->task;
	const Handler *handler = &run->calls.handler;
	bool has_parked = task->state->has_parked;
	bool to_park = failed && task->state->status == LANE_PARKING &&
				   (!task->raise || lane_failure(task->state).kind == FAILURE_DEFERRED);
	bool keyed = handler->correlates || handler->kind == HANDLER_INSTANCE || has_parked ||
				 to_park || task->separate;
	int handled;

	run->calls.progress->count = run->tally.done + 1;
	if ((to_park || task->separate) && aside_keyless(run, item))
	{
		if (!run->tally.halted)
			tally_add(&run->tally, item, 0);
		return;
	}
	if ((item->source == HANDLING_TIMER && !handle_take_timer(run, item)) ||
		(keyed && !call_correlate(&run->calls, item, run->tally.done + 1)))
	{
		tally_add(&run->tally, item, 0);
		if (task->watch != NULL)
			task->watch->done(task->watch, item, 0);
		return;
	}
	if (item->nkeys > 0)
		handled = handle_several(run, item, to_park);
	else
		handled = handle_one(run, item, to_park) ? 1 : 0;
	if (task->watch != NULL)
		task->watch->done(task->watch, item, handled);
	/*
	 * If the unit halts before the item, the item is handled after pm.resume.  If it is left
	 * for a batch of its own, that batch handles it.  Neither is counted now.
	 */
	if (!run->tally.halted && !run->tally.left)
		tally_add(&run->tally, item, handled);
}

/* ---------- all of them ---------- */

/*
 * If the keys can be computed before any item is handled, reads what is kept for them
 * at once.
 */
static void
handle_prefetch(HandleRun *run)
{
	const BatchTask *task = run->task;
	Batch *batch = &run->batch;
	bool keeps = run->calls.handler.kind == HANDLER_INSTANCE;
	Failure failure;

	/* For an event that must run alone, correlate is called alone too. */
	if (task->state->status == LANE_RETRYING || task->state->status == LANE_PARKING)
		return;
	if (!run->calls.handler.foretells || batch->count < 2 || task->careful ||
		!(keeps || task->state->has_parked || (task->separate && run->calls.handler.correlates)))
		return;
	/*
	 * If this fails for the nth event, the next batch handles the events before it, and
	 * then it alone.
	 */
	for (int i = 0; i < batch->count && list_length(batch->keys.all) < HANDLE_KEYS; i++)
		if (task->separate && run->calls.handler.correlates)
			(void) keyless_ask(&run->calls, batch->events[i], i + 1, &failure);
		else
			(void) call_correlate(&run->calls, batch->events[i], i + 1);
	if (keeps)
		instance_prefetch(task->pm, &batch->keys);
	if (task->state->has_parked)
		park_prefetch(task->pm, task->lane, batch->keys.all);
}

/*
 * In a walk, lets the time move to that of an item.  False if the batch must end before the
 * item: a handler has written a log or set a timer, and that may come first.
 */
static bool
handle_walk_to(HandleRun *run, const BatchItem *item)
{
	TimestampTz time = batch_time(&run->batch, item);

	if (run->tally.done > 0 && (guard_writes != run->writes || time > run->tally.due))
		return false;
	within_set_time(Max(within_time(), time));
	return true;
}

/*
 * Handles a batch in one call of the handler.
 */
static void
handle_array(HandleRun *run)
{
	const BatchTask *task = run->task;
	bool has_parked = task->state->has_parked;
	bool keyed = run->calls.handler.correlates || has_parked;
	BatchItem **items = palloc(sizeof(BatchItem *) * Max(run->batch.count, 1));
	BatchItem *item;
	int count = 0;

	while ((item = batch_next(&run->batch)) != NULL)
	{
		bool ours;
		bool behind;

		if (task->walk != NULL)
			(void) handle_walk_to(run, item);
		ours = !keyed || call_correlate(&run->calls, item, run->tally.done + 1);
		behind = ours && has_parked && park_has(task->pm, task->lane, item->key);
		if (behind)
			aside_behind(run, item);
		else if (ours)
			items[count++] = item;
		tally_add(&run->tally, item, ours && !behind ? 1 : 0);
	}
	if (count > 0)
		call_array(&run->calls, items, count, run->tally.done);
}

/*
 * Has the batch lasted for long enough?  The clock was read when the last call returned.
 */
static bool
handle_time_is_up(HandleRun *run)
{
	TimestampTz now = run->calls.handler.times.ended;

	run->calls.handler.times.ended = 0;
	return (now != 0 ? now : GetCurrentTimestamp()) >= run->calls.deadline;
}

/*
 * Handles a batch item by item or, if items share subtransactions, a few at a time.
 */
static void
handle_each(HandleRun *run)
{
	Tally *tally = &run->tally;

	while (!tally->halted && tally->done < run->task->limit)
	{
		BatchItem *item;
		bool alone;

		CHECK_FOR_INTERRUPTS();
		if (run->task->separate && separate_group(run, handle_call))
		{
			if (tally->left || separate_batch_ends(run, GetCurrentTimestamp()))
				break;
			continue;
		}
		item = batch_next(&run->batch);
		if (item == NULL)
			break;
		alone = handle_has_failed(run->task, item);
		tally->again |= alone;
		/* What is about to be parked is not handled. */
		if (run->task->careful && !(alone && run->task->state->status == LANE_PARKING) &&
			!careful_may(run, item, alone))
		{
			batch_put_back(&run->batch, item);
			break;
		}
		/* An item that has failed runs in a batch of its own, so that it undoes no other item. */
		if ((alone && tally->done > 0) || (run->task->walk != NULL && !handle_walk_to(run, item)))
		{
			batch_put_back(&run->batch, item);
			break;
		}
		handle_item(run, item, alone);
		if (tally->left)
			batch_put_back(&run->batch, item);
		if (alone || tally->left || handle_time_is_up(run) || slot_asked_to_leave() ||
			(run->task->separate && separate_is_full(&run->ids)))
			break;
	}
}

static void
handle_items(HandleRun *run, Progress *progress)
{
	const BatchTask *task = run->task;
	bool shared = batch_log_any_shared(&run->batch.logs);
	TimestampTz earliest;

	call_begin(&run->calls, task, shared, &run->batch.keys, progress);
	handle_prefetch(run);
	if (run->calls.handler.kind == HANDLER_BATCH && task->state->status != LANE_PARKING &&
		task->watch == NULL && !task->separate && !task->careful)
		handle_array(run);
	else
		handle_each(run);
	if (task->separate)
		aside_count(run);
	aside_write(run);
	run->tally.again |= batch_any_timer(&run->batch);
	earliest = call_end(&run->calls, run->tally.handled);
	run->tally.due = Min(run->tally.due, earliest);
}

/*
 * Has the batch shown that the unit's problem is over?  After a retry, the
 * failed item must have been handled.  If the unit waited, it is enough that the
 * batch has come this far.  Called after the cursors have moved.
 */
static bool
handle_cures(const HandleRun *run)
{
	const BatchTask *task = run->task;
	const LaneState *state = task->state;
	const BatchLogs *logs = &run->batch.logs;

	if (run->tally.halted)
		return false;
	if (state->status == LANE_WAITING)
		return true;
	if (state->status != LANE_RETRYING && state->status != LANE_PARKING)
		return false;
	if (state->log == NULL)
	{
		Timer *timer = timer_get(task->pm, state->position);

		/* It may have failed when the clock was ahead, and not be due now. */
		return timer == NULL || timer->due > task->now;
	}
	for (int i = 0; i < logs->count; i++)
		if (strcmp(logs->logs[i].cursor->log, state->log) == 0)
			return logs->logs[i].cursor->position >= state->position;
	return true;
}

Tally
handle_batch(const BatchTask *task, List *cursors, Progress *progress)
{
	HandleRun run;
	bool now;

	run.task = task;
	run.had_parked = task->state->has_parked;
	run.in_a_row = run.in_a_row_before = task->state->in_a_row;
	run.errors = run.ahead = 0;
	run.timer_came = run.one_each = false;
	park_rows_begin(&run.parked, task->pm, task->lane);
	separate_begin(&run.ids);
	now = batch_read(&run.batch, task, cursors);
	tally_begin(&run.tally, &run.batch);
	if (!now)
	{
		run.tally.busy = true;
		return run.tally;
	}
	run.writes = guard_writes;
	if (batch_any(&run.batch) && (task->walk == NULL || !task->walk->look))
		handle_items(&run, progress);
	tally_advance(&run.tally, &run.batch);
	if (task->walk != NULL)
		run.tally.next_known = batch_next_event(&run.batch, &run.tally.next);
	if ((task->walk == NULL || !task->walk->look) && handle_cures(&run))
		lane_clear(task->pm->name, task->lane);
	return run.tally;
}
