/*
 * batch.c
 *		Decides what a batch of a unit handles, and in which order.
 *
 * A batch handles the events of all followed logs up to their marks, merged by
 * recorded_at.  It also handles the timers that are due, each before the events
 * that were recorded later.  So the order does not depend on the size of the
 * batches.  Timers that handlers set or cancel while the batch runs are taken
 * into account, so each item is determined only when it is needed.
 */
#include "pm.h"

#include "dispatch/batch.h"

/*
 * Counts the logs that are left out, and returns the first one that has a
 * problem, or NULL if none has.  "*lasting" tells whether the problems of all
 * of them have lasted for some time.
 */
static BatchLog *
batch_count_left_out(Batch *batch, bool *lasting)
{
	const BatchTask *task = batch->task;
	BatchLog *broken = NULL;

	*lasting = true;
	for (int i = 0; i < batch->logs.count; i++)
	{
		BatchLog *b = &batch->logs.logs[i];

		if (!batch_log_left_out(b))
		{
			/* A log that had a problem only after some events were read still has it. */
			if (b->trouble.message == NULL)
				log_trouble_over(task->pm->id, task->lane, b->cursor->log);
			continue;
		}
		batch->left_out++;
		*lasting &= log_trouble_lasts(task->pm->id, task->lane, b->cursor->log);
		if (b->trouble.locked)
			batch->logs.held = true;
		else if (broken == NULL)
			broken = b;
	}
	return broken;
}

/*
 * Some logs cannot be read.  May the batch do without them?  It waits for them
 * for some time, to keep the order in which events were recorded.  Then the
 * events of the other logs are handled: otherwise the owner of one log could keep
 * a process manager from handling all its other logs.
 */
static bool
batch_do_without(Batch *batch)
{
	const BatchTask *task = batch->task;
	bool lasting;
	bool none;
	BatchLog *broken = batch_count_left_out(batch, &lasting);

	batch->broken = broken != NULL;
	if (batch->left_out == 0)
		return true;
	/* Raise an error if no log is left, or if the caller wants errors. */
	none = batch->left_out == batch->logs.count && !task->some;
	if (broken != NULL && (none || task->raise))
		log_trouble_raise(&broken->trouble);
	return !none && (lasting || task->last_look);
}

/*
 * Returns the log whose next event was recorded first, or NULL if there is
 * none.  Also returns NULL, and sets *cut, if that log is not known, because
 * the unread part of some log may contain an older event.
 */
static BatchLog *
batch_oldest(Batch *batch, bool *cut)
{
	BatchLog *oldest = NULL;
	TimestampTz oldest_time = 0;
	bool blind = false; /* nothing is known of a log after "known_to" */
	TimestampTz known_to = 0;

	for (int i = 0; i < batch->logs.count; i++)
	{
		BatchLog *b = &batch->logs.logs[i];
		ReadingEvent *event;

		Assert(b != NULL);
		if (batch_log_left_out(b))
			continue;
		event = batch_log_next(b);
		if (event == NULL && b->unknown)
		{
			/*
			 * Only an event that was recorded before the last one read from this log
			 * may come first.
			 */
			known_to = blind ? Min(known_to, b->reading->last_time) : b->reading->last_time;
			blind = true;
		}
		else if (event != NULL && (oldest == NULL || event->time < oldest_time))
		{
			oldest = b;
			oldest_time = event->time;
		}
	}
	*cut = blind && (oldest == NULL || oldest_time >= known_to);
	return *cut ? NULL : oldest;
}

static void
batch_take(Batch *batch, BatchLog *b)
{
	ReadingEvent *event = batch_log_next(b);
	BatchItem *item = palloc0(sizeof(BatchItem));

	item->source = HANDLING_EVENT;
	item->log = b - batch->logs.logs;
	item->share = lane_share_is_all(&b->share) ? NULL : &b->share;
	item->log_name = b->log->name;
	item->position = event->position;
	item->time = event->time;
	item->event = event->event;
	item->too_large = event->too_large;
	batch->events[batch->count++] = item;
	batch->taken[item->log]++;
	b->next++;
}

/*
 * Merges the events of the logs, and reads more of them when necessary.
 */
static void
batch_merge(Batch *batch)
{
	BatchLog *oldest = NULL;

	while (batch->count < batch->task->limit)
	{
		/* Only the log from which the last event was taken has a new next event. */
		if (oldest != NULL)
			batch_log_look(batch->task, &batch->logs, oldest);
		oldest = batch_oldest(batch, &batch->cut);
		if (oldest == NULL)
			return;
		batch_take(batch, oldest);
	}
	batch->cut = true;
}

TimestampTz
batch_time(const Batch *batch, const BatchItem *item)
{
	return Min(item->time, batch->task->walk->last);
}

/*
 * In a walk, gives back the events from the first one on that was recorded later than
 * the time up to which the batch may go.
 */
static void
batch_give_back(Batch *batch)
{
	int keep = 0;

	while (keep < batch->count && batch_time(batch, batch->events[keep]) <= batch->task->now)
		keep++;
	if (keep == batch->count)
		return;
	batch->later = batch_time(batch, batch->events[keep]);
	while (batch->count > keep)
	{
		BatchItem *item = batch->events[--batch->count];

		batch->taken[item->log]--;
		batch->logs.logs[item->log].next--;
	}
}

bool
batch_read(Batch *batch, const BatchTask *task, List *cursors)
{
	memset(batch, 0, sizeof(*batch));
	batch->task = task;
	key_begin(&batch->keys);
	batch_log_begin(task, &batch->logs, cursors);
	batch->events = palloc(sizeof(BatchItem *) * task->limit);
	batch->taken = palloc0(sizeof(int) * Max(batch->logs.count, 1));
	/*
	 * Look at all logs first: the batch decides whether it may do without some before
	 * it has events.
	 */
	for (int i = 0; i < batch->logs.count; i++)
		batch_log_look(task, &batch->logs, &batch->logs.logs[i]);
	if (!batch_do_without(batch))
		return false;
	batch_merge(batch);
	if (task->walk != NULL)
		batch_give_back(batch);
	batch_timer_begin(task, &batch->timers, batch->left_out == 0);
	return true;
}

bool
batch_any(const Batch *batch)
{
	return batch->count > 0 || batch->timers.unread;
}

BatchItem *
batch_next(Batch *batch)
{
	const BatchTask *task = batch->task;
	BatchItem *event = batch->next < batch->count ? batch->events[batch->next] : NULL;
	BatchItem *timer = NULL;

	/* A log that is not read may have an event that comes before the timer. */
	if (batch->timers.used && !task->some && batch->left_out == 0)
		timer = batch_timer_next(task, &batch->timers, &batch->keys);
	/*
	 * If it is not known which event comes next, it may be older than the timer.  One that
	 * was given back is not: timers are read up to the same time.
	 */
	if (timer != NULL &&
		(event != NULL ? timer->time < event->time : batch->later != 0 || !batch->cut))
	{
		batch->timers.next++;
		return timer;
	}
	if (event != NULL)
		batch->next++;
	return event;
}

bool
batch_next_event(const Batch *batch, TimestampTz *time)
{
	*time = DT_NOEND;
	if (batch->next < batch->count)
		*time = batch_time(batch, batch->events[batch->next]);
	else if (batch->later != 0)
		*time = batch->later;
	else
		return !batch->cut;
	return true;
}

void
batch_put_back(Batch *batch, const BatchItem *item)
{
	if (item->source == HANDLING_TIMER)
		batch->timers.next--;
	else
		batch->next--;
}

bool
batch_any_timer(const Batch *batch)
{
	return batch->timers.used && batch->left_out == 0 && batch_timer_any(&batch->timers);
}
