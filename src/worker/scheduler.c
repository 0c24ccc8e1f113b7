/*
 * scheduler.c
 *		One a database: which roles have process managers to run, and who of
 *		them gets a dispatcher.
 *
 * Every role with something registered gets a dispatcher as long as there are
 * places (pm.max_workers, cluster-wide), and one for each further lane of its
 * process managers where there still are.  When there are more roles than
 * places, those with work come first: the scheduler watches the logs of the
 * roles without a dispatcher, counts itself as waiting when one of them has
 * work, and dispatchers that are idle, or have run for their time, make room
 * (slot_place.c).  So does the scheduler itself, where worker slots are scarce
 * and it has nothing to do: the launcher sends another one when it has.
 *
 * Connects as the bootstrap superuser and runs no user's code.
 */
#include "pm.h"

#include "access/xact.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "base/guc.h"
#include "base/report.h"
#include "log/log.h"
#include "log/log_catalog.h"
#include "shmem/crash.h"
#include "worker/dead_worker.h"
#include "worker/role.h"
#include "worker/scheduler.h"
#include "worker/worker.h"

#define SCHEDULER_NAP			60000 /* all is well, ms */
#define SCHEDULER_NAP_WAITING	100	  /* a role waits for a place */
#define SCHEDULER_NAP_YIELDS	250	  /* a role stays behind others: are there any? */
#define SCHEDULER_NAP_LOST		1000  /* an attempt cannot be counted yet, at most */
#define SCHEDULER_BACKOFF_MAX	30000
#define SCHEDULER_YIELDED		300	 /* a role that has made room stays behind others for, ms */
#define SCHEDULER_YIELDS		1000 /* one that was made to, at first; doubles */
#define SCHEDULER_YIELDS_MAX	4000
#define SCHEDULER_ALLOWANCE		INT64CONST(5000) /* its handlers may run for; doubles */
#define SCHEDULER_ALLOWANCE_MAX INT64CONST(60000)
#define SCHEDULER_COMPLAINS		5000  /* of a lack of worker slots, after, ms */
#define SCHEDULER_STAYS			200	  /* for its dispatchers, while others want its slot, ms */
#define SCHEDULER_STARVES		10000 /* a role that has waited so long is named in the log, ms */
#define SCHEDULER_SILENCE		(3600 * 1000) /* and again after so long, ms */

static List *workers = NIL;
static long lost_nap = SCHEDULER_NAP_WAITING;

/*
 * Does one role come before another?  "serving" are the dispatchers that it
 * has.
 */
static bool
scheduler_before(Role *role, int serving, Role *other, int others)
{
	if (role->has_work != other->has_work)
		return role->has_work;
	return role->has_work ? role->waiting_since < other->waiting_since : serving < others;
}

/*
 * The next role to get a dispatcher: the one that has waited longest with
 * work; else, as long as nobody waits anywhere, the one with the fewest.
 */
static Role *
scheduler_next(TimestampTz now, TimestampTz *due)
{
	HASH_SEQ_STATUS seq;
	Role *role;
	Role *next = NULL;
	int nexts = 0;
	bool others = pg_atomic_read_u32(&Slots->waiting) > 0;

	hash_seq_init(&seq, Roles);
	while ((role = hash_seq_search(&seq)) != NULL)
	{
		int serving = role_serving(role, workers);

		if (!role->wanted || role->has_share)
			continue;
		if (!role->has_work && (others || slot_place_is_scarce()))
			continue;
		if (role->yields_until > now && (others || slot_place_last()))
		{
			*due = Min(*due, role->yields_until);
			*due = Min(*due, TimestampTzPlusMilliseconds(now, SCHEDULER_NAP_YIELDS));
			continue;
		}
		if (serving >= role->lanes || !worker_can_connect(role->role))
			continue;
		if (role->not_before > now)
		{
			*due = Min(*due, role->not_before);
			continue;
		}
		if (next != NULL && !scheduler_before(role, serving, next, nexts))
			continue;
		next = role;
		nexts = serving;
	}
	return next;
}

/*
 * How many roles have work and no dispatcher, and lack nothing but a place, or
 * a worker slot?  One that has given way waits until its time has come.
 */
static uint32
scheduler_lacking(TimestampTz now, TimestampTz *since)
{
	HASH_SEQ_STATUS seq;
	Role *role;
	uint32 count = 0;

	hash_seq_init(&seq, Roles);
	while ((role = hash_seq_search(&seq)) != NULL)
		if (role->wanted && role->has_work && role->not_before <= now && role->yields_until <= now)
		{
			*since = Min(*since, Max(role->waiting_since, role->yields_until));
			count++;
		}
	return count;
}

/*
 * Says once in a while of a role that it starves: it has had work for some time,
 * and no dispatcher.
 */
static void
scheduler_say_starving(TimestampTz now)
{
	HASH_SEQ_STATUS seq;
	Role *role;

	hash_seq_init(&seq, Roles);
	while ((role = hash_seq_search(&seq)) != NULL)
	{
		if (!role->wanted || !role->has_work || role->waiting_since == 0 || role->gave_way > 0 ||
			!TimestampDifferenceExceeds(role->waiting_since, now, SCHEDULER_STARVES) ||
			!TimestampDifferenceExceeds(role->said_starving, now, SCHEDULER_SILENCE))
			continue;
		role->said_starving = now;
		if (report_may(role->role, REPORT_OUTCOME))
			ereport(
				LOG,
				(errmsg(
					 "role \"%s\" in database \"%s\" starves: it has had work for %d seconds and no dispatcher",
					 GetUserNameFromId(role->role, false), report_database(),
					 SCHEDULER_STARVES / 1000),
				 errdetail_log("Dispatchers of other roles use all places."),
				 errhint("Raise pm.max_workers and restart the server.")));
	}
}

/*
 * There is no worker slot.  That is nothing to tell of while workers take turns.
 */
static void
scheduler_complain(TimestampTz since, TimestampTz now)
{
	static TimestampTz complained = 0;

	if (now - since < SCHEDULER_COMPLAINS * INT64CONST(1000) ||
		(complained > since && complained <= now))
		return;
	complained = now;
	ereport(LOG,
			(errmsg("pm finds no free background worker slot for a dispatcher in database \"%s\"",
					report_database()),
			 errhint("Raise max_worker_processes; it is tried again.")));
}

/*
 * Starts dispatchers while there are places.  Returns when to look again.
 */
static TimestampTz
scheduler_start(TimestampTz due)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz since = DT_NOEND;
	Role *role;
	Oid full = InvalidOid;
	uint32 waiting = 0;
	bool no_slot = false;

	while ((role = scheduler_next(now, &due)) != NULL)
	{
		WorkerStart start = worker_start(&workers, WORKER_DISPATCHER, MyDatabaseId, role->role,
										 role->lanes);

		if (start == WORKER_START_STARTED)
		{
			Slots->workers[((StartedWorker *) llast(workers))->slot].allowance =
				Min(SCHEDULER_ALLOWANCE << Min(role->gave_way, 8), SCHEDULER_ALLOWANCE_MAX);
			role->waiting_since = 0;
			role->has_work = false;
			continue;
		}
		if (start == WORKER_START_SHARE_TAKEN || start == WORKER_START_ROLE_FULL)
		{
			role->has_share = true;
			/* Its dispatchers in other databases make room for the first one here. */
			if (start == WORKER_START_ROLE_FULL && role->has_work && !OidIsValid(full))
			{
				full = role->role;
				since = Min(since, Max(role->waiting_since, role->yields_until));
				due = Min(due, TimestampTzPlusMilliseconds(now, SCHEDULER_NAP_WAITING));
			}
			continue;
		}
		/* Whoever has work waits, the others for work. */
		waiting = scheduler_lacking(now, &since);
		no_slot = start == WORKER_START_NO_SLOT;
		if (waiting > 0)
		{
			due = Min(due, TimestampTzPlusMilliseconds(now, SCHEDULER_NAP_WAITING));
			if (no_slot)
				scheduler_complain(since, now);
		}
		break;
	}
	slot_place_wait(waiting, no_slot, full, since);
	if (waiting > 0 || OidIsValid(full))
		slot_place_press();
	if (waiting > 0 && !no_slot)
		scheduler_say_starving(now);
	return due;
}

/*
 * Notes which dispatchers have ended.
 */
static void
scheduler_reap(void)
{
	StartedWorker *member;

	while ((member = worker_gone(&workers)) != NULL)
	{
		Role *role = hash_search(Roles, &member->role, HASH_FIND, NULL);
		TimestampTz now = GetCurrentTimestamp();

		slot_unclaim(member->slot, member->generation);
		if (role != NULL)
		{
			if (worker_gave_way(member))
			{
				long ms = SCHEDULER_YIELDS << Min(role->gave_way, 8);

				ms = Min(ms, SCHEDULER_YIELDS_MAX);
				role->yields_until = TimestampTzPlusMilliseconds(now, ms);
				role->gave_way++;
			}
			else if (worker_left(member))
				role->gave_way = 0;
			if (worker_gave_way(member) || pg_atomic_read_u32(&Slots->waiting) > 0)
			{
				role->yields_until = Max(role->yields_until,
										 TimestampTzPlusMilliseconds(now, SCHEDULER_YIELDED));
				role->not_before = now;
			}
			else if (worker_left(member) || worker_lost(member) ||
					 TimestampDifferenceMilliseconds(member->started_at, now) > ROLE_BACKOFF)
			{
				role->backoff = ROLE_BACKOFF;
				role->not_before = now;
			}
			else if (role->not_before <= member->started_at)
			{
				/* Once for all who died together. */
				role->not_before = TimestampTzPlusMilliseconds(member->started_at, role->backoff);
				role->backoff = Min(role->backoff * 2, SCHEDULER_BACKOFF_MAX);
			}
		}
		pfree(member);
	}
}

/*
 * The same for dispatchers of a scheduler before us.
 */
static void
scheduler_adopt(void)
{
	int orphan = -1;

	while ((orphan = slot_orphan(WORKER_DISPATCHER, MyDatabaseId, orphan + 1)) >= 0)
		slot_unclaim(orphan, Slots->workers[orphan].generation);
}

/*
 * Counts as attempts what died with its dispatcher, or in a crash.  False if
 * some of it is to be looked at again.
 */
static bool
scheduler_count_dead(void)
{
	bool lost = dead_worker_lost(Managers);
	bool crashed = dead_worker_crashed(Managers);

	return lost && crashed;
}

/*
 * Gives back what shared memory keeps for logs that are gone.  A look at all logs,
 * so only when one may have gone.
 */
static void
scheduler_sweep(void)
{
	static uint64 swept = 0;

	if (swept == registry_version())
		return;
	swept = registry_version();
	slot_sweep_logs(log_catalog_tables());
}

/*
 * One round.  Returns when to look again.
 */
static TimestampTz
scheduler_round(void)
{
	TimestampTz due = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), SCHEDULER_NAP);
	RoleDue look = {.leaving = false};
	uint32 announced;

	worker_transaction();
	announced = slot_announced();
	if (!worker_extension())
	{
		CommitTransactionCommand();
		slot_set_active(false, 0, InvalidOid);
		slot_forget_database(MyDatabaseId);
		slot_lost_forget_database(MyDatabaseId);
		worker_leave();
	}
	role_load();
	slot_set_active(true, Nroles, ARole);
	slot_set_looked(announced);
	scheduler_sweep();
	scheduler_adopt();
	/* Before a dispatcher calls the same handler again. */
	if (scheduler_count_dead())
		lost_nap = SCHEDULER_NAP_WAITING;
	else
	{
		/* Somebody has the unit, who need not hurry. */
		due = Min(due, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), lost_nap));
		lost_nap = Min(lost_nap * 2, SCHEDULER_NAP_LOST);
	}
	look.at = due;
	role_find_work(workers, &look);
	due = scheduler_start(look.at);
	CommitTransactionCommand();
	dead_worker_forget();
	return due;
}

/*
 * Has a role work now that no dispatcher is there for?  *due is moved to when one
 * that stays behind others is to have its turn.
 */
static bool
scheduler_has_work(TimestampTz *due, int *gave_way)
{
	HASH_SEQ_STATUS seq;
	Role *role;
	TimestampTz now = GetCurrentTimestamp();
	bool has_work = false;

	hash_seq_init(&seq, Roles);
	while ((role = hash_seq_search(&seq)) != NULL)
	{
		if (!role->wanted)
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
 * May this database do without a scheduler for a while?  Its dispatchers, if
 * there are any, go on by themselves.
 */
static bool
scheduler_may_leave(void)
{
	ListCell *lc;

	foreach(lc, workers)
		if (Slots->workers[((StartedWorker *) lfirst(lc))->slot].pid == 0)
			return false; /* it is starting, or its end is to be seen to */
	return workers == NIL || slot_place_waited(SCHEDULER_STAYS);
}

/*
 * Others wait for a worker slot: leaves, if it can.  What happens here from now
 * on makes the launcher send another one, and so does the time.
 */
static void
scheduler_make_room(void)
{
	RoleDue due = {.at = DT_NOEND, .leaving = true};
	int gave_way = 0;
	bool has_work = scheduler_has_work(&due.at, &gave_way);

	if (MyWorkerSlot->waits > 0)
	{
		/* Schedulers alone get nothing done: those that have come later leave. */
		if (workers != NIL || !slot_place_waited(SCHEDULER_STAYS) || !slot_place_others_first())
			return;
		slot_database_leave(GetCurrentTimestamp(), gave_way);
		worker_leave();
	}
	if (has_work || !scheduler_may_leave() || !slot_place_make_room())
		return;
	slot_database_leave(due.at, gave_way);
	worker_transaction();
	role_find_work(workers, &due);
	CommitTransactionCommand();
	if (lost_nap > SCHEDULER_NAP_WAITING)
		due.at = Min(due.at, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ROLE_AWAY_HELD));
	if (scheduler_has_work(&due.at, &gave_way))
		due.at = GetCurrentTimestamp();
	slot_database_due(due.at);
	worker_leave();
}

void
pm_scheduler_main(Datum arg)
{
	worker_begin();
	slot_attach(arg);
	if (slot_held_out(MyWorkerSlot->database) || !guc_launcher)
		worker_leave();
	worker_connect(MyWorkerSlot->database, InvalidOid);
	/* Nobody who has a lock on the private tables keeps a worker slot with it. */
	SetConfigOption("lock_timeout", "1s", PGC_USERSET, PGC_S_OVERRIDE);
	crash_attach();
	worker_transaction();
	report_begin();
	CommitTransactionCommand();
	role_begin();

	for (;;)
	{
		TimestampTz due;

		worker_begin_round();
		if (slot_asked_to_leave() || !guc_launcher)
			worker_leave();
		scheduler_reap();
		due = scheduler_round();
		if (MyWorkerSlot->now.activity == ACTIVITY_STARTING)
		{
			slot_activity(ACTIVITY_IDLE);
			slot_wake_kind(WORKER_LAUNCHER, InvalidOid);
		}
		scheduler_make_room();
		worker_nap(TimestampDifferenceMilliseconds(GetCurrentTimestamp(), due), workers);
	}
}
