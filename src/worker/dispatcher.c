/*
 * dispatcher.c
 *		The process that runs the units of a role.
 *
 * There is one for each database and owner role, or several where process
 * managers have lanes.  It connects as the owner, so a handler cannot switch
 * back to another role.  Its loop waits on the latch, finds out which logs have
 * new events, and runs batches of the units that may have something to do,
 * until nothing is left.
 *
 * Writers wake it (watch.c).  Events for which no writer wakes it are found by
 * polling: after a short time while a mark is held back, else every
 * pm.poll_interval.
 *
 * An idle dispatcher holds no snapshot and no transaction, and writes nothing.
 */
#include "pm.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "access/xact.h"
#include "common/pg_prng.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/pmsignal.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/guc.h"
#include "base/report.h"
#include "dispatch/reading.h"
#include "manager/handler_watch.h"
#include "shmem/crash.h"
#include "shmem/slot.h"
#include "shmem/slot_activity.h"
#include "shmem/slot_database.h"
#include "shmem/slot_place.h"
#include "shmem/slot_share.h"
#include "worker/dispatcher.h"
#include "worker/noted.h"
#include "worker/passed.h"
#include "worker/purge.h"
#include "worker/run.h"
#include "worker/session.h"
#include "worker/unit.h"
#include "worker/unit_work.h"
#include "worker/worker.h"

/*
 * A dispatcher that has more to do runs at least this long before it makes room for others,
 * ms: for any, or for one that has only little to do.
 */
#define DISPATCHER_SHARE	   500
#define DISPATCHER_SHARE_BRIEF 100

/*
 * After this many rounds without sleep, whose batches had fewer events than
 * this on average, the dispatcher sleeps for this long, ms, so that its batches
 * become larger.
 */
#define DISPATCHER_PACE_AFTER  8
#define DISPATCHER_PACE_EVENTS 32
#define DISPATCHER_PACE		   1

/* Units with nothing to do that run for the first time are interrupted after this time, ms. */
#define DISPATCHER_REST 10

/* Memory that malloc keeps from batch to batch, at most, bytes. */
#define DISPATCHER_KEEPS (16 * 1024 * 1024)

/* What this process knows. */
typedef struct Dispatcher
{
	Units units;
	MemoryContext run_context; /* of one batch; outlives its transaction, not the next batch */
	TimestampTz began;
	TimestampTz last_round; /* when the last round began */
	int turn_manager;		/* the unit that had its turn last, 0: none yet */
	int turn_lane;
	int sleepless;	 /* rounds in a row after which it was awake already */
	RunCounts round; /* what the present round has done */
} Dispatcher;

/*
 * The unit whose turn it is.  A round continues where the last one was
 * interrupted, even if the units have been loaded again since.  A new
 * dispatcher begins with a random unit.  Otherwise, if dispatchers often make
 * room and start again, the units at the end would never have their turn.
 */
static int
dispatcher_turn(Dispatcher *dispatcher)
{
	List *units = dispatcher->units.list;
	ListCell *lc;

	if (dispatcher->turn_manager == 0)
		return (int) pg_prng_uint64_range(&pg_global_prng_state, 0, Max(list_length(units) - 1, 0));
	foreach(lc, units)
	{
		Unit *unit = lfirst(lc);

		if (unit->pm->id > dispatcher->turn_manager ||
			(unit->pm->id == dispatcher->turn_manager && unit->lane > dispatcher->turn_lane))
			return foreach_current_index(lc);
	}
	return 0;
}

/*
 * Has the dispatcher run for its time, and does another worker wait for its
 * place?
 */
static bool
dispatcher_share_used(Dispatcher *dispatcher)
{
	return slot_place_any_waits() &&
		   TimestampDifferenceExceeds(dispatcher->began, GetCurrentTimestamp(),
									  slot_place_brief_waits() ? DISPATCHER_SHARE_BRIEF :
																 DISPATCHER_SHARE);
}

/*
 * Must this round end before all units have had their turn?
 */
static bool
dispatcher_is_interrupted(Dispatcher *dispatcher)
{
	return unit_stale(&dispatcher->units) || slot_asked_to_leave() ||
		   dispatcher_share_used(dispatcher);
}

/*
 * Runs one batch of a unit.  Returns whether the round must end.
 */
static bool
dispatcher_run(Dispatcher *dispatcher, Unit *unit)
{
	unit->first = false;
	dispatcher->turn_manager = unit->pm->id;
	dispatcher->turn_lane = unit->lane;
	run_unit(unit, dispatcher->run_context, &dispatcher->round);
	CHECK_FOR_INTERRUPTS();
	/*
	 * A dispatcher notices the end of the postmaster when it sleeps, but while there is
	 * something to do it never sleeps.  As long as it runs, the server cannot be started.
	 */
	if (!PostmasterIsAlive())
		proc_exit(1);
	return dispatcher_is_interrupted(dispatcher);
}

/*
 * Runs one batch of each unit that may have something to do.  Returns whether
 * there is more to do at once.  If not, *due is moved to the time when there
 * is.
 */
static bool
dispatcher_round(Dispatcher *dispatcher, TimestampTz *due)
{
	List *units = dispatcher->units.list;
	int turn = dispatcher_turn(dispatcher);
	int count = list_length(units);
	TimestampTz now = GetCurrentTimestamp();
	bool again = false;

	for (int i = 0; i < count; i++)
	{
		Unit *unit = list_nth(units, (turn + i) % count);

		unit_look_sent(unit, now);
		if (unit->due <= now)
		{
			unit->dirty = true;
			unit->first = false;
			unit->not_before = 0;
		}
		if (!unit->dirty)
		{
			*due = Min(*due, Min(unit->due, unit->sent_again));
			continue;
		}
		/* It has its turn in dispatcher_rest(). */
		if (unit->first)
			continue;
		if (unit->not_before <= now)
		{
			if (dispatcher_run(dispatcher, unit))
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
 * Runs one batch of each unit that has not run since it was loaded and for which there is
 * nothing to do, as far as is known.  Stops after some time, so that others need not wait
 * for all of them.  Returns whether there were any.
 */
static bool
dispatcher_rest(Dispatcher *dispatcher)
{
	TimestampTz began = GetCurrentTimestamp();
	bool any = false;
	ListCell *lc;

	foreach(lc, dispatcher->units.list)
	{
		Unit *unit = lfirst(lc);

		if (!unit->first)
			continue;
		if (any && TimestampDifferenceExceeds(began, GetCurrentTimestamp(), DISPATCHER_REST))
			break;
		any = true;
		if (dispatcher_run(dispatcher, unit))
			break;
	}
	/* The next round finds out whether those that have run have more to do. */
	return any;
}

/*
 * Called when a writer has ended: units that poll for a mark or a lock try
 * again at once, not when the poll is due.
 */
static void
dispatcher_woken(Dispatcher *dispatcher)
{
	ListCell *lc;

	foreach(lc, dispatcher->units.list)
	{
		Unit *unit = lfirst(lc);

		if (unit->polling)
			unit->not_before = 0;
	}
}

/*
 * If the clock was set back, the times at which something is due are too late
 * by the same amount.  So all units find out again what is due.
 */
static void
dispatcher_check_clock(Dispatcher *dispatcher)
{
	TimestampTz now = GetCurrentTimestamp();
	ListCell *lc;

	if (now < dispatcher->last_round)
		foreach(lc, dispatcher->units.list)
		{
			Unit *unit = lfirst(lc);

			unit->dirty = unit->all = true;
			unit->not_before = 0;
		}
	dispatcher->last_round = now;
}

/*
 * If writers commit very often, each wakes us for an event or two, and our
 * transactions take processor time from the writers.  After some time of that
 * it is better to wait for some more events.  An event that comes alone is
 * handled at once.
 */
static void
dispatcher_pace(Dispatcher *dispatcher)
{
	static uint32 event;

	if (!MyLatch->is_set)
		dispatcher->sleepless = 0;
	else if (++dispatcher->sleepless > DISPATCHER_PACE_AFTER &&
			 dispatcher->round.events < dispatcher->round.batches * DISPATCHER_PACE_EVENTS)
		/* Do not wait on the latch, which is set. */
		(void) WaitLatch(NULL, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, DISPATCHER_PACE,
						 compat_wait_event(&event, "PmDispatcherPace"));
}

/*
 * Reports in the server's log how many lines were left out, when their minute
 * is over.
 */
static void
dispatcher_report(TimestampTz *due)
{
	if (report_due() <= GetCurrentTimestamp())
	{
		worker_transaction();
		report_dropped(slot_my_role());
		CommitTransactionCommand();
	}
	*due = Min(*due, report_due());
}

/*
 * Each batch needs about as much memory as the one before.  Without this, malloc
 * would return the memory to the system between batches, and get it again page
 * by page.
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
 * Handler of SIGUSR2: another worker needs the place, and the present batch takes too long.
 * It is canceled, unless it is committing.
 */
static void
dispatcher_give_way(SIGNAL_ARGS)
{
	int save_errno = errno;

	if (slot_gives_way() && !slot_activity_is(ACTIVITY_COMMITTING))
	{
		InterruptPending = true;
		QueryCancelPending = true;
		SetLatch(MyLatch);
	}
	errno = save_errno;
}

/*
 * Connects, and announces that this dispatcher runs its share of the units.
 */
static void
dispatcher_begin(Dispatcher *dispatcher, Datum arg)
{
	worker_begin();
	pqsignal(SIGUSR2, dispatcher_give_way);
	slot_attach(arg);
	if (slot_database_held_out(slot_my_database()))
		worker_leave();
	worker_connect(slot_my_database(), slot_my_role());
	unit_install();

	/* Compiling a small batch's query costs more than running it. */
	SetConfigOption("jit", "off", PGC_USERSET, PGC_S_OVERRIDE);
	dispatcher_keep_memory();
	handler_watch_may_end_session();
	crash_attach();
	noted_install();
	dispatcher->run_context = AllocSetContextCreate(TopMemoryContext, "pm run",
													ALLOCSET_DEFAULT_SIZES);
	dispatcher->began = GetCurrentTimestamp();
	worker_transaction();
	report_begin();
	CommitTransactionCommand();
	slot_share_begin();
}

/*
 * Leaves if another session needs the database, or another worker the place.
 * While there is more to do, a dispatcher keeps its place until its time is
 * over.
 */
static void
dispatcher_may_leave(Dispatcher *dispatcher, bool again)
{
	if (!slot_asked_to_leave() &&
		!((!again || dispatcher_share_used(dispatcher)) && slot_place_make_room()))
		return;
	if (again)
		slot_leaves_unfinished();
	worker_leave();
}

/*
 * Sleeps until woken, or until something is due.
 */
static void
dispatcher_sleep(Dispatcher *dispatcher, TimestampTz due)
{
	TimestampTz now = GetCurrentTimestamp();

	dispatcher_pace(dispatcher);
	/* Cleaning takes time, and can wait if there is something to do already. */
	if (!MyLatch->is_set)
		session_clean();
	slot_activity_set(ACTIVITY_IDLE);
	reading_forget();
	(void) pgstat_report_stat(true);
	/* Something that is due since -infinity would make the difference overflow. */
	worker_nap("PmDispatcherMain", TimestampDifferenceMilliseconds(now, Max(now, due)), NIL);
	dispatcher_woken(dispatcher);
}

/*
 * Entry point of the process.
 */
void
pm_dispatcher_main(Datum arg)
{
	Dispatcher dispatcher = {0};

	dispatcher_begin(&dispatcher, arg);
	for (;;)
	{
		TimestampTz due;
		bool again;

		worker_begin_round();
		if (!unit_load(&dispatcher.units))
			worker_leave();
		watch_look(&dispatcher.units.watches);
		unit_work_sort_out(&dispatcher.units);
		dispatcher_check_clock(&dispatcher);
		due = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), guc_poll_interval);
		due = Min(due, unit_stale_at(&dispatcher.units));
		memset(&dispatcher.round, 0, sizeof(RunCounts));
		again = dispatcher_round(&dispatcher, &due);
		if (!again)
			again = dispatcher_rest(&dispatcher);
		dispatcher.units.unwritten |= dispatcher.round.passed;
		if (!again && dispatcher.units.unwritten)
			again = passed_write(&dispatcher.units);
		again |= purge_round(&dispatcher.units, &due);
		if (dispatcher.units.watches.incomplete)
			due = Min(due, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), UNIT_HELD_MAX));
		dispatcher_report(&due);
		(void) pgstat_report_stat(false);

		dispatcher_may_leave(&dispatcher, again);
		if (again)
			CHECK_FOR_INTERRUPTS();
		else
			dispatcher_sleep(&dispatcher, due);
	}
}
