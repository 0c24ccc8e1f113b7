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

#include "batch.h"
#include "crash.h"
#include "event.h"
#include "highwater.h"
#include "log_read.h"
#include "recut.h"
#include "storage/lmgr.h"

/* Of each of several logs so many events are read at once, at least. */
#define BATCH_CHUNK		32

/* So many events of other lanes are passed over in one batch, unless it is greater. */
#define BATCH_OTHERS	10000

/* This many logs a batch keeps locked; of more, each only while it is looked at. */
#define BATCH_LOCKS		64

/* When so many bytes have been read, the batch ends with them. */
#define BATCH_BYTES		((Size) 64 * 1024 * 1024)

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
 * What was read for a unit alone serves for as long as its registration stays
 * the same: types and lanes say which events those are.
 */
static uint64
batch_version(Batch *batch, BatchLog *b)
{
	return b->key.manager == 0 ? 0 : batch->pm->version;
}

/*
 * Where there are many logs, each is locked only while it is looked at: the lock
 * table is everybody's.  What has been read of it is good without the lock.
 */
static void
batch_leave(Batch *batch, BatchLog *b)
{
	if (batch->many)
		UnlockRelationOid(b->log->relid, AccessShareLock);
}

/*
 * Opens a log.  What keeps it from being read is noted.
 */
static void
batch_open_log(Batch *batch, BatchLog *b)
{
	const char *name = b->cursor->log;
	bool		locked = false;

	b->log = batch->request->wait_for_logs ? log_open(name) : log_open_nowait(name, &locked);
	if (b->log == NULL && locked)
		log_trouble_locked(&b->trouble, name);
	else if (b->log == NULL)
		log_trouble_missing(&b->trouble, name);
	else
		(void) log_trouble(&b->trouble, b->log, GetUserId());
}

/*
 * Opens the logs.
 */
void
batch_open(Batch *batch, List *cursors)
{
	bool		shared = batch->pm->types == (Datum) 0 && batch->pm->lanes == 1;
	ListCell   *lc;

	reading_begin();
	batch->many = list_length(cursors) > BATCH_LOCKS;
	batch->logs = palloc0(sizeof(BatchLog) * Max(list_length(cursors), 1));
	foreach(lc, cursors)
	{
		BatchLog   *b = &batch->logs[batch->nlogs++];
		ListCell   *lc2;

		b->cursor = lfirst(lc);
		batch_open_log(batch, b);
		if (b->trouble.message != NULL)
		{
			if (b->log != NULL)
				batch_leave(batch, b);
			continue;
		}
		foreach(lc2, batch->pm->recuts)
		{
			Recut	   *past = lfirst(lc2);

			if (past->position > b->cursor->position && strcmp(past->log, b->log->name) == 0)
				b->recuts = lappend(b->recuts, past);
		}
		b->others = batch->pm->lanes > 1 || b->recuts != NIL;
		b->key.relid = b->log->relid;
		if (!shared || b->others)
		{
			b->key.manager = batch->pm->id;
			b->key.lane = batch->lane;
		}
		b->reading = reading_find(&b->key, batch_version(batch, b), b->cursor->position, &b->next);
		batch_leave(batch, b);
	}
}

/*
 * Locks a log again.  False if it cannot be looked at now.
 */
static bool
batch_enter(Batch *batch, BatchLog *b)
{
	PmLog	   *before = b->log;

	if (!batch->many)
		return true;
	batch_open_log(batch, b);
	if (b->log != NULL && (b->trouble.message != NULL || b->log->relid != before->relid))
	{
		batch_leave(batch, b);
		if (b->trouble.message == NULL)
			log_trouble_missing(&b->trouble, b->cursor->log);
		b->log = NULL;
	}
	if (b->log != NULL)
		return true;
	b->log = before;
	return false;
}

/*
 * Computes the mark of a log.  False when that cannot be done now.
 */
static bool
batch_compute_mark(Batch *batch, BatchLog *b, DispatchResult *result)
{
	int64		needed;

	b->mark = highwater_compute(b->log->relid, b->log->seqid, batch->request->view);
	needed = Max(b->mark.reached, b->cursor->position);
	if (b->mark.status == HIGHWATER_UNKNOWN)
		log_trouble_locked(&b->trouble, b->log->name);
	else if (b->mark.status == HIGHWATER_REWOUND || b->mark.last < b->cursor->position)
		log_trouble_rewound(&b->trouble, b->log, b->mark.last, needed);
	if (b->trouble.message != NULL)
		return false;
	if (b->mark.status == HIGHWATER_HELD)
		result->held = true;
	b->marked = true;
	return true;
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
	return item->log == NULL || !item->log->others ||
		batch_owns(batch, item->log, key_hash_text(key), item->position);
}

/* Which events are wanted. */
typedef struct BatchWants
{
	Batch	   *batch;
	BatchLog   *log;
	bool		ours;			/* the key is the stream: only those of this lane */
	LogTypes   *types;			/* only these, unless it is NULL */
} BatchWants;

/*
 * Is it wanted?
 */
static bool
batch_wants(void *arg, const EventFields *event)
{
	BatchWants *wants = arg;
	uint32		hash;

	if (wants->types != NULL && !log_types_have(wants->types, event))
		return false;
	if (!wants->ours)
		return true;
	hash = event->nulls[EVENT_STREAM - 1] ? key_hash("", 0) :
		key_hash_text(event->values[EVENT_STREAM - 1]);
	return batch_owns(wants->batch, wants->log, hash, DatumGetInt64(event->values[EVENT_POSITION - 1]));
}

/*
 * Up to where a log may be read now.  What has crashed the server is read alone,
 * after what comes before it: if it was in the reading, that is to be found out,
 * and nothing before it is to be skipped with it.
 */
static int64
batch_up_to(Batch *batch, BatchLog *b)
{
	LaneState  *state = &batch->state;

	if (state->status != LANE_RETRYING || state->crashes == 0 || state->log == NULL ||
		b->cursor->position >= state->position || strcmp(state->log, b->log->name) != 0)
		return b->mark.mark;
	return Min(b->mark.mark, b->cursor->position < state->position - 1 ? state->position - 1 : state->position);
}

/*
 * Reads a log on from a position to its mark.  Where the stream is the key, the
 * events of other lanes are left out at once, and more are read to make up for
 * them.  So are those of other types.
 */
static void
batch_read_on(Batch *batch, BatchLog *b, int64 after)
{
	Reading    *reading;
	LogTypes	types;
	BatchWants	wants = {batch, b, b->others && batch->pm->correlate == NULL, NULL};
	ReadingRequest request = {b->key, batch_version(batch, b), after, batch_up_to(batch, b), batch->limit, 0, NULL, &wants};
	BatchItem	first = {.source = HANDLING_EVENT, .position = after + 1, .log_name = b->log->name};

	if (batch->nlogs > 1)
		request.limit = Min(batch->limit, Max(batch->limit / batch->nlogs, BATCH_CHUNK));
	request.rows = request.limit;
	if (batch->pm->types)
	{
		log_types_begin(&types, b->log, batch->pm->types);
		wants.types = &types;
	}
	if (wants.ours || wants.types != NULL)
	{
		request.wants = batch_wants;
		request.rows = Max(request.limit, BATCH_OTHERS);
	}
	/* Each event says that it is the one, as far as that can be told (log_index.c). */
	batch_mark(batch, &first);
	reading = reading_read(b->log, &request);
	crash_unmark();
	if (reading == NULL)
	{
		/* What there was of it is gone. */
		b->reading = NULL;
		log_trouble_no_index(&b->trouble, b->log);
		return;
	}
	b->reading = reading;
	b->next = 0;
	b->looked_at += b->reading->looked_at;
	batch->bytes += b->reading->bytes;
}

static bool
batch_has_read(BatchLog *b)
{
	return b->reading != NULL && b->next < b->reading->count;
}

/*
 * How far the log has been read: nothing of ours is between the last event
 * taken and that, when none is left.
 */
static int64
batch_read_to(BatchLog *b)
{
	return b->reading != NULL ? b->reading->up_to : b->cursor->position;
}

/*
 * Sees to it that a log's next event is known, or that there is none, unless
 * that cannot be found out now.  The mark is computed before what it settles is
 * read.
 */
static void
batch_look(Batch *batch, BatchLog *b, DispatchResult *result)
{
	if (batch_has_read(b) || b->unknown || b->trouble.message != NULL)
		return;
	if (!batch_enter(batch, b))
	{
		b->unknown = b->reading != NULL;
		return;
	}
	while (!batch_has_read(b) && !b->unknown && b->trouble.message == NULL)
	{
		if (!b->marked && !batch_compute_mark(batch, b, result))
			b->unknown = b->reading != NULL;
		else if (batch_read_to(b) >= b->mark.mark)
			break;
		else if (batch_read_to(b) >= batch_up_to(batch, b))
			b->unknown = true;
		else if (b->looked_at > Max(batch->limit, BATCH_OTHERS) || (b->reading != NULL && batch->bytes > BATCH_BYTES))
			b->unknown = true;
		else
			batch_read_on(batch, b, batch_read_to(b));
	}
	batch_leave(batch, b);
}

static void
batch_take(Batch *batch, BatchLog *b)
{
	ReadingEvent *event = &b->reading->events[b->next++];
	BatchItem  *item = palloc0(sizeof(BatchItem));

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
 * Is the log left out of the batch?  One that has been read to some point is
 * not: the next batch will find out.
 */
static bool
batch_leaves_out(BatchLog *b)
{
	return b->trouble.message != NULL && b->reading == NULL;
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
	BatchLog   *broken = NULL;
	bool		lasting = true;
	bool		none;

	for (int i = 0; i < batch->nlogs; i++)
	{
		BatchLog   *b = &batch->logs[i];

		if (!batch_leaves_out(b))
		{
			log_trouble_over(b->cursor->log);
			continue;
		}
		batch->left_out++;
		lasting &= log_trouble_lasts(b->cursor->log);
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
	bool		blind = false;	/* after known_to */
	BatchLog   *oldest = NULL;

	batch->events = palloc(sizeof(BatchItem *) * batch->limit);
	for (int i = 0; i < batch->nlogs; i++)
		batch_look(batch, &batch->logs[i], result);
	if (!batch_do_without(batch, result))
		return false;
	while (batch->count < batch->limit)
	{
		/* Only the log that an event was taken from has another one next. */
		if (oldest != NULL)
			batch_look(batch, oldest, result);
		oldest = NULL;
		for (int i = 0; i < batch->nlogs; i++)
		{
			BatchLog   *b = &batch->logs[i];

			if (batch_leaves_out(b))
				continue;
			if (b->unknown && !batch_has_read(b))
			{
				known_to = blind ? Min(known_to, b->reading->last_time) : b->reading->last_time;
				blind = true;
			}
			else if (batch_has_read(b) &&
					 (oldest == NULL || b->reading->events[b->next].time < oldest->reading->events[oldest->next].time))
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
	BatchItem  *event = batch->next < batch->count ? batch->events[batch->next] : NULL;
	BatchItem  *timer = NULL;

	if (batch->done >= batch->limit)
		return NULL;
	/* A log that is not looked at may have what comes before a timer. */
	if (batch->has_timers && !batch->some && batch->left_out == 0)
	{
		if (batch->timers_unread || (batch->timers_more && batch->next_timer == list_length(batch->timers)))
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
	bool		any = false;

	for (int i = 0; i < batch->nlogs; i++)
	{
		BatchLog   *b = &batch->logs[i];
		int64		position = b->cursor->position;
		bool		more;

		if (batch_leaves_out(b))
		{
			if (b->cursor->which >= 0)
				result->rest = bms_add_member(result->rest, b->cursor->which);
			continue;
		}
		if (b->done == b->taken && !batch_has_read(b))
		{
			position = batch_read_to(b);
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
