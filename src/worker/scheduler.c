/*
 * scheduler.c
 *		The process that starts the dispatchers of a database.
 *
 * There is one for each database that has the extension.  It knows which roles
 * have process managers to run.  When there are more roles than places, it
 * watches the logs of the roles without a dispatcher (role.c), and records that
 * it waits when one of them has work (assign.c).  Then dispatchers that are idle,
 * or have run for their time, make room (slot_place.c).  The scheduler itself
 * makes room if worker slots are scarce and it has nothing to do; the launcher
 * starts another one when there is something to do.
 *
 * It connects as the bootstrap superuser and runs no user's code.
 */
#include "pm.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "base/guc.h"
#include "base/report.h"
#include "log/log_catalog.h"
#include "manager/registry.h"
#include "shmem/crash.h"
#include "shmem/slot.h"
#include "shmem/slot_activity.h"
#include "shmem/slot_database.h"
#include "shmem/slot_log.h"
#include "shmem/slot_lost.h"
#include "shmem/slot_place.h"
#include "shmem/slot_wake.h"
#include "shmem/stat.h"
#include "worker/assign.h"
#include "worker/dead_worker.h"
#include "worker/erasures.h"
#include "worker/noted.h"
#include "worker/notice.h"
#include "worker/role.h"
#include "worker/scheduler.h"
#include "worker/worker.h"

/* How often it makes a round if nothing wakes it, ms. */
#define SCHEDULER_NAP 60000

/* How often it tries to count an attempt whose unit is locked, ms; doubles up to the maximum. */
#define SCHEDULER_NAP_LOST	   100
#define SCHEDULER_NAP_LOST_MAX 1000

/* How long it stays for its dispatchers, while others want its worker slot, ms. */
#define SCHEDULER_STAYS 200

/* What this process knows. */
typedef struct Scheduler
{
	Roles roles;
	List *workers; /* of StartedWorker: its dispatchers */
	long lost_nap; /* until it tries again to count an attempt */
	Erasures erasures;
	uint64 swept; /* version of the registrations when shared memory was last swept */
} Scheduler;

/*
 * Finds out which dispatchers have ended.
 */
static void
scheduler_reap(Scheduler *scheduler)
{
	StartedWorker *dispatcher;

	while ((dispatcher = worker_gone(&scheduler->workers)) != NULL)
	{
		/* This also finds out whether it died while a handler ran. */
		slot_unclaim(dispatcher->slot, dispatcher->generation);
		assign_ended(&scheduler->roles, dispatcher);
		pfree(dispatcher);
	}
}

/*
 * Counts as attempts the calls during which a dispatcher died or the server
 * crashed.  False if some of them must be tried again, because a session has
 * locked the unit.
 */
static bool
scheduler_count_dead(Scheduler *scheduler)
{
	bool lost = dead_worker_lost(scheduler->roles.managers);
	bool crashed = dead_worker_crashed(scheduler->roles.managers);

	return lost && crashed;
}

/*
 * Frees what shared memory keeps for logs that are gone.  This reads all logs,
 * so it is done only when one may have gone.
 */
static void
scheduler_sweep(Scheduler *scheduler)
{
	if (scheduler->swept == registry_version())
		return;
	scheduler->swept = registry_version();
	slot_log_sweep(log_catalog_tables());
}

/*
 * Called when the database does not have the extension, or no longer has it ("dropped"), or in a
 * version that is not served.
 */
static void
scheduler_forget_database(bool dropped)
{
	slot_database_set_active(false, 0, InvalidOid);
	slot_log_forget_database(MyDatabaseId);
	slot_lost_forget_database(MyDatabaseId);
	/* A version that is not served is still there. */
	if (dropped)
		stat_forget_database(MyDatabaseId);
}

/*
 * One round, in a transaction.  Returns when to look again.
 */
static TimestampTz
scheduler_round(Scheduler *scheduler)
{
	RoleDue due = {.leaving = false};
	Roles *roles = &scheduler->roles;
	uint32 announced;

	worker_transaction();
	/*
	 * Do this before the registrations are read, so that a later announcement causes
	 * another round.
	 */
	announced = slot_database_announced();
	if (!worker_extension())
	{
		bool dropped = worker_extension_dropped();

		CommitTransactionCommand();
		scheduler_forget_database(dropped);
		worker_leave();
	}
	role_load(roles);
	slot_database_set_active(true, roles->count, roles->any);
	notice_copies(roles->copies);
	slot_database_set_looked(MyDatabaseId, announced);
	scheduler_sweep(scheduler);
	/* Claims of an earlier scheduler. */
	slot_unclaim_orphans(WORKER_DISPATCHER, MyDatabaseId);
	due.at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), SCHEDULER_NAP);

	/* Do this before a dispatcher is started, which would call the same handler again. */
	if (scheduler_count_dead(scheduler))
		scheduler->lost_nap = SCHEDULER_NAP_LOST;
	else
	{
		/* A session has locked the unit, perhaps for a long time. */
		due.at = Min(due.at,
					 TimestampTzPlusMilliseconds(GetCurrentTimestamp(), scheduler->lost_nap));
		scheduler->lost_nap = Min(scheduler->lost_nap * 2, SCHEDULER_NAP_LOST_MAX);
	}
	/* Where there are enough places, nobody needs to know which roles have work. */
	assign_spare(roles, &scheduler->workers);
	role_find_work(roles, scheduler->workers, &due);
	due.at = assign_start(roles, &scheduler->workers, due.at);
	CommitTransactionCommand();

	/* Only now is it certain that the attempts are counted. */
	dead_worker_forget();
	return due.at;
}

/*
 * Does a role have work now but no dispatcher?  *due is moved to the time when a
 * role that yields to others has its turn.
 */
static bool
scheduler_has_work(Scheduler *scheduler, TimestampTz *due, int *gave_way)
{
	HASH_SEQ_STATUS seq;
	Role *role;
	TimestampTz now = GetCurrentTimestamp();
	bool has_work = false;

	hash_seq_init(&seq, scheduler->roles.table);
	while ((role = hash_seq_search(&seq)) != NULL)
	{
		if (role->managers == NIL)
			continue;
		*gave_way = Max(*gave_way, role->gave_way);
		if (!role->has_work)
			continue;
		if (role->yields_until > now)
			*due = Min(*due, role->yields_until);
		else
			has_work = true;
	}
	return has_work;
}

/*
 * Can this database do without a scheduler for some time?  Its dispatchers, if
 * there are any, continue without it.
 */
static bool
scheduler_may_leave(Scheduler *scheduler)
{
	ListCell *lc;

	/* A worker without a process is starting, or has ended and must still be dealt with. */
	foreach(lc, scheduler->workers)
		if (!slot_attached(((StartedWorker *) lfirst(lc))->slot))
			return false;
	return scheduler->workers == NIL || slot_place_waited(SCHEDULER_STAYS);
}

/*
 * Leaves although it waits for a worker slot itself.  If schedulers had all
 * slots, none could start a dispatcher.  So the schedulers that began to wait
 * later leave.
 */
static void
scheduler_give_up(Scheduler *scheduler, int gave_way)
{
	if (scheduler->workers != NIL || !slot_place_waited(SCHEDULER_STAYS) ||
		!slot_place_others_first())
		return;
	slot_database_leave(GetCurrentTimestamp(), gave_way);
	worker_leave();
}

/*
 * Leaves, if others wait for a worker slot and it can.  From then on, the launcher
 * starts another scheduler when something happens in the database or is due.
 */
static void
scheduler_make_room(Scheduler *scheduler)
{
	RoleDue due = {.at = erasures_due_away(&scheduler->erasures), .leaving = true};
	int gave_way = 0;
	bool has_work = scheduler_has_work(scheduler, &due.at, &gave_way);

	if (slot_place_waits())
	{
		scheduler_give_up(scheduler, gave_way);
		return;
	}
	if (has_work || !scheduler_may_leave(scheduler) || !slot_place_make_room())
		return;

	/*
	 * First record that it leaves, then look for work once more: work that
	 * arrives later is announced to the launcher, so none is missed.
	 */
	slot_database_leave(due.at, gave_way);
	worker_transaction();
	role_find_work(&scheduler->roles, scheduler->workers, &due);
	CommitTransactionCommand();

	/* There is an attempt that is not counted yet. */
	if (scheduler->lost_nap > SCHEDULER_NAP_LOST)
		due.at = Min(due.at, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ROLE_AWAY_HELD));
	if (scheduler_has_work(scheduler, &due.at, &gave_way))
		due.at = GetCurrentTimestamp();
	slot_database_due(due.at);
	worker_leave();
}

static void
scheduler_begin(Scheduler *scheduler, Datum arg)
{
	worker_begin();
	slot_attach(arg);
	if (slot_database_held_out(slot_my_database()) || !guc_launcher)
		worker_leave();
	worker_connect(slot_my_database(), InvalidOid);

	/* A session that locks the private tables must not keep a worker slot occupied. */
	SetConfigOption("lock_timeout", "1s", PGC_USERSET, PGC_S_OVERRIDE);
	/*
	 * Nor must a missing synchronous standby hold up all roles.  Nobody is told what the
	 * scheduler writes, and whatever is lost with this server is done again on the next.
	 */
	SetConfigOption("synchronous_commit", "local", PGC_USERSET, PGC_S_OVERRIDE);
	crash_attach();
	worker_transaction();
	report_begin();
	CommitTransactionCommand();
	role_begin(&scheduler->roles);
	erasures_begin(&scheduler->erasures);
	scheduler->lost_nap = SCHEDULER_NAP_LOST;
}

/*
 * Entry point of the process.
 */
void
pm_scheduler_main(Datum arg)
{
	Scheduler scheduler = {0};

	scheduler_begin(&scheduler, arg);
	for (;;)
	{
		TimestampTz due;

		worker_begin_round();
		if (slot_asked_to_leave() || !guc_launcher)
			worker_leave();
		scheduler_reap(&scheduler);
		noted_share();
		due = scheduler_round(&scheduler);
		due = Min(due, erasures_round(&scheduler.erasures));
		if (slot_activity_is(ACTIVITY_STARTING))
		{
			/* The launcher starts one scheduler at a time. */
			slot_activity_set(ACTIVITY_IDLE);
			slot_wake_kind(WORKER_LAUNCHER, InvalidOid);
		}
		scheduler_make_room(&scheduler);
		worker_nap("PmSchedulerMain", TimestampDifferenceMilliseconds(GetCurrentTimestamp(), due),
				   scheduler.workers);
	}
}
