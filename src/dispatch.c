/*
 * dispatch.c
 *		One batch of one unit: mark -> read -> handle -> advance.
 *
 * Called by dispatchers in a transaction of their own, and by pm.catch_up in a
 * subtransaction of its caller's.  The order is what makes it right: lock the
 * unit, compute the marks, only then take the snapshot that reads, handle,
 * move the cursors, and leave the commit to the caller.  A batch that fails
 * leaves nothing behind; DispatchCurrent says which event to blame.
 */
#include "pm.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "cursor.h"
#include "dispatch.h"
#include "guc.h"
#include "handler.h"
#include "log.h"
#include "slot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"
#include "within.h"

#define EVENT_POSITION		2
#define EVENT_RECORDED_AT	8

typedef struct BatchEvent
{
	int64		position;
	TimestampTz recorded_at;
	Datum		event;			/* a pm.event */
} BatchEvent;

/* One followed log in a batch. */
typedef struct BatchLog
{
	Cursor	   *cursor;
	PmLog	   *log;
	Highwater	mark;
	int			count;			/* events read */
	int			taken;			/* of these, into the batch */
	int			handled;
	bool		more;			/* there are more below the mark */
	BatchEvent *events;
} BatchLog;

typedef struct Batch
{
	DispatchRequest *request;
	ProcessManager *pm;
	int			nlogs;
	BatchLog   *logs;
	int			count;			/* events in the batch, in the order to handle */
	BatchLog  **from;
	BatchEvent **events;
	int			handled;
} Batch;

DispatchProgress DispatchCurrent;

/* ---------- the batch ---------- */

/*
 * May the unit run now?
 */
static bool
batch_may_run(ProcessManager *pm, LaneState *state, DispatchResult *result)
{
	result->retry_at = DT_NOEND;
	if (pm->paused || !pm->at_home || state->status == LANE_HALTED)
		return false;
	if (state->status == LANE_RETRYING && state->retry_at > GetCurrentTimestamp())
	{
		result->retry_at = state->retry_at;
		return false;
	}
	return true;
}

/*
 * Computes the mark of each log.  False when one cannot be looked at now.
 */
static bool
batch_mark(Batch *batch, List *cursors, DispatchResult *result)
{
	ListCell   *lc;

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
	}
	return true;
}

/*
 * Reads a log's next events, up to the mark.
 */
static void
batch_read_log(Batch *batch, BatchLog *b, int limit, TupleDesc event_desc)
{
	MemoryContext caller = CurrentMemoryContext;
	ExecScope	scope;

	log_begin_read(b->log, &scope);
	b->count = (int) log_select(b->log, b->cursor->position, b->mark.mark, limit, batch->pm->types);
	b->more = b->count == limit;
	b->events = MemoryContextAlloc(caller, sizeof(BatchEvent) * Max(b->count, 1));
	for (int i = 0; i < b->count; i++)
	{
		BatchEvent *e = &b->events[i];
		MemoryContext spi;
		bool		isnull;

		e->position = DatumGetInt64(exec_value(i, EVENT_POSITION, &isnull));
		e->recorded_at = DatumGetTimestampTz(exec_value(i, EVENT_RECORDED_AT, &isnull));
		spi = MemoryContextSwitchTo(caller);
		e->event = heap_copy_tuple_as_datum(SPI_tuptable->vals[i], event_desc);
		MemoryContextSwitchTo(spi);
	}
	exec_end(&scope);
}

/*
 * Reads all logs that are behind, and merges them by recorded_at.  Stops where
 * one runs out although it has more: what would come next is not known.
 */
static void
batch_read(Batch *batch)
{
	TupleDesc	event_desc = lookup_rowtype_tupdesc(handler_event_type(), -1);
	int			limit = (int) Min(batch->request->max_events, batch->pm->batch_size);
	bool		more = true;

	for (int i = 0; i < batch->nlogs; i++)
		if (batch->logs[i].mark.mark > batch->logs[i].cursor->position)
			batch_read_log(batch, &batch->logs[i], limit, event_desc);
	ReleaseTupleDesc(event_desc);

	batch->events = palloc(sizeof(BatchEvent *) * limit);
	batch->from = palloc(sizeof(BatchLog *) * limit);
	while (more && batch->count < limit)
	{
		BatchLog   *oldest = NULL;

		for (int i = 0; i < batch->nlogs; i++)
		{
			BatchLog   *b = &batch->logs[i];

			if (b->taken < b->count &&
				(oldest == NULL || b->events[b->taken].recorded_at < oldest->events[oldest->taken].recorded_at))
				oldest = b;
		}
		if (oldest == NULL)
			break;
		batch->from[batch->count] = oldest;
		batch->events[batch->count++] = &oldest->events[oldest->taken++];
		more = oldest->taken < oldest->count || !oldest->more;
	}
}

static void
batch_at(Batch *batch, int index)
{
	DispatchCurrent.stage = STAGE_HANDLE;
	DispatchCurrent.index = index;
	strlcpy(DispatchCurrent.log, batch->from[index]->log->name, sizeof(DispatchCurrent.log));
	DispatchCurrent.position = batch->events[index]->position;
	slot_handling_event(DispatchCurrent.log, DispatchCurrent.position);
}

/*
 * Calls the handler for each event, or once for all.  Stops early, between two
 * events, when the batch has lasted long enough.  What the handlers set is
 * undone at the end, so that they cannot disturb whoever comes next.
 */
static void
batch_handle(Batch *batch)
{
	Handler		handler;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext per_event = AllocSetContextCreate(caller, "pm event", ALLOCSET_DEFAULT_SIZES);
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), guc_batch_duration);
	int			guc_level;

	handler_open(&handler, batch->pm);
	guc_level = NewGUCNestLevel();
	PushActiveSnapshot(GetTransactionSnapshot());
	slot_handling(batch->pm->id, batch->request->lane, batch->pm->name,
				  handler.kind == HANDLER_BATCH && batch->count > 1);
	slot_activity(ACTIVITY_HANDLING);
	within_enter(batch->pm);
	handler_watch_begin(&handler);
	MemoryContextSwitchTo(per_event);

	if (handler.kind == HANDLER_BATCH)
	{
		Datum	   *events = palloc(sizeof(Datum) * batch->count);

		for (int i = 0; i < batch->count; i++)
			events[i] = batch->events[i]->event;
		/* Which event it is about, is not known before the last is done. */
		batch_at(batch, batch->count - 1);
		handler_call(&handler, handler_event_array(&handler, events, batch->count));
		batch->handled = batch->count;
	}
	else
	{
		while (batch->handled < batch->count)
		{
			CHECK_FOR_INTERRUPTS();
			batch_at(batch, batch->handled);
			within_event(batch->from[batch->handled]->log->name, batch->events[batch->handled]->position,
						 batch->events[batch->handled]->event);
			handler_call(&handler, batch->events[batch->handled]->event);
			CommandCounterIncrement();
			UpdateActiveSnapshotCommandId();
			MemoryContextReset(per_event);
			batch->handled++;
			if (GetCurrentTimestamp() >= deadline)
				break;
		}
	}

	MemoryContextSwitchTo(caller);
	DispatchCurrent.stage = STAGE_COMMIT;
	/* In a subtransaction they wait for the commit of the caller's transaction. */
	if (GetCurrentTransactionNestLevel() == 1)
		handler_fire_deferred();
	handler_watch_end();
	within_leave();
	PopActiveSnapshot();
	AtEOXact_GUC(false, guc_level);
	MemoryContextDelete(per_event);
}

/*
 * Moves the cursors: to the last event handled, or to the mark where all
 * there was has been handled.
 */
static bool
batch_advance(Batch *batch)
{
	bool		more = false;

	for (int i = 0; i < batch->handled; i++)
		batch->from[i]->handled++;
	for (int i = 0; i < batch->nlogs; i++)
	{
		BatchLog   *b = &batch->logs[i];
		int64		position = b->cursor->position;

		if (b->mark.mark <= position)
			continue;
		if (b->handled == b->count && !b->more)
			position = b->mark.mark;
		else
		{
			more = true;
			if (b->handled > 0)
				position = b->events[b->handled - 1].position;
		}
		if (position > b->cursor->position)
			cursor_move(batch->pm, batch->request->lane, b->cursor, position, b->handled);
		b->cursor->position = position;
	}
	return more;
}

/*
 * Has the batch shown that what was wrong with the unit is over?  A retry must
 * have got past the event that failed; to get this far is enough for a wait.
 * Runs after the cursors have moved.
 */
static bool
batch_cures(Batch *batch, LaneState *state)
{
	if (state->status == LANE_WAITING)
		return true;
	if (state->status != LANE_RETRYING)
		return false;
	for (int i = 0; i < batch->nlogs; i++)
		if (strcmp(batch->logs[i].log->name, state->log) == 0)
			return batch->logs[i].cursor->position >= state->position;
	return true;
}

/*
 * Runs one batch of a unit in the current (sub)transaction, which must be
 * fresh: READ COMMITTED, no snapshot in use that is older than the marks.
 */
DispatchResult
dispatch_batch(DispatchRequest *request)
{
	Batch		batch;
	DispatchResult result;
	LaneState	state;
	List	   *cursors;

	Assert(!IsolationUsesXactSnapshot());
	Assert(!within_handler());
	memset(&batch, 0, sizeof(batch));
	memset(&result, 0, sizeof(result));
	memset(&DispatchCurrent, 0, sizeof(DispatchCurrent));
	batch.request = request;
	batch.pm = request->pm;
	slot_activity(ACTIVITY_READING);

	result.outcome = DISPATCH_BUSY;
	if (!registry_lock(request->pm->id, request->lane, !request->wait))
		return result;
	result.outcome = DISPATCH_STALE;
	if (registry_version() != request->pm->version)
		return result;

	cursors = cursor_read(batch.pm, request->lane, &state);
	result.outcome = DISPATCH_STOPPED;
	if (!batch_may_run(batch.pm, &state, &result))
		return result;

	/* What is retried is tried alone. */
	if (state.status == LANE_RETRYING)
		request->max_events = 1;

	result.outcome = DISPATCH_BUSY;
	if (!batch_mark(&batch, cursors, &result))
		return result;
	batch_read(&batch);
	DispatchCurrent.count = batch.count;
	if (batch.count > 0)
		batch_handle(&batch);
	result.outcome = batch_advance(&batch) ? DISPATCH_MORE : batch.count > 0 ? DISPATCH_DONE : DISPATCH_IDLE;
	result.handled = batch.handled;

	if (batch_cures(&batch, &state))
		lane_clear(batch.pm->name, request->lane);
	slot_activity(ACTIVITY_COMMITTING);
	return result;
}

/*
 * To be called first when an error has left dispatch_batch(), before anything
 * else is run.
 */
void
dispatch_abandon(void)
{
	handler_watch_end();
	within_leave();
	/* No handler runs any more: who dies from here on dies of something else. */
	slot_activity(ACTIVITY_READING);
}

/* ---------- what errors mean ---------- */

/*
 * Errors that say nothing of the event: the same again may well succeed.
 */
bool
dispatch_retry_at_once(int sqlerrcode)
{
	return ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_TRANSACTION_ROLLBACK ||
		sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
}

/*
 * Errors that the server makes of its own trouble (no space, no memory, no
 * connections, input and output): no attempt of the handler at first, it waits
 * until they are over.
 */
bool
dispatch_servers_fault(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_DISK_FULL || sqlerrcode == ERRCODE_OUT_OF_MEMORY ||
		sqlerrcode == ERRCODE_TOO_MANY_CONNECTIONS || sqlerrcode == ERRCODE_IO_ERROR;
}

/*
 * Writes down that a unit waits, and why, unless that is known already.  What
 * was raised before the handler ran is ours, and may be told.
 */
void
dispatch_wait(ProcessManager *pm, int lane, LaneState *state, ErrorData *error)
{
	bool		ours = DispatchCurrent.stage == STAGE_PREPARE;
	char	   *reason = ours ? error->message :
		psprintf("the handler met trouble of the server (SQLSTATE %s)", unpack_sql_state(error->sqlerrcode));

	if (state->status == LANE_WAITING && strcmp(state->reason, reason) == 0)
		return;
	lane_wait(pm->name, lane, reason, ours ? error->hint : "It is tried again. The server's log tells more.", error);
	ereport(LOG,
			(errmsg("process manager \"%s\" waits: %s", pm->name, error->message)));
}

/*
 * Was an error that dispatch_batch() has raised a cancel of our timeout?  Then
 * it says so from now on.
 */
bool
dispatch_error(ErrorData *error, ProcessManager *pm)
{
	if (!handler_timed_out() || error->sqlerrcode != ERRCODE_QUERY_CANCELED)
		return false;
	error->message = psprintf("the handler did not return within handler_timeout (%lld ms)",
							  (long long) pm->handler_timeout);
	error->hint = pstrdup("Make it faster, or register with a longer handler_timeout.");
	return true;
}
