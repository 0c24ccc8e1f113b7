/*
 * dispatcher.c
 *		One a database and owner role, or several where there are lanes: runs that
 *		role's units.
 *
 * Connects as the owner, so that there is nothing to escape from for a
 * handler.  The loop: wait on the latch, see which logs have moved, run a
 * batch of each unit that follows one of them, until nothing is left.
 *
 * Wake-up: this worker's bit is set in each followed log's slot before the log
 * is looked at, and a writer looks for bits after it has ended, so that either
 * we see its event or it sees us (slot_log_interest is a full barrier).  What
 * no wake-up announces (COMMIT PREPARED, the end of a transaction that holds
 * a mark back and wrote nothing) is found by polling: soon while a mark is
 * held back, else every pm.poll_interval.
 *
 * Idle, it holds no snapshot and no transaction, and writes nothing.
 */
#include "pm.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/async.h"
#include "commands/prepare.h"
#include "commands/sequence.h"
#include "common/pg_prng.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/guc.h"
#include "base/report.h"
#include "dispatch/call.h"
#include "dispatch/dispatch.h"
#include "dispatch/reading.h"
#include "manager/handler_watch.h"
#include "shmem/crash.h"
#include "worker/failed.h"
#include "worker/launcher.h"
#include "worker/unit.h"
#include "worker/worker.h"

#define DISPATCHER_SHARE 500 /* run at least so long before making room, ms */

/* When to let some more events come together: after so many rounds without sleep, of so few events
 * a batch, for so long, ms. */
#define DISPATCHER_PACE_AFTER  8
#define DISPATCHER_PACE_EVENTS 32
#define DISPATCHER_PACE		   1

/* After so many events the session is cleaned, however busy it is. */
#define DISPATCHER_CLEAN_AFTER 1000

#define DISPATCHER_KEEPS	   (16 * 1024 * 1024) /* memory kept from batch to batch, at most, bytes */

static MemoryContext run_context; /* outlives an aborted batch, not the next */
static int last_manager = 0;
static int64 uncleaned = 0; /* items that user's code has run for, since the session was cleaned */
static TimestampTz began;
static int turn_manager = 0; /* the unit that had its turn last, 0: none yet */
static int turn_lane = 0;
static int round_batches; /* of the present round */
static int64 round_events;

/*
 * What a process manager may have left in the session is not for the next, nor
 * what a failed attempt has left for the next one.  And it does not pile up,
 * nor stay while there is nothing to do: the session may last for months.
 */
static void
dispatcher_clean(void)
{
	Oid temp;
	Oid temp_toast;

	if (uncleaned == 0)
		return;
	uncleaned = 0;
	worker_transaction();
	PortalHashTableDeleteAll();
	DropAllPreparedStatements();
	Async_UnlistenAll();
	LockReleaseAll(USER_LOCKMETHOD, true);
	ResetSequenceCaches();
	GetTempNamespaceState(&temp, &temp_toast);
	if (OidIsValid(temp))
	{
		/* It deletes rows of the catalog, which may be toasted. */
		PushActiveSnapshot(GetTransactionSnapshot());
		ResetTempTableNamespace();
		PopActiveSnapshot();
	}
	CommitTransactionCommand();
}

/*
 * Runs a batch in a transaction of its own.  Returns the error that aborted
 * it, or NULL.  The caller has set *progress to zeros.
 */
static ErrorData *
dispatcher_try_batch(DispatchRequest *request, Progress *progress, DispatchResult *result)
{
	MemoryContext caller = CurrentMemoryContext;
	ErrorData *volatile error = NULL;

	PG_TRY();
	{
		worker_transaction();
		*result = dispatch_batch(request, progress);
		MemoryContextSwitchTo(caller);
		result->rest = bms_copy(result->rest);
		/* It is about to give way: the commit is not to be cancelled, nor what follows. */
		if (slot_gives_way())
			QueryCancelPending = false;
		call_before_end(progress);
		CommitTransactionCommand();
		crash_unmark();
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		call_abandon(progress);
		AbortCurrentTransaction();
		crash_unmark();
		QueryCancelPending = false;
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	return error;
}

/*
 * Runs one batch of a unit and notes when to look at it again.
 */
static void
dispatcher_run(Unit *unit)
{
	DispatchRequest request =
		{unit->pm, unit->lane, 0,	  0,   unit->leave_parked, HIGHWATER_EVERYBODY, false, false,
		 0,		   false,	   false, NULL};
	Progress progress = {0};
	DispatchResult result;
	ErrorData *error;

	unit->not_before = 0;
	unit->due = DT_NOEND;
	unit->polling = false;
	if (slot_lost_unit(unit->pm->id, unit->lane))
	{
		/* The scheduler will count it soon. */
		unit_poll(unit);
		return;
	}
	if (last_manager != unit->pm->id || uncleaned >= DISPATCHER_CLEAN_AFTER)
		dispatcher_clean();
	last_manager = unit->pm->id;
	pgstat_report_activity(STATE_RUNNING, unit->pm->name);
	request.max_events = isolate_limit(&unit->isolate, unit->pm->batch_size);
	request.max_parked = isolate_limit_parked(&unit->isolate, unit->pm->batch_size);
	MemoryContextSwitchTo(run_context);
	request.some = unit_moved(unit, &request.logs);
	error = dispatcher_try_batch(&request, &progress, &result);
	if (error != NULL || progress.stage != PROGRESS_PREPARE)
		uncleaned += Max(progress.count, 1);
	/* What was cancelled for the sake of others is no failure: it is handled again. */
	if (error != NULL && !slot_gives_way())
	{
		dispatcher_clean();
		failed_batch(unit, error, &progress);
	}
	if (error == NULL && !result.parked &&
		(result.outcome == DISPATCH_IDLE || result.outcome == DISPATCH_DONE ||
		 result.outcome == DISPATCH_MORE))
		unit_looked(unit, result.all, request.logs, result.rest);
	MemoryContextSwitchTo(TopMemoryContext);
	MemoryContextReset(run_context);
	if (error != NULL)
		return;

	switch (result.outcome)
	{
		case DISPATCH_STALE:
			return;
		case DISPATCH_BUSY:
			unit->leave_parked = false;
			unit_poll(unit);
			return;
		case DISPATCH_STOPPED:
			unit->not_before = result.due;
			return;
		case DISPATCH_IDLE:
		case DISPATCH_DONE:
		case DISPATCH_MORE:
			break;
	}
	isolate_succeeded(&unit->isolate, &result);
	round_batches++;
	round_events += result.done;
	unit->leave_parked = result.parked;
	unit->due = result.due;
	/* With parked events left alone it says nothing of the one that has failed. */
	if (!request.leave_parked)
		unit->at_once = 0;
	if (result.handled > 0 && unit->isolate.prefix == 0)
		unit->servers_faults = 0;
	if (!result.parked && !result.left_out)
		unit->wait_nap = UNIT_WAIT_MIN;
	if (result.done > 0)
		unit->held_nap = UNIT_HELD_MIN;
	unit->dirty = result.outcome == DISPATCH_MORE || isolate_busy(&unit->isolate);
	if (!unit->dirty && result.held)
	{
		/* Somebody holds a mark back, and may end without waking us. */
		unit->dirty = true;
		unit_poll(unit);
	}
	else if (!unit->dirty && result.left_out)
	{
		unit->dirty = true;
		unit_wait(unit);
	}
}

/*
 * The unit whose turn it is.  The round goes on where it was, although it was
 * interrupted or the units have been loaded again; and since one that makes
 * room may come back soon, a new one begins anywhere.
 */
static int
dispatcher_turn(void)
{
	int count = list_length(Units);

	if (turn_manager == 0)
		return (int) pg_prng_uint64_range(&pg_global_prng_state, 0, Max(count - 1, 0));
	for (int i = 0; i < count; i++)
	{
		Unit *unit = list_nth(Units, i);

		if (unit->pm->id > turn_manager || (unit->pm->id == turn_manager && unit->lane > turn_lane))
			return i;
	}
	return 0;
}

/*
 * Has it run for its time, and does somebody wait for its place?
 */
static bool
dispatcher_share_used(void)
{
	return pg_atomic_read_u32(&Slots->waiting) > 0 &&
		   TimestampDifferenceExceeds(began, GetCurrentTimestamp(), DISPATCHER_SHARE);
}

/*
 * One batch of each unit that may have something to do.  Returns whether one
 * is to be run again at once; else *due is when.
 */
static bool
dispatcher_round(TimestampTz *due)
{
	int turn = dispatcher_turn();
	int count = list_length(Units);
	TimestampTz now = GetCurrentTimestamp();
	bool again = false;

	for (int i = 0; i < count; i++)
	{
		Unit *unit = list_nth(Units, (turn + i) % count);

		if (unit->due <= now)
		{
			unit->dirty = true;
			unit->not_before = 0;
		}
		if (!unit->dirty)
		{
			*due = Min(*due, unit->due);
			continue;
		}
		if (unit->not_before <= now)
		{
			turn_manager = unit->pm->id;
			turn_lane = unit->lane;
			dispatcher_run(unit);
			CHECK_FOR_INTERRUPTS();
			if (unit_stale() || slot_asked_to_leave() || dispatcher_share_used())
				return true;
			now = GetCurrentTimestamp();
		}
		if (unit->dirty && unit->not_before == 0)
			again = true;
		else
			*due = Min(*due, Min(unit->due, unit->dirty ? unit->not_before : DT_NOEND));
	}
	return again;
}

/*
 * A writer has ended: who waits for a mark looks at once, not when the poll is
 * due.
 */
static void
dispatcher_woken(void)
{
	ListCell *lc;

	foreach(lc, Units)
	{
		Unit *unit = lfirst(lc);

		if (unit->polling)
			unit->not_before = 0;
	}
}

/*
 * The clock was set back: what is due, and when, is to be found out again.
 */
static void
dispatcher_check_clock(void)
{
	static TimestampTz last = 0;
	TimestampTz now = GetCurrentTimestamp();
	ListCell *lc;

	if (now < last)
		foreach(lc, Units)
		{
			((Unit *) lfirst(lc))->dirty = ((Unit *) lfirst(lc))->all = true;
			((Unit *) lfirst(lc))->not_before = 0;
		}
	last = now;
}

/*
 * Writers that end all the time keep waking us for an event or two, and pay for
 * our transactions with their processor.  After a while of that it is better to
 * let some more come together.  Who comes now and then is served at once.
 */
static void
dispatcher_pace(void)
{
	static int sleepless = 0;

	if (!MyLatch->is_set)
		sleepless = 0;
	else if (++sleepless > DISPATCHER_PACE_AFTER &&
			 round_events < (int64) round_batches * DISPATCHER_PACE_EVENTS)
		(void) WaitLatch(NULL, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, DISPATCHER_PACE,
						 PG_WAIT_EXTENSION);
}

/*
 * Lines of the log that were left out are told of when their minute is over.
 */
static void
dispatcher_report(TimestampTz *due)
{
	if (report_due() <= GetCurrentTimestamp())
	{
		worker_transaction();
		report_dropped(MyWorkerSlot->role);
		CommitTransactionCommand();
	}
	*due = Min(*due, report_due());
}

/*
 * Each batch needs about as much memory as the last.  Left alone, malloc gives
 * it back to the system in between, and gets it again page by page.
 */
static void
dispatcher_keep_memory(void)
{
#ifdef __GLIBC__
	(void) mallopt(M_MMAP_THRESHOLD, DISPATCHER_KEEPS);
	(void) mallopt(M_TRIM_THRESHOLD, DISPATCHER_KEEPS);
#endif
}

/*
 * SIGUSR2: the place is needed, and what is being done lasts.  A commit is not
 * disturbed.
 */
static void
dispatcher_give_way(SIGNAL_ARGS)
{
	int save_errno = errno;

	if (slot_gives_way() && MyWorkerSlot->now.activity != ACTIVITY_COMMITTING)
	{
		InterruptPending = true;
		QueryCancelPending = true;
		SetLatch(MyLatch);
	}
	errno = save_errno;
}

void
pm_dispatcher_main(Datum arg)
{
	worker_begin();
	pqsignal(SIGUSR2, dispatcher_give_way);
	slot_attach(arg);
	if (slot_held_out(MyWorkerSlot->database))
		worker_leave();
	worker_connect(MyWorkerSlot->database, MyWorkerSlot->role);
	unit_install();

	/* Compiling a small batch's query costs more than running it. */
	SetConfigOption("jit", "off", PGC_USERSET, PGC_S_OVERRIDE);
	/* In a deadlock with an application, this is to be the victim. */
	SetConfigOption("deadlock_timeout", "100ms", PGC_SUSET, PGC_S_OVERRIDE);
	dispatcher_keep_memory();
	handler_watch_may_end_session();
	crash_attach();
	run_context = AllocSetContextCreate(TopMemoryContext, "pm run", ALLOCSET_DEFAULT_SIZES);
	began = GetCurrentTimestamp();
	worker_transaction();
	report_begin();
	CommitTransactionCommand();
	slot_serve();

	for (;;)
	{
		TimestampTz now;
		TimestampTz due;
		bool again;

		worker_begin_round();
		unit_load();
		unit_look();
		dispatcher_check_clock();
		due = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), guc_poll_interval);
		round_batches = 0;
		round_events = 0;
		again = dispatcher_round(&due);
		if (unit_incomplete())
			due = Min(due, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), UNIT_HELD_MAX));
		dispatcher_report(&due);
		(void) pgstat_report_stat(false);

		now = GetCurrentTimestamp();
		if (slot_asked_to_leave() ||
			((!again || dispatcher_share_used()) && slot_place_make_room()))
			worker_leave();
		if (again)
		{
			CHECK_FOR_INTERRUPTS();
			continue;
		}
		dispatcher_pace();
		if (!MyLatch->is_set)
			dispatcher_clean();
		slot_activity(ACTIVITY_IDLE);
		reading_forget();
		(void) pgstat_report_stat(true);
		worker_nap(TimestampDifferenceMilliseconds(now, due), NIL);
		dispatcher_woken();
	}
}
