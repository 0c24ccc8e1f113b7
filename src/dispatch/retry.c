/*
 * retry.c
 *		Handles the queue of a parked key.
 *
 * An event that has failed before runs alone.  When it succeeds, the next batch
 * handles the events behind it.
 */
#include "pm.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "dispatch/call.h"
#include "dispatch/retry.h"
#include "manager/cursor.h"
#include "manager/instance.h"
#include "shmem/crash.h"
#include "shmem/slot.h"

static BatchItem
retry_make_item(const Parked *parked)
{
	BatchItem item = {.source = HANDLING_PARKED,
					  .log = BATCH_ITEM_NO_LOG,
					  .id = parked->id,
					  .position = parked->position,
					  .log_name = parked->log,
					  .event = parked->event,
					  .too_large = parked->too_large};

	return item;
}

/*
 * Reads the events of the key, beginning with the head, which was found under
 * the unit's lock.
 */
static List *
retry_read(const BatchTask *task, const Parked *head, int max_parked)
{
	BatchItem first = retry_make_item(head);
	List *queue;

	batch_item_crash_mark(task, &first);
	queue = park_read(task->pm, task->lane, head->key, head->id,
					  head->attempts > 0 ? 1 : max_parked);
	crash_unmark();
	if (queue == NIL || ((Parked *) linitial(queue))->id != head->id)
		elog(ERROR, "parked event %lld is gone", (long long) head->id);
	return queue;
}

/*
 * Counts an event for its log, unless the log is not followed any more, or the
 * event is a timer.
 */
static void
retry_count(List *cursors, const char *log)
{
	ListCell *lc;

	foreach(lc, cursors)
		if (log != NULL && strcmp(((Cursor *) lfirst(lc))->log, log) == 0)
			((Cursor *) lfirst(lc))->parked++;
}

/*
 * Takes one event or timer out of the queue and handles it, if it is still
 * there.  Returns whether the handler has been called.
 */
static bool
retry_item(Calls *calls, BatchItem *item, Tally *tally)
{
	CallTimers timers;

	/* The items before it may have cancelled the timer, or ended the instance. */
	if (!park_take(item->id))
		return false;
	if (item->log_name == NULL)
	{
		instance_load(calls->task->pm, item->key);
		if (!item->key->live)
			return false;
	}
	timers = call_handler(calls, item, tally->done + 1);
	crash_unmark();
	/* Timers that are due already are left to the next batch. */
	tally->due = Min(tally->due, timers.earliest);
	return true;
}

/*
 * Handles the events of a queue in their order, and counts them by their logs.
 * Returns the id of the last one that has left the queue.
 */
static int64
retry_queue(Calls *calls, List *queue, List *cursors, Tally *tally)
{
	int64 last = 0;
	ListCell *lc;

	foreach(lc, queue)
	{
		const Parked *parked = lfirst(lc);
		BatchItem item = retry_make_item(parked);
		bool handled;

		if (parked->attempts > 0 && tally->done > 0)
			break;
		CHECK_FOR_INTERRUPTS();
		calls->progress->count = tally->done + 1;
		item.key = key_get_text(calls->keys, parked->key);
		last = parked->id;
		handled = retry_item(calls, &item, tally);
		if (handled)
			retry_count(cursors, parked->log);
		tally_add(tally, &item, handled);
		if (GetCurrentTimestamp() >= calls->deadline || slot_asked_to_leave())
			break;
	}
	return last;
}

Tally
retry_batch(const BatchTask *task, const Parked *head, int max_parked, Progress *progress)
{
	Tally tally = {.again = true, .due = DT_NOEND};
	List *cursors = cursor_list(task->pm, task->lane);
	List *queue = retry_read(task, head, max_parked);
	Keys keys;
	Calls calls;
	int64 last;
	TimestampTz earliest;
	ListCell *lc;

	key_begin(&keys);
	call_begin(&calls, task, false, &keys, progress);
	last = retry_queue(&calls, queue, cursors, &tally);
	earliest = call_end(&calls, tally.handled);
	tally.due = Min(tally.due, earliest);
	foreach(lc, cursors)
		if (((Cursor *) lfirst(lc))->parked > 0)
			cursor_count(task->pm, task->lane, lfirst(lc));
	park_promote(task->pm, task->lane, head->key, last);
	return tally;
}
