/*
 * batch_log.c
 *		One of the followed logs in a batch: what comes next in it, as far as that
 *		can be found out now.
 *
 * A log may turn out to be in trouble at any time.  As long as nothing has been
 * read of it, not even by a batch before, it is left out.  Else what has been
 * read is handled, and what comes after it is unknown: the batch ends there, and
 * the next one finds the log in trouble from the beginning.
 */
#include "pm.h"

#include "storage/lmgr.h"

#include "base/event.h"
#include "dispatch/batch.h"
#include "log/highwater_ask.h"
#include "log/log_open.h"
#include "log/log_read.h"
#include "manager/repartition.h"
#include "shmem/crash.h"

/* Of each of several logs so many events are read at once, at least. */
#define BATCH_CHUNK 32

/* So many events of other lanes are passed over in one batch, unless it is greater. */
#define BATCH_OTHERS 10000

/* When so many bytes have been read, the batch ends with them. */
#define BATCH_BYTES ((Size) 64 * 1024 * 1024)

/*
 * What was read for a unit alone serves for as long as its registration stays
 * the same: types and lanes say which events those are.
 */
static uint64
batch_log_version(Batch *batch, BatchLog *b)
{
	return b->key.manager == 0 ? 0 : batch->pm->version;
}

/*
 * Where there are many logs, each is locked only while it is looked at: the lock
 * table is everybody's.  What has been read of it is good without the lock.
 */
static void
batch_log_leave(Batch *batch, BatchLog *b)
{
	if (batch->many)
		UnlockRelationOid(b->log->relid, AccessShareLock);
}

/*
 * Opens a log.  What keeps it from being read is noted.
 */
static void
batch_log_open(Batch *batch, BatchLog *b)
{
	const char *name = b->cursor->log;
	bool locked = false;

	b->log = batch->request->wait_for_logs ? log_open(name) : log_open_nowait(name, &locked);
	if (b->log == NULL && locked)
		log_trouble_locked(&b->trouble, name);
	else if (b->log == NULL)
		log_trouble_missing(&b->trouble, name);
	else
		(void) log_trouble(&b->trouble, b->log, GetUserId());
}

/*
 * Opens a log for a batch, and finds what has been read of it before.
 */
void
batch_log_begin(Batch *batch, BatchLog *b)
{
	bool shared = batch->pm->types == (Datum) 0 && batch->pm->lanes == 1;
	ListCell *lc;

	batch_log_open(batch, b);
	if (b->trouble.message != NULL)
	{
		if (b->log != NULL)
			batch_log_leave(batch, b);
		return;
	}
	foreach(lc, batch->pm->former_lanes)
	{
		FormerLane *past = lfirst(lc);

		if (past->position > b->cursor->position && strcmp(past->log, b->log->name) == 0)
			b->repartitions = lappend(b->repartitions, past);
	}
	b->others = batch->pm->lanes > 1 || b->repartitions != NIL;
	b->key.relid = b->log->relid;
	if (!shared || b->others)
	{
		b->key.manager = batch->pm->id;
		b->key.lane = batch->lane;
	}
	b->reading = reading_find(&b->key, batch_log_version(batch, b), b->cursor->position, &b->next);
	batch_log_leave(batch, b);
}

/*
 * Locks a log again.  False if it cannot be looked at now.
 */
static bool
batch_log_enter(Batch *batch, BatchLog *b)
{
	PmLog *before = b->log;

	if (!batch->many)
		return true;
	batch_log_open(batch, b);
	if (b->log != NULL && (b->trouble.message != NULL || b->log->relid != before->relid))
	{
		batch_log_leave(batch, b);
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
batch_log_mark(Batch *batch, BatchLog *b, DispatchResult *result)
{
	int64 needed;

	b->mark = highwater_now(b->log->relid, b->log->seqid, batch->request->view);
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
bool
batch_log_owns(Batch *batch, BatchLog *b, uint32 hash, int64 position)
{
	return hash % batch->pm->lanes == batch->lane &&
		   !repartition_handled(b->repartitions, hash, position);
}

/* Which events are wanted. */
typedef struct BatchLogWants
{
	Batch *batch;
	BatchLog *log;
	bool ours;		 /* the key is the stream: only those of this lane */
	LogTypes *types; /* only these, unless it is NULL */
} BatchLogWants;

/*
 * Is it wanted?
 */
static bool
batch_log_wants(void *arg, const EventFields *event)
{
	BatchLogWants *wants = arg;
	uint32 hash;

	if (wants->types != NULL && !log_types_have(wants->types, event))
		return false;
	if (!wants->ours)
		return true;
	hash = event->nulls[EVENT_STREAM - 1] ? key_hash("", 0) :
											key_hash_text(event->values[EVENT_STREAM - 1]);
	return batch_log_owns(wants->batch, wants->log, hash,
						  DatumGetInt64(event->values[EVENT_POSITION - 1]));
}

/*
 * Up to where a log may be read now.  What has crashed the server is read alone,
 * after what comes before it: if it was in the reading, that is to be found out,
 * and nothing before it is to be skipped with it.
 */
static int64
batch_log_up_to(Batch *batch, BatchLog *b)
{
	LaneState *state = &batch->state;

	if (state->status != LANE_RETRYING || state->crashes == 0 || state->log == NULL ||
		b->cursor->position >= state->position || strcmp(state->log, b->log->name) != 0)
		return b->mark.mark;
	return Min(b->mark.mark,
			   b->cursor->position < state->position - 1 ? state->position - 1 : state->position);
}

/*
 * Reads a log on from a position to its mark.  Where the stream is the key, the
 * events of other lanes are left out at once, and more are read to make up for
 * them.  So are those of other types.
 */
static void
batch_log_read_on(Batch *batch, BatchLog *b, int64 after)
{
	Reading *reading;
	LogTypes types;
	BatchLogWants wants = {batch, b, b->others && batch->pm->correlate == NULL, NULL};
	ReadingRequest request = {b->key,		batch_log_version(batch, b),
							  after,		batch_log_up_to(batch, b),
							  batch->limit, 0,
							  NULL,			&wants};
	BatchItem first = {.source = HANDLING_EVENT, .position = after + 1, .log_name = b->log->name};

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
		request.wants = batch_log_wants;
		request.rows = Max(request.limit, BATCH_OTHERS);
	}
	/* Each event says that it is the one, as far as that can be told (log_index.c). */
	batch_mark(batch, &first);
	reading = reading_read(b->log, &request);
	crash_unmark();
	if (reading == NULL)
	{
		log_trouble_no_index(&b->trouble, b->log);
		b->unknown = b->reading != NULL;
		return;
	}
	b->reading = reading;
	b->next = 0;
	b->looked_at += b->reading->looked_at;
	batch->bytes += b->reading->bytes;
}

bool
batch_log_has_read(BatchLog *b)
{
	return b->reading != NULL && b->next < b->reading->count;
}

/*
 * How far the log has been read: nothing of ours is between the last event
 * taken and that, when none is left.
 */
int64
batch_log_read_to(BatchLog *b)
{
	return b->reading != NULL ? b->reading->up_to : b->cursor->position;
}

/*
 * Sees to it that a log's next event is known, or that there is none, unless
 * that cannot be found out now.  The mark is computed before what it settles is
 * read.
 */
void
batch_log_look(Batch *batch, BatchLog *b, DispatchResult *result)
{
	if (batch_log_has_read(b) || b->unknown || b->trouble.message != NULL)
		return;
	if (!batch_log_enter(batch, b))
	{
		b->unknown = b->reading != NULL;
		return;
	}
	while (!batch_log_has_read(b) && !b->unknown && b->trouble.message == NULL)
	{
		if (!b->marked && !batch_log_mark(batch, b, result))
			b->unknown = b->reading != NULL;
		else if (batch_log_read_to(b) >= b->mark.mark)
			break;
		else if (batch_log_read_to(b) >= batch_log_up_to(batch, b))
			b->unknown = true;
		else if (b->looked_at > Max(batch->limit, BATCH_OTHERS) ||
				 (b->reading != NULL && batch->bytes > BATCH_BYTES))
			b->unknown = true;
		else
			batch_log_read_on(batch, b, batch_log_read_to(b));
	}
	batch_log_leave(batch, b);
}

/*
 * Is the log left out of the batch?  One that has been read to some point is
 * not: the next batch will find out.
 */
bool
batch_log_left_out(BatchLog *b)
{
	return b->trouble.message != NULL && b->reading == NULL;
}
