/*
 * batch.c
 *		What a batch of a unit handles, and in which order.
 *
 * The events of all followed logs up to their marks, merged by recorded_at,
 * and among them the timers that are due, each before the events recorded
 * later: as if each had been handled at its time, whatever the size of the
 * batch.  Timers that handlers set or cancel while the batch runs take part,
 * so that the next item is only known when it is asked for.
 */
#include "pm.h"

#include "dispatch/batch.h"
#include "shmem/crash.h"

/*
 * What an item is called by those who are told of it.
 */
void
batch_name(const BatchItem *item, Handling *what)
{
	what->source = item->source;
	what->position = item->position;
	what->id = item->id;
	if (item->log_name == NULL)
		what->log[0] = '\0';
	else if (strcmp(what->log, item->log_name) != 0)
		strlcpy(what->log, item->log_name, sizeof(what->log));
}

/*
 * If the server crashes from here to crash_unmark(), it is what we do with this
 * item.  Errors and ended sessions say nothing of it.
 */
void
batch_mark(const Batch *batch, const BatchItem *item)
{
	static Handling what;

	if (!crash_marks())
		return;
	what.manager = batch->pm->id;
	what.lane = batch->lane;
	what.lanes = batch->pm->lanes;
	what.outside = true;
	batch_name(item, &what);
	crash_mark(&what);
}

/*
 * Opens the logs.
 */
void
batch_open(Batch *batch, List *cursors)
{
	ListCell *lc;

	reading_begin();
	batch->many = list_length(cursors) > BATCH_LOCKS;
	batch->logs = palloc0(sizeof(BatchLog) * Max(list_length(cursors), 1));
	foreach(lc, cursors)
	{
		BatchLog *b = &batch->logs[batch->nlogs++];

		b->cursor = lfirst(lc);
		batch_log_begin(batch, b);
	}
}

/*
 * The same of an item whose key has been found out to be this text.
 */
bool
batch_is_ours(Batch *batch, BatchItem *item, Datum key)
{
	return item->log == NULL || !item->log->others ||
		   batch_log_owns(batch, item->log, key_hash_text(key), item->position);
}

static void
batch_take(Batch *batch, BatchLog *b)
{
	ReadingEvent *event = &b->reading->events[b->next++];
	BatchItem *item = palloc0(sizeof(BatchItem));

	item->source = HANDLING_EVENT;
	item->log = b;
	item->log_name = b->log->name;
	item->position = event->position;
	item->time = event->time;
	item->event = event->event;
	item->too_large = event->too_large;
	batch->events[batch->count++] = item;
	b->taken++;
}

/*
 * Some logs cannot be read.  May the batch do without?  It waits for them for a
 * while, for the sake of the order in which events were recorded.  Then the
 * others go on: else the owner of one log could keep a follower from the events
 * of all.
 */
static bool
batch_do_without(Batch *batch, DispatchResult *result)
{
	BatchLog *broken = NULL;
	bool lasting = true;
	bool none;

	for (int i = 0; i < batch->nlogs; i++)
	{
		BatchLog *b = &batch->logs[i];

		if (!batch_log_left_out(b))
		{
			if (b->trouble.message == NULL)
				log_trouble_over(batch->pm->id, batch->lane, b->cursor->log);
			continue;
		}
		batch->left_out++;
		lasting &= log_trouble_lasts(batch->pm->id, batch->lane, b->cursor->log);
		result->held |= b->trouble.locked;
		result->left_out |= !b->trouble.locked;
		if (broken == NULL && !b->trouble.locked)
			broken = b;
	}
	if (batch->left_out == 0)
		return true;
	/* That no log is left, or what the caller wants to see, is an error. */
	none = batch->left_out == batch->nlogs && !batch->some;
	if (broken != NULL && (none || batch->request->raise))
		log_trouble_raise(&broken->trouble);
	return !none && (lasting || batch->request->wait);
}

/*
 * Reads what the logs have, merged by recorded_at.  Stops where it is not known
 * what would come next.  False when it is not to be handled now.
 */
bool
batch_read(Batch *batch, DispatchResult *result)
{
	TimestampTz known_to = 0;
	bool blind = false; /* after known_to */
	BatchLog *oldest = NULL;

	batch->events = palloc(sizeof(BatchItem *) * batch->limit);
	for (int i = 0; i < batch->nlogs; i++)
		batch_log_look(batch, &batch->logs[i], result);
	if (!batch_do_without(batch, result))
		return false;
	while (batch->count < batch->limit)
	{
		/* Only the log that an event was taken from has another one next. */
		if (oldest != NULL)
			batch_log_look(batch, oldest, result);
		oldest = NULL;
		for (int i = 0; i < batch->nlogs; i++)
		{
			BatchLog *b = &batch->logs[i];

			if (batch_log_left_out(b))
				continue;
			if (b->unknown && !batch_log_has_read(b))
			{
				known_to = blind ? Min(known_to, b->reading->last_time) : b->reading->last_time;
				blind = true;
			}
			else if (batch_log_has_read(b) &&
					 (oldest == NULL || b->reading->events[b->next].time <
											oldest->reading->events[oldest->next].time))
				oldest = b;
		}
		if (oldest == NULL && !blind)
			return true;
		if (oldest == NULL || (blind && oldest->reading->events[oldest->next].time >= known_to))
			break;
		batch_take(batch, oldest);
	}
	batch->cut = true;
	return true;
}

/*
 * What is to be handled next, or NULL.
 */
BatchItem *
batch_next(Batch *batch)
{
	BatchItem *event = batch->next < batch->count ? batch->events[batch->next] : NULL;
	BatchItem *timer = NULL;

	if (batch->done >= batch->limit)
		return NULL;
	/* A log that is not looked at may have what comes before a timer. */
	if (batch->has_timers && !batch->some && batch->left_out == 0)
	{
		if (batch->timers_unread ||
			(batch->timers_more && batch->next_timer == list_length(batch->timers)))
			batch_timer_read(batch);
		if (batch->next_timer < list_length(batch->timers))
			timer = list_nth(batch->timers, batch->next_timer);
	}
	if (timer != NULL && (event != NULL ? timer->time < event->time : !batch->cut))
	{
		batch->next_timer++;
		return timer;
	}
	if (event != NULL)
		batch->next++;
	return event;
}

/*
 * Not yet: what batch_next() has returned last.
 */
void
batch_put_back(Batch *batch, BatchItem *item)
{
	if (item->source == HANDLING_TIMER)
		batch->next_timer--;
	else
		batch->next--;
}

/*
 * The batch has got past an event or timer.
 */
void
batch_done(Batch *batch, BatchItem *item, bool handled)
{
	batch->done++;
	if (handled)
		batch->handled++;
	if (item->log == NULL)
		return;
	item->log->done++;
	item->log->position = item->position;
	if (handled)
		item->log->handled++;
}

/*
 * Moves the cursors: to the last event got past, or to where the log was read
 * where all there was has been.  Returns whether there is more, and in
 * result->rest, where.
 */
bool
batch_advance(Batch *batch, DispatchResult *result)
{
	bool any = false;

	for (int i = 0; i < batch->nlogs; i++)
	{
		BatchLog *b = &batch->logs[i];
		int64 position = b->cursor->position;
		bool more;

		if (batch_log_left_out(b))
		{
			if (b->cursor->which >= 0)
				result->rest = bms_add_member(result->rest, b->cursor->which);
			continue;
		}
		if (b->done == b->taken && !batch_log_has_read(b))
		{
			position = batch_log_read_to(b);
			/* Without a mark of now it is not known that this is all. */
			more = !b->marked || position < b->mark.mark;
		}
		else
		{
			more = true;
			if (b->done > 0)
				position = b->position;
		}
		if (position > b->cursor->position)
			cursor_move(batch->pm, batch->lane, b->cursor, position, b->handled);
		b->cursor->position = position;
		any |= more;
		if ((more || b->mark.status == HIGHWATER_HELD) && b->cursor->which >= 0)
			result->rest = bms_add_member(result->rest, b->cursor->which);
	}
	return any;
}
