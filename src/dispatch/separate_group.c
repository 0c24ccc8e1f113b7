/*
 * separate_group.c
 *		Handles the next items of a batch, several in one subtransaction.
 *
 * A batch has a limited number of subtransaction IDs (separate.c), and each subtransaction
 * costs time.  So several items share one: the less often items fail, the more (isolate.c).
 * If an item fails, the items before it are handled again, in a subtransaction without it.
 * Then it is parked, and the items after it follow.
 *
 * The items are taken from the batch before the first of them is handled.  So handling one
 * must not change what the next ones are: only events whose keys are known are taken.
 */
#include "pm.h"

#include "utils/timestamp.h"

#include "dispatch/aside.h"
#include "dispatch/call_correlate.h"
#include "dispatch/separate_group.h"

/*
 * May an item share a subtransaction?  An event that goes to several keys is handled for
 * each in a subtransaction of its own, so that it is known for which key it has failed.
 */
static bool
separate_group_fits(HandleRun *run, BatchItem *item, int nth)
{
	const Handler *handler = &run->calls.handler;

	if (item->source != HANDLING_EVENT || !handler->foretells)
		return false;
	if (item->key == NULL && !item->passed)
	{
		/* If correlate fails permanently, the event is parked without a key (keyless.c). */
		if (handler->correlates && item->too_large == 0)
			return false;
		(void) call_correlate(&run->calls, item, nth);
	}
	return item->nkeys == 0;
}

/*
 * Takes the next items that may share a subtransaction.
 */
static int
separate_group_take(HandleRun *run, SeparateCall *calls, int most)
{
	int count = 0;
	BatchItem *item;

	while (count < most && (item = batch_next(&run->batch)) != NULL)
	{
		if (!separate_group_fits(run, item, run->tally.done + count + 1))
		{
			batch_put_back(&run->batch, item);
			break;
		}
		/* Reads whether the key has a queue, so that this is known in the subtransaction. */
		if (!item->passed)
			(void) aside_has_queue(run, item->key);
		calls[count++].item = item;
	}
	return count;
}

/*
 * Called for items that have been handled, or must be parked behind others.
 */
static void
separate_group_done(HandleRun *run, const SeparateCall *calls, int count)
{
	for (int i = 0; i < count; i++)
	{
		if (calls[i].behind)
			aside_behind(run, calls[i].item);
		tally_add(&run->tally, calls[i].item, calls[i].called ? 1 : 0);
	}
}

/*
 * Parks an item that has failed, or leaves it for another batch.  False if the batch ends
 * before it.
 */
static bool
separate_group_failed(HandleRun *run, BatchItem *item, const SeparateFailure *failed)
{
	run->calls.progress->count = run->tally.done + 1;
	separate_settle(run, item, failed);
	if (run->tally.halted || run->tally.left)
		return false;
	tally_add(&run->tally, item, 0);
	return true;
}

/*
 * Handles items, each of which may fail.  Returns how many have been handled or parked.
 * The others are left if the batch should end, or if their order may have changed.
 */
static int
separate_group_run(HandleRun *run, SeparateCall *calls, int count, SeparateAct act)
{
	SeparateFailure failed;
	int from = 0;
	int to = count; /* the end of the items to handle; if "failed" is set, the failed item */

	failed.error = NULL;
	while (from < count)
	{
		SeparateFailure now;
		int done;

		now.error = NULL;
		done = from == to ? 0 : separate_calls(run, &calls[from], to - from, act, &now);

		if (now.error != NULL && now.outside && to - from > 1)
		{
			/* To find out which of them is the cause, each gets a subtransaction of its own. */
			run->one_each = true;
			break;
		}
		if (now.error != NULL)
		{
			if (now.outside)
				done = 0;
			failed = now;
			to = from + done;
			/* First handle again the items before it, without it. */
			if (done > 0)
				continue;
		}
		separate_group_done(run, &calls[from], done);
		from += done;
		if (from < to)
			break;
		if (failed.error != NULL)
		{
			if (!separate_group_failed(run, calls[from].item, &failed))
				break;
			failed.error = NULL;
			from++;
			to = count;
			if (run->timer_came || separate_batch_ends(run, GetCurrentTimestamp()))
				break;
		}
	}
	return from;
}

bool
separate_group(HandleRun *run, SeparateAct act)
{
	const BatchTask *task = run->task;
	SeparateCall calls[SEPARATE_GROUP];
	int most = Min(Min(task->group, SEPARATE_GROUP), task->limit - run->tally.done);
	int count;
	int done;

	/* In a walk through time, each item is handled at a time of its own. */
	if (most < 2 || run->one_each || task->walk != NULL || task->watch != NULL)
		return false;
	count = separate_group_take(run, calls, most);
	if (count == 0)
		return false;
	done = separate_group_run(run, calls, count, act);
	while (count > done)
		batch_put_back(&run->batch, calls[--count].item);
	return true;
}
