/*
 * call.c
 *		Calling the handler for the items of a batch, and who is to blame for
 *		what comes of it.
 *
 * While user's code runs, the batch's Progress, this worker's slot and the crash
 * mark say for which item: for whoever catches the error, or finds the session or
 * the server gone.  Between two calls they say nothing: what goes wrong
 * there is nobody's fault, or that of some item before.
 */
#include "pm.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

#include "base/event.h"
#include "base/guc.h"
#include "base/within.h"
#include "dispatch/call.h"
#include "manager/done.h"
#include "manager/handler_watch.h"
#include "manager/instance.h"
#include "manager/instance_save.h"
#include "manager/pending.h"
#include "manager/timer.h"
#include "shmem/crash.h"
#include "shmem/slot.h"
#include "shmem/slot_activity.h"

#define CALL_SHOWN 200 /* bytes of a type, stream or key in the context of an error */

/* ---------- what an error says of the event ---------- */

/*
 * A text on one line, as much as is shown of it.
 */
static char *
call_shown_text(const char *text, int length)
{
	int shown = pg_mbcliplen(text, length, CALL_SHOWN);
	char *line = psprintf("%.*s%s", shown, text, shown < length ? "..." : "");

	for (char *c = line; *c != '\0'; c++)
		if ((unsigned char) *c < ' ')
			*c = ' ';
	return line;
}

/*
 * A text of the event.  Looks nothing up, and unpacks nothing: something has
 * failed already.
 */
static char *
call_shown(const EventFields *fields, int attribute)
{
	struct varlena *value = (struct varlena *) DatumGetPointer(fields->values[attribute - 1]);

	if (fields->nulls[attribute - 1] || VARATT_IS_EXTERNAL(value) || VARATT_IS_COMPRESSED(value))
		return pstrdup("...");
	return call_shown_text(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

/*
 * The key as far as it is known and is not the stream.
 */
static char *
call_shown_key(const BatchItem *item, const char *stream)
{
	char *key;

	if (item->key == NULL)
		return NULL;
	key = call_shown_text(item->key->name, strlen(item->key->name));
	return strcmp(key, stream) == 0 ? NULL : key;
}

/*
 * The line of an error's context that says what was being handled.
 */
static void
call_context(void *arg)
{
	Calls *calls = arg;
	const char *manager = calls->manager;
	const Handling *what = &calls->progress->handling;
	HeapTupleData tuple;
	EventFields fields;
	char *type;
	char *stream;
	char *key;

	if (calls->progress->stage == PROGRESS_PREPARE)
		return;
	if (what->several)
		errcontext("process manager \"%s\", several events up to position %lld of log \"%s\"",
				   manager, (long long) what->position, what->log);
	else if (calls->item == NULL && what->log[0] != '\0')
		errcontext("process manager \"%s\", position %lld of log \"%s\"", manager,
				   (long long) what->position, what->log);
	else if (calls->item == NULL)
		errcontext("process manager \"%s\", at a timer", manager);
	if (calls->item == NULL || what->several)
		return;

	tuple.t_data = DatumGetHeapTupleHeader(calls->item->event);
	tuple.t_len = HeapTupleHeaderGetDatumLength(tuple.t_data);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	heap_deform_tuple(&tuple, calls->event_desc, fields.values, fields.nulls);
	type = call_shown(&fields, EVENT_TYPE);
	stream = call_shown(&fields, EVENT_STREAM);
	key = call_shown_key(calls->item, stream);
	if (what->log[0] == '\0')
		errcontext("process manager \"%s\", at a timer of type \"%s\", key \"%s\"", manager, type,
				   stream);
	else if (key == NULL)
		errcontext(
			"process manager \"%s\", position %lld of log \"%s\", type \"%s\", stream \"%s\"",
			manager, (long long) what->position, what->log, type, stream);
	else
		errcontext("process manager \"%s\", position %lld of log \"%s\", type \"%s\", "
				   "stream \"%s\", key \"%s\"",
				   manager, (long long) what->position, what->log, type, stream, key);
}

/* ---------- calling ---------- */

/*
 * What outlives this session is to know what it had in hand.
 */
static void
call_publish(Batch *batch, const Handling *handling)
{
	slot_activity_handling(handling, batch->pm->name);
	crash_mark(handling);
}

/*
 * User's code has run.  It may have left settings, or triggers for the commit,
 * at which something of ours fails: that is some item's fault, not known whose.
 * If the session dies of something else from here on, it is nobody's.  The
 * crash mark stays for what is done with the item now.
 */
static void
call_over(Calls *calls)
{
	/* If the call has asked for the end of its session, it is to blame for it. */
	CHECK_FOR_INTERRUPTS();
	calls->progress->stage = PROGRESS_COMMIT;
	calls->item = NULL;
	/* What arrays and deferred triggers do is no single event's doing. */
	within_event(NULL, 0, (Datum) 0, NULL);
	calls->progress->handling.correlating = false;
	slot_activity_handled();
}

/*
 * What the handlers set is undone at the end, so that they cannot disturb
 * whoever comes next.
 */
void
call_begin(Calls *calls, Batch *batch, Progress *progress)
{
	bool lanes = false;

	progress->suspected = batch->state.status == LANE_RETRYING;
	calls->progress = progress;
	calls->item = NULL;
	calls->context.callback = call_context;
	calls->context.arg = calls;
	calls->manager = batch->pm->name;
	calls->context.previous = error_context_stack;
	error_context_stack = &calls->context;
	calls->caller = CurrentMemoryContext;
	calls->per_event = AllocSetContextCreate(CurrentMemoryContext, "pm event",
											 ALLOCSET_DEFAULT_SIZES);
	calls->deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), guc_batch_duration);
	/* What is appended from here on was not recorded before the events that have been read. */
	if (GetCurrentTransactionNestLevel() == 1)
		SetCurrentStatementStartTimestamp();
	for (int i = 0; i < batch->nlogs; i++)
		lanes |= batch->logs[i].others;
	handler_open(&calls->handler, batch->pm, lanes);
	calls->event_desc = lookup_rowtype_tupdesc(calls->handler.event_type, -1);
	batch->has_timers = calls->handler.kind == HANDLER_INSTANCE;
	calls->guc_level = NewGUCNestLevel();
	PushActiveSnapshot(GetTransactionSnapshot());
	/* Nothing in hand yet, in particular not what the last batch had. */
	slot_activity_handling(&progress->handling, batch->pm->name);
	slot_activity_set(ACTIVITY_HANDLING);
	within_enter(batch->pm->name, batch->lane);
	pending_begin(batch->pm, &batch->keys);
	timer_begin();
	handler_watch_begin(calls->handler.timeout);
}

/*
 * Temporary tables go with the batch, before anybody else can see them.  Others
 * of the role could lock them later, and this session, which drops them when it
 * ends, would wait for that where nothing can interrupt it.
 */
static void
call_drop_temporary(void)
{
	Oid temp;
	Oid temp_toast;

	GetTempNamespaceState(&temp, &temp_toast);
	if (OidIsValid(temp))
		ResetTempTableNamespace();
}

void
call_end(Calls *calls, Batch *batch)
{
	bool called = calls->progress->stage == PROGRESS_COMMIT;
	Handling last;
	TimestampTz earliest;

	if (called)
	{
		last = *progress_lasting(calls->progress);
		last.manager = batch->pm->id;
		last.several |= batch->handled > 1;
		crash_mark(&last);
	}
	instance_save(batch->pm, &batch->keys);
	crash_unmark();
	/* In a subtransaction they wait for the commit of the caller's transaction. */
	if (GetCurrentTransactionNestLevel() == 1 && called)
	{
		call_publish(batch, &last);
		handler_fire_deferred();
		/* A cursor WITH HOLD would run its query at the commit, where nothing watches it, and
		 * nobody is to find it. */
		PortalHashTableDeleteAll();
		if (slot_am_worker())
			call_drop_temporary();
		call_over(calls);
	}
	if (timer_was_set(&earliest))
		batch->due = Min(batch->due, earliest);
	handler_watch_end();
	pending_end();
	within_leave();
	crash_unmark();
	PopActiveSnapshot();
	AtEOXact_GUC(false, calls->guc_level);
	MemoryContextDelete(calls->per_event);
	error_context_stack = calls->context.previous;
	ReleaseTupleDesc(calls->event_desc);
}

/*
 * What the next event does is seen by what comes after it.
 */
static void
call_step(Calls *calls)
{
	CommandCounterIncrement();
	UpdateActiveSnapshotCommandId();
	MemoryContextReset(calls->per_event);
}

/*
 * From here on, this item is to blame.
 */
static void
call_at(Batch *batch, Calls *calls, BatchItem *item, bool correlating, bool several)
{
	Progress *progress = calls->progress;
	Handling *handling = &progress->handling;

	progress->stage = PROGRESS_HANDLE;
	progress->index = batch->done;
	progress->count = batch->done + 1;
	calls->item = item;
	handling->manager = batch->pm->id;
	handling->lane = batch->lane;
	handling->lanes = batch->pm->lanes;
	handling->several = several;
	handling->correlating = correlating;
	batch_name(item, handling);
	progress->set_here = item->set_by != NULL;
	if (progress->set_here)
	{
		/* After a rollback this timer is not there, only what has set it. */
		progress->set_by = *handling;
		batch_name(item->set_by, &progress->set_by);
		progress->set_by.several = true;
	}
	call_publish(batch, progress_lasting(progress));
}

/*
 * No value can hold it, so no function can be called with it.
 */
static void
call_require_size(BatchItem *item)
{
	if (item->too_large > 0)
		ereport(
			ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg(
				 "the event at position %lld of log \"%s\" is too large for a function: %lld bytes",
				 (long long) item->position, item->log_name, (long long) item->too_large),
			 errhint("Do by hand what is to be done, then use pm.discard.")));
}

/*
 * Finds out an item's key.  False if the event is not for this process
 * manager.
 */
bool
call_correlate(Batch *batch, Calls *calls, BatchItem *item)
{
	MemoryContext caller;
	Datum name;
	bool isnull;

	if (item->key != NULL)
		return true;
	if (item->passed)
		return false;
	/* Nobody can be asked about an event that is too large: it goes by its stream. */
	if (calls->handler.correlates && item->too_large == 0)
	{
		call_at(batch, calls, item, true, false);
		within_event(item->log_name, item->position, item->event, NULL);
		caller = MemoryContextSwitchTo(calls->per_event);
		name = handler_call_correlate(&calls->handler, item->event, &isnull);
		MemoryContextSwitchTo(caller);
		call_over(calls);
		item->passed = isnull;
	}
	else
	{
		EventFields fields;

		batch_mark(batch, item);
		event_deform(item->event, &fields);
		isnull = fields.nulls[EVENT_STREAM - 1];
		name = isnull ? CStringGetTextDatum("") : fields.values[EVENT_STREAM - 1];
	}
	batch_mark(batch, item);
	if (!item->passed && !batch_is_ours(batch, item, name))
		item->passed = true;
	if (!item->passed)
		item->key = key_get(&batch->keys, name);
	crash_unmark();
	MemoryContextReset(calls->per_event);
	return !item->passed;
}

/*
 * Calls the handler for an item, whose key is known if it keeps instances.
 */
void
call_handler(Batch *batch, Calls *calls, BatchItem *item)
{
	Handler *handler = &calls->handler;
	MemoryContext caller;
	TimestampTz earliest;
	int64 *ids;
	int count;
	bool ended = false;

	if (handler->kind == HANDLER_INSTANCE)
		instance_load(batch->pm, item->key);
	caller = MemoryContextSwitchTo(calls->per_event);
	call_at(batch, calls, item, false, false);
	call_require_size(item);
	within_event(item->log_name, item->position, item->event,
				 handler->kind == HANDLER_INSTANCE ? item->key->name : NULL);
	if (handler->kind == HANDLER_INSTANCE)
	{
		bool isnull;
		Datum result;

		done_begin();
		result = handler_call_instance(handler, item->event, item->key->state, !item->key->live,
									   &isnull);
		ended = instance_returned(&batch->keys, item->key, batch->pm, result, isnull);
	}
	else if (handler->kind == HANDLER_BATCH)
		handler_call(handler, handler_event_array(handler, &item->event, 1));
	else
		handler_call(handler, item->event);
	MemoryContextSwitchTo(caller);
	call_step(calls);
	call_over(calls);

	if (timer_was_set(&earliest) && !ended)
	{
		if (!item->key->live && timer_exists(batch->pm, item->key->name))
		{
			calls->progress->stage = PROGRESS_HANDLE;
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("handler %s set a timer where there is no instance",
							batch->pm->handler),
					 errhint("Return a state, which makes the instance that the timer is for.")));
		}
		batch->due = Min(batch->due, earliest);
		/* A batch of parked ones leaves timers to the next. */
		count = item->source == HANDLING_PARKED ? 0 : timer_set_due(&ids);
		for (int i = 0; i < count; i++)
			batch_timer_set(batch, ids[i], item);
		timer_begin();
	}
	if (ended)
	{
		timer_end(batch->pm, batch->lane, item->key->name);
		timer_begin();
		CommandCounterIncrement();
		UpdateActiveSnapshotCommandId();
	}
	if (handler->kind == HANDLER_INSTANCE)
		pending_handled(item->key);
	crash_unmark();
}

/*
 * Calls the handler once for several items, which the batch has got past
 * already.
 */
void
call_array(Batch *batch, Calls *calls, BatchItem **items, int count)
{
	Datum *events = palloc(sizeof(Datum) * count);

	for (int i = 0; i < count; i++)
		events[i] = items[i]->event;
	/* Which event it is about, is not known before the last is done. */
	call_at(batch, calls, items[count - 1], false, count > 1);
	calls->progress->count = batch->done;
	for (int i = 0; i < count; i++)
		call_require_size(items[i]);
	MemoryContextSwitchTo(calls->per_event);
	handler_call(&calls->handler, handler_event_array(&calls->handler, events, count));
	MemoryContextSwitchTo(calls->caller);
	call_step(calls);
	call_over(calls);
	crash_unmark();
}

/*
 * To be called right before the batch is committed, and by call_abandon() before
 * it is undone; crash_unmark() after.  What the calls have left for that (a
 * library's callbacks) may crash the server: that is some item's fault, not known
 * whose, before each is tried alone.
 */
void
call_before_end(const Progress *progress)
{
	Handling last;

	if (progress->stage == PROGRESS_PREPARE)
	{
		crash_unmark();
		return;
	}
	last = *progress_lasting(progress);
	last.several |= !progress->suspected || progress->count > 1;
	crash_mark(&last);
}

/*
 * To be called first when an error has left the batch.  The crash mark stays
 * until it is undone.
 */
void
call_abandon(const Progress *progress)
{
	handler_watch_end();
	pending_end();
	within_leave();
	call_before_end(progress);
	/* No handler runs any more: who dies from here on dies of something else. */
	slot_activity_set(ACTIVITY_READING);
}
