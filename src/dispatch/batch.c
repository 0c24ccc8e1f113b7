/*
 * batch.c
 *		What a batch of a unit handles, and in which order.
 *
 * The events of all followed logs up to their marks, merged by recorded_at, and
 * among them the timers that are due, each before the events that were recorded
 * later: as if each had been handled at its time, whatever the size of the batch.
 * Timers that handlers set or cancel while the batch runs take part, so that the
 * next item is only known when it is asked for.
 */
#include "pm.h"

#include "dispatch/batch.h"

/*
 * Counts the logs that are left out, and returns the first of them with which
 * something is wrong; NULL: none.  "*lasting" is whether the trouble of all of
 * them has lasted for a while.
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
			/* A log that got into trouble after some reading is not in order again. */
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
 * for a while, for the sake of the order in which events were recorded.  Then the
 * others go on: otherwise the owner of one log could keep a follower from the
 * events of all the others.
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
	/* It is an error that no log is left.  So is what the caller wants to see. */
	none = batch->left_out == batch->logs.count && !task->some;
	if (broken != NULL && (none || task->raise))
		log_trouble_raise(&broken->trouble);
	return !none && (lasting || task->last_look);
}

/*
 * Returns the log whose next event was recorded first; NULL: none, or it is not
 * known, since some log has an event after what is known of it that may be
 * older.  Then *cut is true.
 */
static BatchLog *
batch_oldest(Batch *batch, bool *cut)
{
	BatchLog *oldest = NULL;
	TimestampTz oldest_time = 0;
	bool blind = false; /* after this time: */
	TimestampTz known_to = 0;

	for (int i = 0; i < batch->logs.count; i++)
	{
		BatchLog *b = &batch->logs.logs[i];
		ReadingEvent *event;

		if (batch_log_left_out(b))
			continue;
		event = batch_log_next(b);
		if (event == NULL && b->unknown)
		{
			/* Only what was recorded before its last event that was read may come first. */
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
 * Merges what the logs have, and reads more of them as it is needed.
 */
static void
batch_merge(Batch *batch)
{
	BatchLog *oldest = NULL;

	while (batch->count < batch->task->limit)
	{
		/* Only the log that an event was taken from has another one next. */
		if (oldest != NULL)
			batch_log_look(batch->task, &batch->logs, oldest);
		oldest = batch_oldest(batch, &batch->cut);
		if (oldest == NULL)
			return;
		batch_take(batch, oldest);
	}
	batch->cut = true;
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
	/* All logs first: whether the batch may do without some is decided before it has events. */
	for (int i = 0; i < batch->logs.count; i++)
		batch_log_look(task, &batch->logs, &batch->logs.logs[i]);
	if (!batch_do_without(batch))
		return false;
	batch_merge(batch);
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

	/* A log that is not looked at may have what comes before a timer. */
	if (batch->timers.used && !task->some && batch->left_out == 0)
		timer = batch_timer_next(task, &batch->timers, &batch->keys);
	/* Where it is not known what comes after the last event, that may be older than a timer. */
	if (timer != NULL && (event != NULL ? timer->time < event->time : !batch->cut))
	{
		batch->timers.next++;
		return timer;
	}
	if (event != NULL)
		batch->next++;
	return event;
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
