/*
 * batch_log.c
 *		Reads the followed logs of a batch.
 *
 * A log may turn out to have a problem at any time.  If nothing has been read
 * from it, not even by an earlier batch, it is left out.  Otherwise the events
 * that have been read are handled.  What comes after them is unknown, so the
 * batch ends there, and the next one finds the problem at its beginning.
 */
#include "pm.h"

#include "storage/lmgr.h"

#include "dispatch/batch_item.h"
#include "dispatch/batch_log.h"
#include "log/attached.h"
#include "log/highwater_ask.h"
#include "log/log_open.h"
#include "log/partition.h"
#include "shmem/crash.h"

#define BATCH_LOG_CHUNK 32 /* from each of several logs, at least this many events at once */

/*
 * A batch may skip this many events of other lanes and types, or as many as its limit if
 * that is higher.
 */
#define BATCH_LOG_OTHERS 10000

/* When this many bytes have been read, the batch reads no more. */
#define BATCH_LOG_BYTES ((Size) 64 * 1024 * 1024)

/* ---------- opening ---------- */

/*
 * If there are many logs, each is locked only while it is read, because the
 * lock table is shared by all sessions.  Events that have been read stay valid
 * without the lock.
 */
static void
batch_log_leave(const BatchLogs *logs, BatchLog *b)
{
	if (logs->many)
		UnlockRelationOid(b->log->relid, AccessShareLock);
}

/*
 * Opens a log.  If it cannot be read, the reason is in b->trouble.
 */
static void
batch_log_open(const BatchTask *task, BatchLog *b)
{
	const char *name = b->cursor->log;
	bool locked = false;

	/* A dispatcher has other units to run, so it does not wait for a locked table. */
	b->log = task->wait_for_logs ? log_open(name) : log_open_nowait(name, &locked);
	if (b->log == NULL && locked)
		log_trouble_locked(&b->trouble, name);
	else if (b->log == NULL)
		log_trouble_missing(&b->trouble, name);
	else
		(void) log_trouble(&b->trouble, b->log, GetUserId());
}

/*
 * A reading that has all events can be used by every unit.  Any other is this
 * unit's own, and is valid as long as the unit's registration, which says which
 * events are wanted, does not change.
 */
static ReadingKey
batch_log_key(const BatchTask *task, const BatchLog *b)
{
	ReadingKey key;

	memset(&key, 0, sizeof(key)); /* it is hashed as bytes */
	key.relid = b->log->relid;
	key.attached = b->log->attached != NULL ? b->log->attached->number : 0;
	if (task->pm->types != (Datum) 0 || !lane_share_is_all(&b->share))
	{
		key.manager = task->pm->id;
		key.lane = task->lane;
	}
	return key;
}

static uint64
batch_log_version(const BatchTask *task, const BatchLog *b)
{
	return b->key.manager == 0 ? 0 : task->pm->version;
}

static void
batch_log_begin_one(const BatchTask *task, BatchLogs *logs, BatchLog *b)
{
	batch_log_open(task, b);
	if (b->trouble.message == NULL)
	{
		b->share = lane_share(task->pm, task->lane, b->log->name, b->cursor->position);
		b->key = batch_log_key(task, b);
		b->reading = reading_find(&b->key, batch_log_version(task, b), b->cursor->position,
								  &b->next);
	}
	if (b->log != NULL)
		batch_log_leave(logs, b);
}

void
batch_log_begin(const BatchTask *task, BatchLogs *logs, List *cursors)
{
	ListCell *lc;

	memset(logs, 0, sizeof(*logs));
	reading_begin();
	logs->many = list_length(cursors) > BATCH_LOG_LOCKS;
	logs->logs = palloc0(sizeof(BatchLog) * Max(list_length(cursors), 1));
	foreach(lc, cursors)
	{
		BatchLog *b = &logs->logs[logs->count++];

		b->cursor = lfirst(lc);
		batch_log_begin_one(task, logs, b);
	}
}

/*
 * Locks a log again.  False if it cannot be read now.
 */
static bool
batch_log_enter(const BatchTask *task, const BatchLogs *logs, BatchLog *b)
{
	PmLog *before = b->log;

	if (!logs->many)
		return true;
	batch_log_open(task, b);
	if (b->log != NULL && (b->trouble.message != NULL || b->log->relid != before->relid))
	{
		/*
		 * Another log may have taken the name while this one was not locked, or the log may
		 * have been given another table.
		 */
		batch_log_leave(logs, b);
		if (b->trouble.message == NULL && partition_root(before->relid) == b->log->relid)
			log_trouble_locked(&b->trouble, b->cursor->log);
		else if (b->trouble.message == NULL)
			log_trouble_missing(&b->trouble, b->cursor->log);
		b->log = NULL;
	}
	if (b->log != NULL)
		return true;
	b->log = before;
	return false;
}

/* ---------- how far it may be read ---------- */

/*
 * A consumer that has fetched and not advanced fetches the same events again.
 */
static void
batch_log_bound(const BatchTask *task, BatchLog *b)
{
	Fetched *fetched = lease_fetched(task->again, b->cursor->log, false);
	int64 bound = fetched == NULL ? 0 : fetched->up_to;

	b->mark.mark = Min(b->mark.mark, Max(bound, b->cursor->position));
}

/*
 * Computes the mark of a log.  False if that cannot be done now.
 */
static bool
batch_log_mark(const BatchTask *task, BatchLogs *logs, BatchLog *b)
{
	int64 needed;

	b->mark = highwater_now(b->log->relid, b->log->seqid, task->view);
	/* A sequence is never below a position that was seen or handled, unless it was set back. */
	needed = Max(b->mark.reached, b->cursor->position);
	if (b->mark.status == HIGHWATER_UNKNOWN)
		log_trouble_locked(&b->trouble, b->log->name);
	else if (b->mark.status == HIGHWATER_REWOUND || b->mark.last < b->cursor->position)
		log_trouble_rewound(&b->trouble, b->log, b->mark.last, needed);
	if (b->trouble.message != NULL)
		return false;
	logs->held |= b->mark.status == HIGHWATER_HELD;
	if (task->again != NULL)
		batch_log_bound(task, b);
	b->marked = true;
	return true;
}

/*
 * Returns up to which position a log may be read now: its mark, or less.  An
 * event that has crashed the server is read alone, after the events before it.
 * If reading it is what crashes the server, this finds that out, and no event before
 * it is skipped with it.
 */
static int64
batch_log_up_to(const BatchTask *task, const BatchLog *b)
{
	const LaneState *state = task->state;
	int64 before = state->position - 1;

	if (state->status != LANE_RETRYING || state->crashes == 0 || state->log == NULL ||
		b->cursor->position >= state->position || strcmp(state->log, b->log->name) != 0)
		return b->mark.mark;
	return Min(b->mark.mark, b->cursor->position < before ? before : state->position);
}

int64
batch_log_read_to(const BatchLog *b)
{
	return b->reading != NULL ? b->reading->up_to : b->cursor->position;
}

/* ---------- reading ---------- */

/*
 * Makes the request for the next part of a log.  If the key is the stream, the
 * events of other lanes are left out while reading, as are those of other types,
 * and more is read instead.  If a function computes the key, only that function
 * can tell to which lane an event belongs.
 */
static ReadingRequest
batch_log_request(const BatchTask *task, const BatchLogs *logs, const BatchLog *b,
				  const LogTypes *types)
{
	ReadingRequest request = {.key = b->key,
							  .version = batch_log_version(task, b),
							  .after = batch_log_read_to(b),
							  .up_to = batch_log_up_to(task, b),
							  .limit = task->limit,
							  .filter = {.types = types},
							  .wait = task->wait_for_logs};

	/*
	 * It reads a part of each of several logs.  What it does not need is kept for the
	 * next batch.
	 */
	if (logs->count > 1)
		request.limit = Min(task->limit, Max(task->limit / logs->count, BATCH_LOG_CHUNK));
	if (!lane_share_is_all(&b->share) && task->pm->correlate == NULL)
		request.filter.share = &b->share;
	request.rows = request.filter.types != NULL || request.filter.share != NULL ||
						   (b->log->attached != NULL && b->log->attached->filter != NULL) ?
					   Max(request.limit, BATCH_LOG_OTHERS) :
					   request.limit;
	return request;
}

/*
 * Reads the next part of a log.
 */
static void
batch_log_read_on(const BatchTask *task, BatchLogs *logs, BatchLog *b)
{
	LogTypes types;
	bool typed = task->pm->types != (Datum) 0;
	ReadingRequest request;
	Reading *reading;
	BatchItem first = {.source = HANDLING_EVENT, .log_name = b->log->name};

	if (typed)
		log_types_begin(&types, b->log, task->pm->types);
	request = batch_log_request(task, logs, b, typed ? &types : NULL);
	/*
	 * An event that crashes the server while it is read is named by the crash mark:
	 * the scan changes the position in it from event to event (log_index.c).
	 */
	first.position = request.after + 1;
	batch_item_crash_mark(task, &first);
	reading = reading_read(b->log, &request, &b->trouble);
	crash_unmark();
	if (reading == NULL)
	{
		/* What an earlier batch has read can still be handled. */
		b->unknown = b->reading != NULL;
		return;
	}
	b->reading = reading;
	b->next = 0;
	b->looked_at += reading->looked_at;
	logs->bytes += reading->bytes;
}

/*
 * Has the batch read as much as it may, although the log's next event is not
 * known yet?
 */
static bool
batch_log_has_enough(const BatchTask *task, const BatchLogs *logs, const BatchLog *b)
{
	return b->looked_at > Max(task->limit, BATCH_LOG_OTHERS) ||
		   (b->reading != NULL && logs->bytes > BATCH_LOG_BYTES);
}

void
batch_log_look(const BatchTask *task, BatchLogs *logs, BatchLog *b)
{
	if (batch_log_next(b) != NULL || b->unknown || b->trouble.message != NULL)
		return;
	if (!batch_log_enter(task, logs, b))
	{
		/* If nothing has been read from the log, b->trouble causes it to be left out. */
		b->unknown = b->reading != NULL;
		return;
	}
	while (batch_log_next(b) == NULL && !b->unknown && b->trouble.message == NULL)
	{
		/* Compute the mark first, because the reading's snapshot must be taken after it. */
		if (!b->marked && !batch_log_mark(task, logs, b))
			b->unknown = b->reading != NULL;
		/* The whole log has been read. */
		else if (batch_log_read_to(b) >= b->mark.mark)
			break;
		else if (batch_log_read_to(b) >= batch_log_up_to(task, b) ||
				 batch_log_has_enough(task, logs, b))
			b->unknown = true;
		else
			batch_log_read_on(task, logs, b);
	}
	batch_log_leave(logs, b);
}

ReadingEvent *
batch_log_next(BatchLog *b)
{
	return b->reading != NULL && b->next < b->reading->count ? &b->reading->events[b->next] : NULL;
}

/* ---------- asking ---------- */

/*
 * A log from which something was read is not left out, even if it had a problem
 * later: the next batch will find that out.
 */
bool
batch_log_left_out(const BatchLog *b)
{
	return b->trouble.message != NULL && b->reading == NULL;
}

bool
batch_log_any_shared(const BatchLogs *logs)
{
	for (int i = 0; i < logs->count; i++)
		if (!batch_log_left_out(&logs->logs[i]) && !lane_share_is_all(&logs->logs[i].share))
			return true;
	return false;
}
