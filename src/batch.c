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

#include "access/htup_details.h"
#include "batch.h"
#include "event.h"
#include "funcapi.h"
#include "highwater.h"
#include "recut.h"
#include "timer.h"
#include "utils/typcache.h"

/* Room for so many events of a log to begin with. */
#define BATCH_ROOM		64

/* So many events are read at once, where some are not this lane's, unless a batch is greater. */
#define BATCH_ROWS		10000

/* So many timers are read at once. */
#define BATCH_TIMERS	256

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
 * Computes the mark of each log.  False when one cannot be looked at now.
 */
bool
batch_mark(Batch *batch, List *cursors, DispatchResult *result)
{
	ListCell   *lc;
	ListCell   *lc2;

	batch->logs = palloc0(sizeof(BatchLog) * Max(list_length(cursors), 1));
	foreach(lc, cursors)
	{
		BatchLog   *b = &batch->logs[batch->nlogs++];

		b->cursor = lfirst(lc);
		b->log = log_open(b->cursor->log, !batch->request->wait);
		if (b->log == NULL)
			return false;
		log_require_whole(b->log);
		b->mark = highwater_compute(b->log->relid, b->log->seqid, batch->request->view);
		if (b->mark.status == HIGHWATER_UNKNOWN)
			return false;
		if (b->mark.status == HIGHWATER_REWOUND || b->mark.last < b->cursor->position)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the sequence of log \"%s\" was set back to %lld, behind position %lld", b->log->name,
							(long long) b->mark.last, (long long) Max(b->mark.mark, b->cursor->position)),
					 errhint("Set it to %lld or higher with pg_catalog.setval; new events would be taken for old ones.",
							 (long long) Max(b->mark.mark, b->cursor->position))));
		if (b->mark.status == HIGHWATER_HELD)
			result->held = true;
		foreach(lc2, batch->pm->recuts)
		{
			Recut	   *past = lfirst(lc2);

			if (past->position > b->cursor->position && strcmp(past->log, b->log->name) == 0)
				b->recuts = lappend(b->recuts, past);
		}
	}
	return true;
}

/*
 * The hash of the key, of an event whose stream it is.
 */
static uint32
batch_hash_stream(TupleTableSlot *event)
{
	return event->tts_isnull[EVENT_STREAM - 1] ? key_hash("", 0) : key_hash_text(event->tts_values[EVENT_STREAM - 1]);
}

/*
 * Are there events that are not this lane's, or that it has got past under
 * another number?
 */
static bool
batch_has_others(Batch *batch, BatchLog *b)
{
	return batch->pm->lanes > 1 || b->recuts != NIL;
}

/*
 * Is an event this lane's to handle, whose key has that hash?
 */
static bool
batch_owns(Batch *batch, BatchLog *b, uint32 hash, int64 position)
{
	return hash % batch->pm->lanes == batch->lane && !recut_handled(b->recuts, hash, position);
}

/*
 * The same of an item whose key has been found out to be this text.
 */
bool
batch_is_ours(Batch *batch, BatchItem *item, Datum key)
{
	return item->log == NULL || !batch_has_others(batch, item->log) ||
		batch_owns(batch, item->log, key_hash_text(key), item->position);
}

/* Makes items of the rows that a query returns. */
typedef struct BatchReceiver
{
	DestReceiver pub;
	Batch	   *batch;
	BatchLog   *log;
	TupleDesc	event_desc;
	MemoryContext context;		/* the batch's */
	int			room;
	bool		leave_out;		/* events of other lanes */
} BatchReceiver;

static void
batch_receive_startup(DestReceiver *self, int operation, TupleDesc desc)
{
	Assert(desc->natts == EVENT_ATTRIBUTES);
}

/*
 * A row becomes an event and an item at once, without a copy in between.
 */
static bool
batch_receive(TupleTableSlot *slot, DestReceiver *self)
{
	BatchReceiver *receiver = (BatchReceiver *) self;
	BatchLog   *b = receiver->log;
	MemoryContext caller;
	HeapTuple	tuple;
	BatchItem  *item;

	slot_getallattrs(slot);
	b->read_to = DatumGetInt64(slot->tts_values[EVENT_POSITION - 1]);
	b->read_time = DatumGetTimestampTz(slot->tts_values[EVENT_RECORDED_AT - 1]);
	if (receiver->leave_out && !batch_owns(receiver->batch, b, batch_hash_stream(slot), b->read_to))
		return true;

	caller = MemoryContextSwitchTo(receiver->context);
	if (b->count == receiver->room)
	{
		receiver->room = Max(receiver->room * 2, BATCH_ROOM);
		b->events = b->events == NULL ? palloc(sizeof(BatchItem) * receiver->room) :
			repalloc(b->events, sizeof(BatchItem) * receiver->room);
	}
	tuple = heap_form_tuple(receiver->event_desc, slot->tts_values, slot->tts_isnull);
	item = &b->events[b->count++];
	memset(item, 0, sizeof(BatchItem));
	item->source = HANDLING_EVENT;
	item->log = b;
	item->log_name = b->log->name;
	item->position = b->read_to;
	item->time = b->read_time;
	item->event = HeapTupleGetDatum(tuple);
	MemoryContextSwitchTo(caller);
	return true;
}

static void
batch_receive_nothing(DestReceiver *self)
{
}

/*
 * Reads a log's next events, up to the mark.  Where the stream is the key, those
 * of other lanes are left out at once, and more are read to make up for them.
 */
static void
batch_read_log(Batch *batch, BatchLog *b, TupleDesc event_desc)
{
	BatchReceiver receiver = {
		{batch_receive, batch_receive_startup, batch_receive_nothing, batch_receive_nothing, DestNone},
		batch, b, event_desc, CurrentMemoryContext, 0, batch->pm->correlate == NULL && batch_has_others(batch, b)
	};
	int			limit = batch->limit;
	ExecScope	scope;

	if (receiver.leave_out)
		limit = Max(limit, Min(limit * batch->pm->lanes, BATCH_ROWS));
	log_begin_read(b->log, &scope);
	b->more = log_select(b->log, b->cursor->position, b->mark.mark, limit, batch->pm->types, &receiver.pub) == limit;
	exec_end(&scope);
}

/*
 * The earliest time at which a log that has run out may have more.
 */
static TimestampTz
batch_known_to(Batch *batch)
{
	TimestampTz known_to = DT_NOEND;

	for (int i = 0; i < batch->nlogs; i++)
		if (batch->logs[i].more && batch->logs[i].taken == batch->logs[i].count)
			known_to = Min(known_to, batch->logs[i].read_time);
	return known_to;
}

/*
 * Reads all logs that are behind, and merges them by recorded_at.  Stops where
 * one runs out although it has more: what would come next is not known.
 */
void
batch_read(Batch *batch)
{
	TupleDesc	event_desc = lookup_rowtype_tupdesc(event_type(), -1);

	for (int i = 0; i < batch->nlogs; i++)
		if (batch->logs[i].mark.mark > batch->logs[i].cursor->position)
			batch_read_log(batch, &batch->logs[i], event_desc);
	ReleaseTupleDesc(event_desc);

	batch->events = palloc(sizeof(BatchItem *) * batch->limit);
	while (batch->count < batch->limit)
	{
		TimestampTz known_to = batch_known_to(batch);
		BatchLog   *oldest = NULL;

		for (int i = 0; i < batch->nlogs; i++)
		{
			BatchLog   *b = &batch->logs[i];

			if (b->taken < b->count &&
				(oldest == NULL || b->events[b->taken].time < oldest->events[oldest->taken].time))
				oldest = b;
		}
		if (oldest == NULL && known_to == DT_NOEND)
			return;
		if (oldest == NULL || oldest->events[oldest->taken].time >= known_to)
			break;
		batch->events[batch->count++] = &oldest->events[oldest->taken++];
	}
	batch->cut = true;
}

static BatchItem *
batch_timer_item(Batch *batch, Timer *timer)
{
	BatchItem  *item = palloc0(sizeof(BatchItem));

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
static void
batch_read_timers(Batch *batch)
{
	MemoryContext caller = MemoryContextSwitchTo(batch->keys.context);
	ListCell   *lc;

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
	Timer	   *timer = timer_get(batch->pm, id);
	int			place = list_length(batch->timers);
	bool		last = true;

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
	while (place > batch->next_timer && ((BatchItem *) list_nth(batch->timers, place - 1))->time > timer->due)
	{
		place--;
		last = false;
	}
	if (!last || !(batch->timers_more || batch->timers_unread))
	{
		BatchItem  *item = batch_timer_item(batch, timer);

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

/*
 * What is to be handled next, or NULL.
 */
BatchItem *
batch_next(Batch *batch)
{
	BatchItem  *event = batch->next < batch->count ? batch->events[batch->next] : NULL;
	BatchItem  *timer = NULL;

	if (batch->done >= batch->limit)
		return NULL;
	if (batch->has_timers)
	{
		if (batch->timers_unread || (batch->timers_more && batch->next_timer == list_length(batch->timers)))
			batch_read_timers(batch);
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
 * Moves the cursors: to the last event got past, or to the mark where all
 * there was has been.  Returns whether there is more.
 */
bool
batch_advance(Batch *batch)
{
	bool		more = false;

	for (int i = 0; i < batch->nlogs; i++)
	{
		BatchLog   *b = &batch->logs[i];
		int64		position = b->cursor->position;

		if (b->mark.mark <= position)
			continue;
		if (b->done == b->count && !b->more)
			position = b->mark.mark;
		else
		{
			more = true;
			if (b->done == b->count)
				position = b->read_to;
			else if (b->done > 0)
				position = b->position;
		}
		if (position > b->cursor->position)
			cursor_move(batch->pm, batch->lane, b->cursor, position, b->handled);
		b->cursor->position = position;
	}
	return more;
}
