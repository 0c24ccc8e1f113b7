/*
 * retry.c
 *		Handles the queues of parked keys.
 *
 * The events are read from their logs first (park_event.c).  An event that has failed
 * before is likely to fail again, so it runs alone.  When it succeeds, the next batch handles
 * the events behind it.
 *
 * Events that were deferred, or that a person retries, are likely to succeed.  If several
 * heads of that kind are due, a batch handles all of them, with the queues behind them.  If one
 * fails, isolate.c finds it as in any batch.
 */
#include "pm.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "base/event.h"
#include "base/report.h"
#include "base/within.h"
#include "dispatch/call.h"
#include "dispatch/careful.h"
#include "dispatch/keyless.h"
#include "dispatch/retry.h"
#include "manager/cursor.h"
#include "manager/instance.h"
#include "manager/park.h"
#include "manager/park_event.h"
#include "shmem/crash.h"
#include "shmem/slot.h"

/* When to try an event again whose log is locked, or cannot be read, ms. */
#define RETRY_LOCKED	 1000
#define RETRY_UNREADABLE 5000

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
 * Reads the rows of the key, beginning with the head, which was found under the
 * unit's lock.  An event that has failed before runs alone, so it is not read with
 * those before it.
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
	for (int i = 1; i < list_length(queue); i++)
		if (((Parked *) list_nth(queue, i))->attempts > 0)
			return list_truncate(queue, i);
	return queue;
}

/*
 * Reads the rows of several keys, one key after the other, beginning with the one whose
 * head has been found.
 *
 * In a walk through time each head is handled at its own time.
 */
static List *
retry_read_all(const BatchTask *task, const Parked *head, int max_parked)
{
	List *queue = retry_read(task, head, max_parked);
	List *heads;
	ListCell *lc;

	if (head->attempts > 0 || task->walk != NULL || list_length(queue) >= max_parked)
		return queue;
	heads = park_due_list(task->pm, task->lane, task->parked_since, task->now, max_parked);
	foreach(lc, heads)
	{
		const Parked *other = lfirst(lc);
		int room = max_parked - list_length(queue);

		if (other->id == head->id)
			continue;
		if (other->attempts > 0 || careful_wants(task, other) || other->key == NULL || room <= 0)
			break;
		queue = list_concat(queue, retry_read(task, other, room));
	}
	return queue;
}

/*
 * Reads the events of a queue from their logs.  Returns how many can be handled now:
 * those before the first one whose log cannot be read.
 *
 * An error, or a crash, at an event that cannot be read is a failure of that event,
 * like a failure of its handler.
 */
static int
retry_read_events(const BatchTask *task, List *queue, Progress *progress, LogTrouble *trouble)
{
	ParkReader reader;
	int count = 0;
	ListCell *lc;

	park_event_begin(&reader, task->wait_for_logs);
	foreach(lc, queue)
	{
		Parked *parked = lfirst(lc);
		BatchItem item = retry_make_item(parked);
		bool readable = true;

		if (park_event_enough(&reader))
			break;
		if (parked->log != NULL)
		{
			progress->stage = PROGRESS_HANDLE;
			progress->count = count + 1;
			progress->handling.outside = true;
			batch_item_name(&item, &progress->handling);
			batch_item_crash_mark(task, &item);
			readable = park_event_read(&reader, parked);
			crash_unmark();
		}
		if (!readable)
			break;
		count++;
	}
	*trouble = reader.trouble;
	park_event_end(&reader);
	memset(&progress->handling, 0, sizeof(progress->handling));
	progress->stage = PROGRESS_PREPARE;
	return count;
}

/*
 * The head's log cannot be read now.  The other keys need not wait for that.
 */
static void
retry_put_off(const BatchTask *task, const Parked *head, const LogTrouble *trouble)
{
	if (task->raise)
		log_trouble_raise(trouble);
	park_unreadable(task->pm, task->lane, head->id,
					within_later(trouble->locked ? RETRY_LOCKED : RETRY_UNREADABLE), trouble);
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
 * Writes to the server's log that an event is not tried any more, because somebody
 * has deleted it.
 */
void
retry_say_gone(ProcessManager *pm, const BatchItem *item)
{
	if (report_may(pm->owner, REPORT_OUTCOME))
		ereport(LOG,
				(errmsg("process manager \"%s\" in database \"%s\": the parked event at position "
						"%lld of log \"%s\" was discarded, because it is gone from the log",
						pm->name, report_database(), (long long) item->position, item->log_name)));
}

/*
 * Takes one event or timer out of the queue and handles it, if it is still
 * there.  Returns whether the handler has been called.
 */
static bool
retry_item(Calls *calls, BatchItem *item, Tally *tally)
{
	CallTimers timers;

	/* The items before it may have canceled the timer, or ended the instance. */
	if (!park_take(item->id))
		return false;
	if (item->event == (Datum) 0)
	{
		retry_say_gone(calls->task->pm, item);
		return false;
	}
	if (item->log_name == NULL)
	{
		instance_load(calls->task->pm, item->key);
		/* What was sent is handled in any case. */
		if (!item->key->live && !event_is_sent(item->event))
			return false;
	}
	timers = call_handler(calls, item, tally->done + 1);
	crash_unmark();
	journal_save_full(&calls->journal);
	/* Timers that are due already are left to the next batch. */
	tally->due = Min(tally->due, timers.earliest);
	return true;
}

/*
 * Handles the events of the queues in their order, and counts them by their logs.
 * Returns how many of them have left their queues.
 */
static int
retry_queues(Calls *calls, List *queue, List *cursors, Tally *tally)
{
	ListCell *lc;

	foreach(lc, queue)
	{
		const Parked *parked = lfirst(lc);
		BatchItem item = retry_make_item(parked);
		bool handled;

		CHECK_FOR_INTERRUPTS();
		calls->progress->count = tally->done + 1;
		item.key = key_get_text(calls->keys, parked->key);
		handled = retry_item(calls, &item, tally);
		if (handled)
			retry_count(cursors, parked->log);
		tally_add(tally, &item, handled ? 1 : 0);
		if (GetCurrentTimestamp() >= calls->deadline || slot_asked_to_leave())
			return foreach_current_index(lc) + 1;
	}
	return list_length(queue);
}

/*
 * The events behind those that have left their queues become the heads.
 */
static void
retry_promote(const BatchTask *task, List *queue, int left)
{
	for (int i = 0; i < left; i++)
	{
		const Parked *parked = list_nth(queue, i);

		if (i + 1 == left || strcmp(parked->key, ((Parked *) list_nth(queue, i + 1))->key) != 0)
			park_promote(task->pm, task->lane, parked->key, parked->id);
	}
}

/*
 * Tries again an event whose key was not known.
 */
static Tally
retry_keyless(const BatchTask *task, Parked *head, Progress *progress)
{
	Tally tally = {.again = true, .due = DT_NOEND};
	BatchItem item;
	LogTrouble trouble;
	Keys keys;
	Calls calls;

	if (retry_read_events(task, list_make1(head), progress, &trouble) == 0)
	{
		retry_put_off(task, head, &trouble);
		return tally;
	}
	item = retry_make_item(head);
	key_begin(&keys);
	call_begin(&calls, task, false, &keys, progress);
	if (item.event == (Datum) 0)
	{
		(void) park_take(item.id);
		retry_say_gone(task->pm, &item);
	}
	else
		keyless_retry(&calls, &item);
	tally_add(&tally, &item, false);
	(void) call_end(&calls, 0);
	return tally;
}

static Tally
retry_keys(const BatchTask *task, const Parked *head, int max_parked, Progress *progress)
{
	Tally tally = {.again = true, .due = DT_NOEND};
	List *cursors = cursor_list(task->pm, task->lane);
	List *queue = retry_read_all(task, head, max_parked);
	LogTrouble trouble;
	int count = retry_read_events(task, queue, progress, &trouble);
	Keys keys;
	Calls calls;
	int left;
	TimestampTz earliest;
	ListCell *lc;

	if (count == 0)
	{
		retry_put_off(task, head, &trouble);
		return tally;
	}
	queue = list_truncate(queue, count);
	key_begin(&keys);
	call_begin(&calls, task, false, &keys, progress);
	left = retry_queues(&calls, queue, cursors, &tally);
	earliest = call_end(&calls, tally.handled);
	tally.due = Min(tally.due, earliest);
	foreach(lc, cursors)
		if (((Cursor *) lfirst(lc))->parked > 0)
			cursor_count(task->pm, task->lane, lfirst(lc));
	retry_promote(task, queue, left);
	return tally;
}

Tally
retry_batch(const BatchTask *task, Parked *head, int max_parked, Progress *progress)
{
	return head->key == NULL ? retry_keyless(task, head, progress) :
							   retry_keys(task, head, max_parked, progress);
}
