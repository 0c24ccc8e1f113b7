/*
 * dispatch.c
 *		One batch of one unit: mark -> read -> handle -> advance.
 *
 * Called by dispatchers in a transaction of their own, and by pm.catch_up in a
 * subtransaction of its caller's.  The order is what makes it right: lock the
 * unit, compute the marks, only then take the snapshot that reads, handle,
 * save the instances, move the cursors, and leave the commit to the caller.  A
 * batch that fails leaves nothing behind; DispatchCurrent says which event to
 * blame.
 *
 * A batch handles either what the logs and timers have, or the queue of one
 * parked key.
 */
#include "pm.h"

#include "access/xact.h"
#include "batch.h"
#include "catalog/pg_extension.h"
#include "crash.h"
#include "cursor.h"
#include "dispatch.h"
#include "event.h"
#include "guc.h"
#include "handler.h"
#include "instance.h"
#include "park.h"
#include "slot.h"
#include "storage/lmgr.h"
#include "timer.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "within.h"

/* How soon to look again whether a suspect may run, ms. */
#define DISPATCH_SUSPECT_NAP	50

DispatchProgress DispatchCurrent;

/* The session in which the handlers of a batch are called. */
typedef struct Session
{
	Handler		handler;
	MemoryContext caller;
	MemoryContext per_event;
	TimestampTz deadline;
	int			guc_level;
} Session;

/* ---------- calling the handler ---------- */

/*
 * Who outlives this session is to know what it had in hand.
 */
static void
dispatch_publish(Batch *batch)
{
	slot_handling(&DispatchCurrent.handling, batch->pm->name);
	crash_mark(&DispatchCurrent.handling);
}

/*
 * User's code has run.  It may have left settings, or triggers for the commit,
 * at which something of ours fails: that is some item's fault, not known whose.
 * If the session dies of something else from here on, it is nobody's.
 */
static void
dispatch_called(Batch *batch)
{
	Handling   *handling = &DispatchCurrent.handling;

	/* If the call has asked for the end of its session, it is to blame for it. */
	CHECK_FOR_INTERRUPTS();
	DispatchCurrent.stage = STAGE_COMMIT;
	handling->correlating = false;
	handling->manager = 0;
	slot_handling(handling, batch->pm->name);
	crash_unmark();
}

/*
 * What the handlers set is undone at the end, so that they cannot disturb
 * whoever comes next.
 */
static void
session_begin(Session *session, Batch *batch)
{
	session->caller = CurrentMemoryContext;
	session->per_event = AllocSetContextCreate(CurrentMemoryContext, "pm event", ALLOCSET_DEFAULT_SIZES);
	session->deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), guc_batch_duration);
	/* What is appended from here on was not recorded before the events that have been read. */
	if (GetCurrentTransactionNestLevel() == 1)
		SetCurrentStatementStartTimestamp();
	handler_open(&session->handler, batch->pm);
	batch->has_timers = session->handler.kind == HANDLER_INSTANCE;
	session->guc_level = NewGUCNestLevel();
	PushActiveSnapshot(GetTransactionSnapshot());
	/* Nothing in hand yet, in particular not what the last batch had. */
	slot_handling(&DispatchCurrent.handling, batch->pm->name);
	slot_activity(ACTIVITY_HANDLING);
	within_enter(batch->pm, batch->lane);
	timer_begin();
	handler_watch_begin(&session->handler);
}

static void
session_end(Session *session, Batch *batch)
{
	TimestampTz earliest;

	/* What deferred triggers do is no single event's doing. */
	within_event(NULL, 0, (Datum) 0, NULL);
	instance_save(batch->pm, &batch->keys);
	/* In a subtransaction they wait for the commit of the caller's transaction. */
	if (GetCurrentTransactionNestLevel() == 1 && DispatchCurrent.stage == STAGE_COMMIT)
	{
		DispatchCurrent.handling.manager = batch->pm->id;
		DispatchCurrent.handling.several = batch->handled > 1;
		dispatch_publish(batch);
		handler_fire_deferred();
		dispatch_called(batch);
	}
	if (timer_was_set(&earliest))
		batch->due = Min(batch->due, earliest);
	handler_watch_end();
	within_leave();
	crash_unmark();
	PopActiveSnapshot();
	AtEOXact_GUC(false, session->guc_level);
	MemoryContextDelete(session->per_event);
}

/*
 * What the next event does is seen by what comes after it.
 */
static void
session_step(Session *session)
{
	CommandCounterIncrement();
	UpdateActiveSnapshotCommandId();
	MemoryContextReset(session->per_event);
}

/*
 * From here on, this item is to blame.
 */
static void
dispatch_at(Batch *batch, BatchItem *item, bool correlating, bool several)
{
	Handling   *handling = &DispatchCurrent.handling;

	DispatchCurrent.stage = STAGE_HANDLE;
	DispatchCurrent.index = batch->done;
	DispatchCurrent.count = batch->done + 1;
	handling->manager = batch->pm->id;
	handling->lane = batch->lane;
	handling->source = item->source;
	handling->several = several;
	handling->correlating = correlating;
	handling->position = item->position;
	handling->id = item->id;
	if (item->log_name == NULL)
		handling->log[0] = '\0';
	else if (strcmp(handling->log, item->log_name) != 0)
		strlcpy(handling->log, item->log_name, sizeof(handling->log));
	dispatch_publish(batch);
}

/*
 * Finds out an item's key.  False if the event is not for this process
 * manager.
 */
static bool
dispatch_correlate(Batch *batch, Session *session, BatchItem *item)
{
	MemoryContext caller;
	Datum		name;
	bool		isnull;

	if (item->key != NULL)
		return true;
	if (item->passed)
		return false;
	if (session->handler.correlates)
	{
		dispatch_at(batch, item, true, false);
		within_event(item->log_name, item->position, item->event, NULL);
		caller = MemoryContextSwitchTo(session->per_event);
		name = handler_call_correlate(&session->handler, item->event, &isnull);
		MemoryContextSwitchTo(caller);
		dispatch_called(batch);
		item->passed = isnull;
	}
	else
	{
		EventFields fields;

		event_deform(item->event, &fields);
		isnull = fields.nulls[EVENT_STREAM - 1];
		name = isnull ? CStringGetTextDatum("") : fields.values[EVENT_STREAM - 1];
	}
	if (!item->passed)
		item->key = key_get(&batch->keys, name);
	MemoryContextReset(session->per_event);
	return !item->passed;
}

/*
 * Calls the handler for an item, whose key is known if it keeps instances.
 */
static void
dispatch_call(Batch *batch, Session *session, BatchItem *item)
{
	Handler    *handler = &session->handler;
	MemoryContext caller;
	TimestampTz earliest;
	int64	   *ids;
	int			count;
	bool		ended = false;

	if (handler->kind == HANDLER_INSTANCE)
		instance_load(batch->pm, item->key);
	caller = MemoryContextSwitchTo(session->per_event);
	dispatch_at(batch, item, false, false);
	within_event(item->log_name, item->position, item->event,
				 handler->kind == HANDLER_INSTANCE ? item->key->name : NULL);
	if (handler->kind == HANDLER_INSTANCE)
	{
		bool		isnull;
		Datum		result;

		result = handler_call_instance(handler, item->event, item->key->state, !item->key->live, &isnull);
		ended = instance_returned(&batch->keys, item->key, batch->pm, result, isnull);
	}
	else if (handler->kind == HANDLER_BATCH)
		handler_call(handler, handler_event_array(handler, &item->event, 1));
	else
		handler_call(handler, item->event);
	MemoryContextSwitchTo(caller);
	session_step(session);
	dispatch_called(batch);

	if (timer_was_set(&earliest) && !ended)
	{
		if (!item->key->live && timer_exists(batch->pm, item->key->name))
		{
			DispatchCurrent.stage = STAGE_HANDLE;
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("handler %s set a timer where there is no instance", batch->pm->handler),
					 errhint("Return a state, which makes the instance that the timer is for.")));
		}
		batch->due = Min(batch->due, earliest);
		count = timer_set_due(&ids);
		for (int i = 0; i < count; i++)
			batch_timer_set(batch, ids[i]);
		timer_begin();
	}
	if (ended)
	{
		timer_end(batch->pm, batch->lane, item->key->name);
		timer_begin();
		CommandCounterIncrement();
		UpdateActiveSnapshotCommandId();
	}
}

/* ---------- logs and timers ---------- */

/*
 * Is this what has failed, and is to be tried again or set aside now?
 */
static bool
dispatch_has_failed(Batch *batch, BatchItem *item)
{
	Handling	what;

	if (batch->state.status != LANE_PARKING && batch->state.status != LANE_RETRYING)
		return false;
	memset(&what, 0, sizeof(what));
	what.source = item->source;
	what.id = item->id;
	what.position = item->position;
	strlcpy(what.log, item->log_name ? item->log_name : "", sizeof(what.log));
	return lane_is_about(&batch->state, &what);
}

/*
 * Sets the item aside that has failed, unless too many have.
 */
static void
dispatch_park(Batch *batch, BatchItem *item)
{
	char	   *refused = batch->state.crashes > 0 ? NULL : park_refused(batch->pm, &batch->state, batch->lane);

	if (refused != NULL)
	{
		Handling	what;

		memset(&what, 0, sizeof(what));
		what.lane = batch->lane;
		what.position = item->position;
		strlcpy(what.log, item->log_name, sizeof(what.log));
		lane_halt(batch->pm, &what, refused, &batch->state.error, false);
		batch->halted = true;
		ereport(LOG,
				(errmsg("process manager \"%s\" has halted: %s", batch->pm->name, refused)));
		return;
	}
	/* It is about to be tried again: the next crash must not undo this. */
	if (batch->state.crashes > 0)
		ForceSyncCommit();
	park_failed(batch->pm, batch->lane, item->key->name, item->event, batch->state.attempts, batch->state.crashes,
				&batch->state.error);
	batch->again = true;
}

/*
 * Gets past one item: handles it, or sets it aside, or finds that there is
 * nothing to do.
 */
static void
dispatch_item(Batch *batch, Session *session, BatchItem *item)
{
	bool		condemned = batch->state.status == LANE_PARKING && !batch->request->raise && dispatch_has_failed(batch, item);
	bool		handled = false;

	DispatchCurrent.count = batch->done + 1;
	if (item->source == HANDLING_TIMER && !timer_take(item->id))
	{
		/* Cancelled or replaced since it was read. */
		batch_done(batch, item, false);
		return;
	}
	if (item->source == HANDLING_TIMER)
	{
		batch->again = true;
		instance_load(batch->pm, item->key);
		if (!item->key->live)
		{
			batch_done(batch, item, false);
			return;
		}
	}

	if ((session->handler.correlates || session->handler.kind == HANDLER_INSTANCE ||
		 batch->state.has_parked || condemned) && !dispatch_correlate(batch, session, item))
		;
	else if (batch->state.has_parked && park_has(batch->pm, batch->lane, item->key))
		park_behind(batch->pm, batch->lane, item->key->name, item->event);
	else if (condemned)
		dispatch_park(batch, item);
	else
	{
		dispatch_call(batch, session, item);
		handled = true;
	}
	if (!batch->halted)
		batch_done(batch, item, handled);
}

/*
 * Gets past a batch in one call of the handler.
 */
static void
dispatch_array(Batch *batch, Session *session)
{
	Datum	   *events = palloc(sizeof(Datum) * Max(batch->count, 1));
	BatchItem **items = palloc(sizeof(BatchItem *) * Max(batch->count, 1));
	BatchItem  *item;
	int			count = 0;

	while ((item = batch_next(batch)) != NULL)
	{
		if ((session->handler.correlates || batch->state.has_parked) && !dispatch_correlate(batch, session, item))
			batch_done(batch, item, false);
		else if (batch->state.has_parked && park_has(batch->pm, batch->lane, item->key))
		{
			park_behind(batch->pm, batch->lane, item->key->name, item->event);
			batch_done(batch, item, false);
		}
		else
		{
			events[count] = item->event;
			items[count++] = item;
			batch_done(batch, item, true);
		}
	}
	if (count == 0)
		return;

	/* Which event it is about, is not known before the last is done. */
	batch->done--;
	dispatch_at(batch, items[count - 1], false, count > 1);
	batch->done++;
	DispatchCurrent.count = batch->done;
	MemoryContextSwitchTo(session->per_event);
	handler_call(&session->handler, handler_event_array(&session->handler, events, count));
	MemoryContextSwitchTo(session->caller);
	session_step(session);
	dispatch_called(batch);
}

/*
 * Where the keys can be told without asking the items before, what is kept of
 * them is read at once.
 */
static void
dispatch_foretell(Batch *batch, Session *session)
{
	if (!session->handler.foretells || batch->count < 2 ||
		!(session->handler.kind == HANDLER_INSTANCE || batch->state.has_parked))
		return;
	for (int i = 0; i < batch->count; i++)
	{
		/* An error here is found to be due to its event, as if it were its turn. */
		batch->done = i;
		(void) dispatch_correlate(batch, session, batch->events[i]);
	}
	batch->done = 0;
	if (session->handler.kind == HANDLER_INSTANCE)
		instance_prefetch(batch->pm, &batch->keys);
	if (batch->state.has_parked)
		park_prefetch(batch->pm, batch->lane, batch->keys.all);
}

/*
 * Has the batch shown that what was wrong with the unit is over?  A retry must
 * have got past the item that failed; to get this far is enough for a wait.
 * Runs after the cursors have moved.
 */
static bool
dispatch_cures(Batch *batch)
{
	LaneState  *state = &batch->state;

	if (batch->halted)
		return false;
	if (state->status == LANE_WAITING)
		return true;
	if (state->status != LANE_RETRYING && state->status != LANE_PARKING)
		return false;
	if (state->log == NULL)
	{
		Timer	   *timer = timer_get(batch->pm, state->position);

		/* It may have failed at a time that is still to come. */
		return timer == NULL || timer->due > batch->now;
	}
	for (int i = 0; i < batch->nlogs; i++)
		if (strcmp(batch->logs[i].log->name, state->log) == 0)
			return batch->logs[i].cursor->position >= state->position;
	return true;
}

/*
 * A batch of events and timers.  Stops early, between two of them, when it has
 * lasted long enough.
 */
static void
dispatch_logs(Batch *batch, List *cursors, DispatchResult *result)
{
	Session		session;
	BatchItem  *item;
	bool		more;

	result->outcome = DISPATCH_BUSY;
	if (!batch_mark(batch, cursors, result))
		return;
	batch_read(batch);
	batch->timers_unread = batch->pm->kind == HANDLER_INSTANCE && batch->state.timer_due <= batch->now;
	if (batch->count > 0 || batch->timers_unread)
	{
		session_begin(&session, batch);
		dispatch_foretell(batch, &session);
		if (session.handler.kind == HANDLER_BATCH && batch->state.status != LANE_PARKING)
			dispatch_array(batch, &session);
		else
			while (!batch->halted && (item = batch_next(batch)) != NULL)
			{
				bool		alone = dispatch_has_failed(batch, item);

				CHECK_FOR_INTERRUPTS();
				batch->again |= alone;
				if (alone && batch->done > 0)
				{
					batch_put_back(batch, item);
					break;
				}
				dispatch_item(batch, &session, item);
				if (alone || GetCurrentTimestamp() >= session.deadline)
					break;
			}
		batch->again |= batch->has_timers && (batch->timers_unread || batch->timers_more ||
											  batch->next_timer < list_length(batch->timers));
		session_end(&session, batch);
	}

	more = batch_advance(batch) || batch->again;
	if (dispatch_cures(batch))
		lane_clear(batch->pm->name, batch->lane);
	result->outcome = batch->halted ? DISPATCH_STOPPED :
		more ? DISPATCH_MORE : batch->done > 0 ? DISPATCH_DONE : DISPATCH_IDLE;
}

/* ---------- parked events ---------- */

/*
 * A batch of one parked key, whose head is due.  What has failed before runs
 * alone; when it succeeds the next of the queue follow.
 */
static void
dispatch_parked(Batch *batch, Parked *head, DispatchResult *result)
{
	Session		session;
	List	   *queue = park_read(batch->pm, batch->lane, head->key, head->attempts > 0 ? 1 : batch->request->max_parked);
	ListCell   *lc;

	if (((Parked *) linitial(queue))->id != head->id)
		elog(ERROR, "parked event %lld is not the first of its key", (long long) head->id);
	result->parked = true;
	session_begin(&session, batch);
	foreach(lc, queue)
	{
		Parked	   *parked = lfirst(lc);
		BatchItem	item;

		if (parked->attempts > 0 && batch->done > 0)
			break;

		CHECK_FOR_INTERRUPTS();
		DispatchCurrent.count = batch->done + 1;
		memset(&item, 0, sizeof(item));
		item.source = HANDLING_PARKED;
		item.id = parked->id;
		item.position = parked->position;
		item.log_name = parked->log;
		item.event = parked->event;
		item.key = key_get_text(&batch->keys, parked->key);
		/* A timer may have been cancelled by what ran before it. */
		if (park_take(parked->id))
		{
			if (parked->log == NULL)
				instance_load(batch->pm, item.key);
			if (parked->log != NULL || item.key->live)
			{
				dispatch_call(batch, &session, &item);
				if (parked->log != NULL)
					cursor_count(batch->pm, batch->lane, parked->log);
				batch->handled++;
			}
		}
		batch->done++;
		if (GetCurrentTimestamp() >= session.deadline)
			break;
	}
	session_end(&session, batch);
	park_promote(batch->pm, batch->lane, head->key);
	result->outcome = DISPATCH_MORE;
}

/* ---------- a batch ---------- */

/*
 * May something run that was there when the server crashed?  One at a
 * time in the whole cluster, so that the next crash tells who it was.
 */
static bool
dispatch_may_suspect(DispatchRequest *request)
{
	LOCKTAG		tag;

	/* A caller of pm.catch_up would keep the lock until his transaction ends. */
	if (request->wait)
		return true;
	SET_LOCKTAG_OBJECT(tag, InvalidOid, ExtensionRelationId, InvalidOid, 0);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/*
 * May the unit run now?
 */
static bool
dispatch_may_run(DispatchRequest *request, LaneState *state, DispatchResult *result)
{
	ProcessManager *pm = request->pm;

	if (pm->paused || !pm->at_home || state->status == LANE_HALTED)
		return false;
	if (state->status == LANE_RETRYING && !lane_is_due(state->retry_at, within_time()))
	{
		result->due = state->retry_at;
		return false;
	}
	if (state->status == LANE_RETRYING && state->crashes > 0 && !dispatch_may_suspect(request))
	{
		result->due = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), DISPATCH_SUSPECT_NAP);
		return false;
	}
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
	List	   *cursors;
	Parked	   *head = NULL;

	Assert(!IsolationUsesXactSnapshot());
	Assert(!within_handler());
	memset(&batch, 0, sizeof(batch));
	memset(&result, 0, sizeof(result));
	memset(&DispatchCurrent, 0, sizeof(DispatchCurrent));
	batch.request = request;
	batch.pm = request->pm;
	batch.lane = request->lane;
	batch.now = within_time();
	result.due = DT_NOEND;
	slot_activity(ACTIVITY_READING);

	result.outcome = DISPATCH_BUSY;
	if (!registry_lock(request->pm->id, request->lane, !request->wait))
		return result;
	result.outcome = DISPATCH_STALE;
	if (registry_version() != request->pm->version)
		return result;

	cursors = cursor_read(batch.pm, request->lane, &batch.state);
	result.outcome = DISPATCH_STOPPED;
	if (!dispatch_may_run(request, &batch.state, &result))
		return result;

	key_begin(&batch.keys);
	batch.limit = (int) Min(request->max_events, request->pm->batch_size);
	/* Where it is not known which of several has failed, or the handler takes several, one at a time. */
	if (batch.state.status == LANE_RETRYING && (batch.state.attempts == 0 || batch.pm->kind == HANDLER_BATCH))
		batch.limit = 1;
	/* Until the verdict is carried out, nothing else counts. */
	batch.due = batch.state.status == LANE_PARKING ? DT_NOEND : batch.state.parked_due;
	if (batch.pm->kind == HANDLER_INSTANCE && batch.state.status != LANE_PARKING)
		batch.due = Min(batch.due, batch.state.timer_due);

	if (!request->leave_parked && batch.state.status != LANE_PARKING && request->max_parked > 0)
		head = park_due(batch.pm, batch.lane, batch.now, true);
	if (head != NULL && head->crashes > 0 && !dispatch_may_suspect(request))
	{
		head = park_due(batch.pm, batch.lane, batch.now, false);
		batch.due = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), DISPATCH_SUSPECT_NAP);
	}
	if (head != NULL)
		dispatch_parked(&batch, head, &result);
	else
		dispatch_logs(&batch, cursors, &result);

	if (batch.handled > 0 && batch.state.in_a_row > 0 && !batch.halted)
		lane_handled(batch.pm->name, batch.lane);
	result.done = batch.done;
	result.handled = batch.handled;
	result.due = batch.halted ? DT_NOEND : batch.due;
	if ((result.outcome == DISPATCH_IDLE || result.outcome == DISPATCH_DONE) &&
		request->leave_parked && lane_is_due(batch.state.parked_due, batch.now))
		result.outcome = DISPATCH_MORE;
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
	crash_unmark();
	/* No handler runs any more: who dies from here on dies of something else. */
	slot_activity(ACTIVITY_READING);
}
