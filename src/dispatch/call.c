/*
 * call.c
 *		Calls user's code for the items of a batch.
 *
 * While user's code runs, three places say for which item.  The batch's Progress
 * is read by the code that catches an error, this worker's slot after the
 * session has ended, and the crash mark after the server has crashed.  Between
 * two calls the slot is empty, and an error was caused by no item, or by
 * something that an earlier item has left behind.
 */
#include "pm.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/effect.h"
#include "base/event.h"
#include "base/guc.h"
#include "base/within.h"
#include "dispatch/call.h"
#include "dispatch/call_record.h"
#include "dispatch/call_report.h"
#include "log/appends.h"
#include "manager/association.h"
#include "manager/done.h"
#include "manager/failure.h"
#include "manager/handler_watch.h"
#include "manager/instance.h"
#include "manager/instance_save.h"
#include "manager/pending.h"
#include "manager/reply.h"
#include "manager/timer.h"
#include "shmem/crash.h"
#include "shmem/slot.h"
#include "shmem/slot_activity.h"

/* ---------- which item user's code runs for ---------- */

static void
call_publish(const Calls *calls, const Handling *handling)
{
	slot_activity_handling(handling, calls->task->pm->name);
	crash_mark(handling);
}

/*
 * Called before user's code runs for an item, the nth of the batch.
 */
void
call_start(Calls *calls, const BatchItem *item, int nth, bool correlating, bool several)
{
	Progress *progress = calls->progress;
	Handling *handling = &progress->handling;

	progress->stage = PROGRESS_HANDLE;
	progress->count = nth;
	calls->context.item = item;
	handling->manager = calls->task->pm->id;
	handling->lane = calls->task->lane;
	handling->lanes = calls->task->pm->lanes;
	handling->several = several;
	handling->correlating = correlating;
	failure_begin();
	batch_item_name(item, handling);
	progress->set_here = item->set_by != NULL;
	if (progress->set_here)
	{
		/* After a rollback this timer does not exist, only the item that has set it. */
		progress->set_by = *handling;
		batch_item_name(item->set_by, &progress->set_by);
		progress->set_by.several = true;
	}
	call_publish(calls, progress_lasting(progress));
}

/*
 * Called after user's code has returned.  It may have left settings, or deferred
 * triggers, that make a statement of the extension fail.  Then one of the items
 * so far is the cause, but it is not known which.  If the session ends from here
 * on, no item is the cause.  The crash mark stays, because the extension still
 * works on the item.
 */
void
call_stop(Calls *calls)
{
	/* If the call has asked for the end of its session, the call is the cause. */
	CHECK_FOR_INTERRUPTS();
	calls->progress->stage = PROGRESS_COMMIT;
	calls->context.item = NULL;
	/* Events that arrays and deferred triggers append have no single cause. */
	within_event(NULL, 0, (Datum) 0, NULL);
	calls->progress->handling.correlating = false;
	slot_activity_handled();
}

/* ---------- the beginning and the end of a batch ---------- */

void
call_begin(Calls *calls, const BatchTask *task, bool shared, Keys *keys, Progress *progress)
{
	calls->task = task;
	calls->keys = keys;
	calls->progress = progress;
	progress->suspected = task->state->status == LANE_RETRYING;
	call_context_begin(&calls->context, task->pm->name, progress);
	calls->caller = CurrentMemoryContext;
	calls->per_event = AllocSetContextCreate(CurrentMemoryContext, "pm event",
											 ALLOCSET_DEFAULT_SIZES);
	calls->deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), guc_batch_duration);
	/*
	 * Events that are appended from here on must not be recorded before those that have
	 * been read.
	 */
	if (GetCurrentTransactionNestLevel() == 1)
		SetCurrentStatementStartTimestamp();
	handler_open(&calls->handler, task->pm, shared);
	association_enter(task->pm, calls->handler.foretells);
	journal_begin(&calls->journal, task->pm);
	/*
	 * Settings that the handlers change are restored at the end, so that they cannot
	 * disturb the next unit.
	 */
	calls->guc_level = NewGUCNestLevel();
	PushActiveSnapshot(GetTransactionSnapshot());
	/* No item is being handled yet, and in particular not the last one of the batch before. */
	slot_activity_handling(&progress->handling, task->pm->name);
	slot_activity_set(ACTIVITY_HANDLING);
	within_enter(task->pm->name, task->lane, task->pm->carry);
	appends_begin();
	if (task->pm->kind == HANDLER_INSTANCE)
		within_ask(task->pm->id, reply_logs());
	pending_begin(task->pm, keys);
	timer_begin();
	handler_watch_begin(calls->handler.timeout);
}

/*
 * Drops temporary tables with the batch, before other sessions can see them.
 * Later, other sessions of the role could lock them.  This session, which drops
 * them when it ends, would then wait for the lock where nothing can interrupt
 * it.
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

/*
 * Runs now what the calls have left for the commit, because now a timeout can
 * stop it and an error can be attributed to an item.  In a subtransaction, it
 * is left for the commit of the caller's transaction.
 */
static void
call_fire_deferred(Calls *calls, const Handling *last)
{
	if (GetCurrentTransactionNestLevel() > 1)
		return;
	call_publish(calls, last);
	failure_begin();
	handler_fire_deferred(&calls->handler.times);
	/*
	 * A cursor WITH HOLD would run its query at the commit, and no one could use the
	 * cursor later.
	 */
	PortalHashTableDeleteAll();
	if (slot_am_worker())
		call_drop_temporary();
	call_stop(calls);
}

TimestampTz
call_end(Calls *calls, int handled)
{
	const BatchTask *task = calls->task;
	bool called = calls->progress->stage == PROGRESS_COMMIT;
	Handling last;
	TimestampTz earliest;

	if (called)
	{
		/* A crash from here on is caused by the only item, or by one of several. */
		last = *progress_lasting(calls->progress);
		last.manager = task->pm->id;
		/* A single event may have been handled for several keys. */
		last.several |= handled > 1 && calls->progress->count > 1;
		crash_mark(&last);
	}
	instance_save(task->pm, calls->keys);
	journal_save(&calls->journal);
	crash_unmark();
	if (called)
		call_fire_deferred(calls, &last);
	call_report_count(task, &calls->handler.times, handled);
	if (!timer_was_set(&earliest))
		earliest = DT_NOEND;
	handler_watch_end();
	pending_end();
	appends_save(task->pm->name, task->pm->id, task->pm->version);
	within_leave();
	crash_unmark();
	PopActiveSnapshot();
	AtEOXact_GUC(false, calls->guc_level);
	MemoryContextDelete(calls->per_event);
	call_context_end(&calls->context);
	return earliest;
}

/*
 * What the calls have left for the commit (callbacks of a library) may crash the
 * server.  Then one of the items is the cause, but it is not known which before
 * each has been tried alone.  The same is true for the rollback.
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
 * The item stays in the crash mark: what undoes its call may crash the server, too.
 */
void
call_interrupted(Calls *calls)
{
	handler_watch_interrupted();
	effect_end();
	within_event(NULL, 0, (Datum) 0, NULL);
}

/*
 * The timers that the call has set are gone with it.  The error has been caught, so it
 * cannot be that of the batch.
 */
void
call_resume(Calls *calls)
{
	calls->context.item = NULL;
	calls->progress->stage = PROGRESS_COMMIT;
	calls->progress->handling.correlating = false;
	slot_activity_handled();
	crash_unmark();
	timer_begin();
	MemoryContextReset(calls->per_event);
}

void
call_abandon(const Progress *progress)
{
	handler_watch_end();
	effect_end();
	pending_end();
	within_leave();
	call_before_end(progress);
	/* No handler runs any more, so if the session ends from here on, no item is the cause. */
	slot_activity_set(ACTIVITY_READING);
}

/* ---------- the handler ---------- */

/*
 * No value can contain such an event, so no function can be called with it.
 */
static void
call_require_size(const BatchItem *item)
{
	if (item->too_large > 0)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the event at position %lld of log \"%s\" is too large for a "
						"function: %lld bytes",
						(long long) item->position, item->log_name, (long long) item->too_large),
				 errhint("Do the handler's work in another way, then call pm.discard.")));
}

/*
 * Makes the effects of the call visible to the next one.
 */
static void
call_step(void)
{
	CommandCounterIncrement();
	UpdateActiveSnapshotCommandId();
}

/*
 * Calls the handler of an instance.  Returns whether the instance has ended.
 */
static bool
call_instance(Calls *calls, BatchItem *item, CallRecord *record)
{
	Key *key = item->key;
	Datum returned;
	bool isnull;

	done_begin();
	association_begin();
	call_record_begin(&calls->journal, item, record);
	returned = handler_call_instance(&calls->handler, item->event, key->state, !key->live, &isnull);
	record->ended = instance_returned(calls->keys, key, calls->task->pm, returned, isnull,
									  &record->result);
	call_record_returned(&calls->journal, record);
	return record->ended;
}

/*
 * Finds out which timers the call has set.  There must be an instance for them
 * now.
 */
static CallTimers
call_timers(Calls *calls, const BatchItem *item)
{
	ProcessManager *pm = calls->task->pm;
	CallTimers timers = {DT_NOEND, 0, NULL};
	int64 *due;

	if (!timer_was_set(&timers.earliest))
	{
		timers.earliest = DT_NOEND;
		return timers;
	}
	/* It may have been set in a subtransaction that was undone, so check the table. */
	if (!item->key->live && timer_exists(pm, item->key->name))
	{
		calls->progress->stage = PROGRESS_HANDLE;
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("handler %s set a timer where there is no instance", pm->handler),
				 errhint("Return a state: it begins the instance to which the timer belongs.")));
	}
	timers.ndue = timer_set_due(&due);
	timers.due = due;
	timer_begin();
	return timers;
}

/*
 * An association must have an instance that is found by it.
 */
static void
call_check_associations(Calls *calls, const BatchItem *item)
{
	ProcessManager *pm = calls->task->pm;

	/* It may have been made in a subtransaction that was undone, so check the table. */
	if (!association_was_made() || item->key->live || !association_exists(pm, item->key->name))
		return;
	calls->progress->stage = PROGRESS_HANDLE;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("handler %s called pm.associate where there is no instance", pm->handler),
			 errhint("Return a state: it begins the instance that is to be found.")));
}

/*
 * Called when an instance has ended: deletes its timers, including those that
 * this call has set, and its associations.
 */
static void
call_end_instance(Calls *calls, const BatchItem *item)
{
	timer_end(calls->task->pm, calls->task->lane, item->key->name);
	association_end(calls->task->pm, calls->task->lane, item->key->name);
	timer_begin();
	call_step();
}

CallTimers
call_handler(Calls *calls, BatchItem *item, int nth)
{
	Handler *handler = &calls->handler;
	bool keeps = handler->kind == HANDLER_INSTANCE;
	CallTimers timers = {DT_NOEND, 0, NULL};
	MemoryContext caller;
	CallRecord record;
	bool ended = false;

	if (keeps)
		instance_load(calls->task->pm, item->key);
	caller = MemoryContextSwitchTo(calls->per_event);
	call_start(calls, item, nth, false, false);
	call_require_size(item);
	within_event(item->log_name, item->position, item->event, keeps ? item->key->name : NULL);
	within_call(item->key != NULL ? item->key->name : NULL);
	if (call_report_is_due(&calls->handler.times))
		call_report_activity(calls->task, &calls->handler.times, item);
	if (keeps)
		ended = call_instance(calls, item, &record);
	else if (handler->kind == HANDLER_BATCH)
		handler_call(handler, handler_event_array(handler, &item->event, 1));
	else
		handler_call(handler, item->event);
	MemoryContextSwitchTo(caller);
	if (call_report_is_slow(&calls->handler.times))
		call_report_slow(calls->task, &calls->handler.times, item, 1);
	call_step();
	call_stop(calls);

	if (ended)
		call_end_instance(calls, item);
	else
		timers = call_timers(calls, item);
	if (keeps)
	{
		call_check_associations(calls, item);
		/* Only now is it certain that the call has succeeded. */
		call_record_end(&calls->journal, item, &record);
		pending_handled(item->key);
	}
	MemoryContextReset(calls->per_event);
	return timers;
}

void
call_array(Calls *calls, BatchItem **items, int count, int nth)
{
	Datum *events = palloc(sizeof(Datum) * count);

	for (int i = 0; i < count; i++)
		events[i] = items[i]->event;
	/* An error does not say which of the events it is about. */
	call_start(calls, items[count - 1], nth, false, count > 1);
	for (int i = 0; i < count; i++)
		call_require_size(items[i]);
	call_report_activity(calls->task, &calls->handler.times, items[0]);
	MemoryContextSwitchTo(calls->per_event);
	handler_call(&calls->handler, handler_event_array(&calls->handler, events, count));
	MemoryContextSwitchTo(calls->caller);
	if (call_report_is_slow(&calls->handler.times))
		call_report_slow(calls->task, &calls->handler.times, items[count - 1], count);
	call_step();
	MemoryContextReset(calls->per_event);
	call_stop(calls);
	crash_unmark();
}
