/*
 * batch_timer.c
 *		The timers among what a batch handles.
 *
 * Those that are due are read a few at a time, in the order in which they are
 * due.  One that a handler sets while the batch runs, and that is due already,
 * takes its place among them.
 */
#include "pm.h"

#include "dispatch/batch.h"
#include "manager/timer.h"
#include "shmem/handling.h"

/* So many timers are read at once. */
#define BATCH_TIMERS 256

static BatchItem *
batch_timer_item(Batch *batch, Timer *timer)
{
	BatchItem *item = palloc0(sizeof(BatchItem));

	item->source = HANDLING_TIMER;
	item->id = timer->id;
	item->time = timer->due;
	item->event = timer->event;
	item->key = key_get_text(&batch->keys, timer->key);
	/* Nobody else sets this unit's timers: their ids rise. */
	if (batch->first_set != 0 && timer->id >= batch->first_set)
		item->set_by = batch->first_set_by;
	return item;
}

/*
 * Reads the next timers that are due.
 */
void
batch_timer_read(Batch *batch)
{
	MemoryContext caller = MemoryContextSwitchTo(batch->keys.context);
	ListCell *lc;

	batch->timers_unread = false;
	batch->timers = NIL;
	batch->next_timer = 0;
	foreach(lc, timer_read(batch->pm, batch->lane, batch->now, BATCH_TIMERS))
		batch->timers = lappend(batch->timers, batch_timer_item(batch, lfirst(lc)));
	batch->timers_more = list_length(batch->timers) == BATCH_TIMERS;
	MemoryContextSwitchTo(caller);
}

/*
 * A handler has set a timer that is due already: it takes its place among
 * those that have been read, unless it comes after them and will be read with
 * the rest.
 */
void
batch_timer_set(Batch *batch, int64 id, BatchItem *by)
{
	MemoryContext caller = MemoryContextSwitchTo(batch->keys.context);
	Timer *timer = timer_get(batch->pm, id);
	int place = list_length(batch->timers);
	bool last = true;

	by = by->set_by ? by->set_by : by;
	if (batch->first_set == 0)
	{
		batch->first_set = id;
		batch->first_set_by = by;
	}
	/* It may have been undone, or replaced; or the clock has gone on. */
	if (timer == NULL || timer->due > batch->now)
	{
		MemoryContextSwitchTo(caller);
		return;
	}
	/* It has been set last: at a tie it comes last. */
	while (place > batch->next_timer &&
		   ((BatchItem *) list_nth(batch->timers, place - 1))->time > timer->due)
	{
		place--;
		last = false;
	}
	if (!last || !(batch->timers_more || batch->timers_unread))
	{
		BatchItem *item = batch_timer_item(batch, timer);

		item->set_by = by;
		batch->timers = list_insert_nth(batch->timers, place, item);
		if (list_length(batch->timers) - batch->next_timer > BATCH_TIMERS)
		{
			batch->timers = list_delete_last(batch->timers);
			batch->timers_more = true;
		}
	}
	MemoryContextSwitchTo(caller);
}
