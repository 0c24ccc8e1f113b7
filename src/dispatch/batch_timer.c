/*
 * batch_timer.c
 *		Finds the timers that a batch handles.
 *
 * Timers that are due are read a few at a time, in the order in which they are
 * due.  A timer that a handler sets while the batch runs, and that is due
 * already, is inserted among them.
 */
#include "pm.h"

#include "dispatch/batch_timer.h"
#include "manager/timer.h"
#include "shmem/handling.h"

#define BATCH_TIMER_CHUNK 256 /* timers read at once */

void
batch_timer_begin(const BatchTask *task, BatchTimers *timers, bool all_logs)
{
	memset(timers, 0, sizeof(*timers));
	timers->used = task->pm->kind == HANDLER_INSTANCE;
	timers->unread = timers->used && all_logs && task->state->timer_due <= task->now;
}

static BatchItem *
batch_timer_item(const BatchTimers *timers, Keys *keys, Timer *timer)
{
	BatchItem *item = palloc0(sizeof(BatchItem));

	item->source = HANDLING_TIMER;
	item->log = BATCH_ITEM_NO_LOG;
	item->id = timer->id;
	item->time = timer->due;
	item->event = timer->event;
	item->key = key_get_text(keys, timer->key);
	/*
	 * No other session sets this unit's timers, and their ids increase, so this batch
	 * has set it.
	 */
	if (timers->first_set != 0 && timer->id >= timers->first_set)
		item->set_by = timers->first_set_by;
	return item;
}

static void
batch_timer_read(const BatchTask *task, BatchTimers *timers, Keys *keys)
{
	MemoryContext caller = MemoryContextSwitchTo(keys->context);
	ListCell *lc;

	timers->unread = false;
	timers->items = NIL;
	timers->next = 0;
	foreach(lc, timer_read(task->pm, task->lane, task->now, BATCH_TIMER_CHUNK))
		timers->items = lappend(timers->items, batch_timer_item(timers, keys, lfirst(lc)));
	timers->more = list_length(timers->items) == BATCH_TIMER_CHUNK;
	MemoryContextSwitchTo(caller);
}

BatchItem *
batch_timer_next(const BatchTask *task, BatchTimers *timers, Keys *keys)
{
	if (timers->unread || (timers->more && timers->next == list_length(timers->items)))
		batch_timer_read(task, timers, keys);
	return timers->next < list_length(timers->items) ? list_nth(timers->items, timers->next) : NULL;
}

bool
batch_timer_any(const BatchTimers *timers)
{
	return timers->unread || timers->more || timers->next < list_length(timers->items);
}

/*
 * Inserts a timer among those that have been read, by the time at which it is
 * due.  One that comes after all of them will be read with the rest.
 */
static void
batch_timer_insert(BatchTimers *timers, Keys *keys, Timer *timer, const BatchItem *by)
{
	int place = list_length(timers->items);
	BatchItem *item;

	/* It was set last, so it comes after others that are due at the same time. */
	while (place > timers->next &&
		   ((BatchItem *) list_nth(timers->items, place - 1))->time > timer->due)
		place--;
	if (place == list_length(timers->items) && (timers->more || timers->unread))
		return;
	item = batch_timer_item(timers, keys, timer);
	item->set_by = by;
	timers->items = list_insert_nth(timers->items, place, item);
	/* However many timers are set, no more than this are kept in memory. */
	if (list_length(timers->items) - timers->next > BATCH_TIMER_CHUNK)
	{
		timers->items = list_delete_last(timers->items);
		timers->more = true;
	}
}

void
batch_timer_set(const BatchTask *task, BatchTimers *timers, Keys *keys, int64 id,
				const BatchItem *by)
{
	MemoryContext caller = MemoryContextSwitchTo(keys->context);
	Timer *timer = timer_get(task->pm, id);

	/* If "by" is itself a timer that this batch has set, a rollback undoes it as well. */
	if (by->set_by != NULL)
		by = by->set_by;
	if (timers->first_set == 0)
	{
		timers->first_set = id;
		timers->first_set_by = by;
	}
	/* The handler may have undone or replaced it, or it may be due only after task->now. */
	if (timer != NULL && timer->due <= task->now)
		batch_timer_insert(timers, keys, timer, by);
	MemoryContextSwitchTo(caller);
}
