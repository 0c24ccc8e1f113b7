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
 * work, and dispatchers that are idle, or have run for their time, make room.
 *
 * Connects as the bootstrap superuser and runs no user's code.
 */
#include "pm.h"

#include "access/xact.h"
#include "bury.h"
#include "crash.h"
#include "crew.h"
#include "guc.h"
#include "launcher.h"
#include "log.h"
#include "report.h"
#include "role.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"

#define SCHEDULER_NAP			60000	/* all is well, ms */
#define SCHEDULER_NAP_WAITING	100 /* a role waits for a place */
#define SCHEDULER_NAP_LOST		1000	/* an attempt cannot be counted yet: looking again, at most */
#define SCHEDULER_BACKOFF_MAX	30000
#define SCHEDULER_YIELDED		300 /* who has made room stays away for, ms */
#define SCHEDULER_STARVES		10000	/* a role that has waited so long is named in the log, ms */
#define SCHEDULER_SILENCE		(3600 * 1000)	/* and again after so long, ms */

static List *crew = NIL;
static uint32 counted_waiting = 0;
static long lost_nap = SCHEDULER_NAP_WAITING;

/*
 * Tells the dispatchers of all databases how many roles wait here for a place.
 */
static void
scheduler_count_waiting(uint32 waiting)
{
	if (waiting == counted_waiting)
		return;
	pg_atomic_fetch_add_u32(&Slots->waiting_roles, waiting - counted_waiting);
	counted_waiting = waiting;
	if (waiting > 0)
		slot_wake_kind(WORKER_DISPATCHER, InvalidOid);
}

static void
scheduler_uncount(int code, Datum arg)
{
	scheduler_count_waiting(0);
}

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
	Role	   *role;
	Role	   *next = NULL;
	int			nexts = 0;

	hash_seq_init(&seq, Roles);
	while ((role = hash_seq_search(&seq)) != NULL)
	{
		int			serving = role_serving(role, crew);

		if (!role->wanted)
			continue;
		if (!role->has_work && pg_atomic_read_u32(&Slots->waiting_roles) > 0)
			continue;
		if (serving >= role->lanes || !crew_can_connect(role->role))
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
 * How many roles have work and no dispatcher, and lack nothing but a place?
 */
static uint32
scheduler_lacking(TimestampTz now)
{
	HASH_SEQ_STATUS seq;
	Role	   *role;
	uint32		count = 0;

	hash_seq_init(&seq, Roles);
	while ((role = hash_seq_search(&seq)) != NULL)
		if (role->wanted && role->has_work && role->not_before <= now)
			count++;
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
	Role	   *role;

	hash_seq_init(&seq, Roles);
	while ((role = hash_seq_search(&seq)) != NULL)
	{
		if (!role->wanted || !role->has_work || role->waiting_since == 0 ||
			!TimestampDifferenceExceeds(role->waiting_since, now, SCHEDULER_STARVES) ||
			!TimestampDifferenceExceeds(role->said_starving, now, SCHEDULER_SILENCE))
			continue;
		role->said_starving = now;
		if (report_may(role->role, REPORT_OUTCOME))
			ereport(LOG,
					(errmsg("role \"%s\" in database \"%s\" starves: it has had work for %d seconds and no dispatcher",
							GetUserNameFromId(role->role, false), report_database(), SCHEDULER_STARVES / 1000),
					 errdetail_log("Dispatchers of other roles use all places."),
					 errhint("Raise pm.max_workers and restart the server.")));
	}
}

/*
 * Starts dispatchers while there are places.  Returns when to look again.
 */
static TimestampTz
scheduler_start(TimestampTz due)
{
	TimestampTz now = GetCurrentTimestamp();
	Role	   *role;
	uint32		waiting = 0;

	while ((role = scheduler_next(now, &due)) != NULL)
	{
		CrewStart	start = crew_start(&crew, WORKER_DISPATCHER, MyDatabaseId, role->role, role->lanes);

		if (start == CREW_STARTED)
		{
			role->waiting_since = 0;
			role->has_work = false;
			continue;
		}
		if (start == CREW_NO_SLOT)
		{
			if (role->backoff == ROLE_BACKOFF && report_may(role->role, REPORT_FAILURE))
				ereport(LOG,
						(errmsg("pm finds no free background worker slot for a dispatcher of role \"%s\" in database \"%s\"",
								GetUserNameFromId(role->role, false), report_database()),
						 errhint("Raise max_worker_processes; it is tried again.")));
			role->not_before = TimestampTzPlusMilliseconds(now, role->backoff);
			role->backoff = Min(role->backoff * 2, SCHEDULER_BACKOFF_MAX);
			continue;
		}
		/* No place.  Whoever has work waits for one, the others for work. */
		waiting = scheduler_lacking(now);
		if (waiting > 0)
			due = Min(due, TimestampTzPlusMilliseconds(now, SCHEDULER_NAP_WAITING));
		break;
	}
	scheduler_count_waiting(waiting);
	if (waiting > 0)
		scheduler_say_starving(now);
	return due;
}

/*
 * Notes which dispatchers have ended.
 */
static void
scheduler_reap(void)
{
	CrewMember *member;

	while ((member = crew_gone(&crew)) != NULL)
	{
		Role	   *role = hash_search(Roles, &member->role, HASH_FIND, NULL);
		TimestampTz now = GetCurrentTimestamp();

		slot_unclaim(member->slot, member->generation);
		if (role != NULL)
		{
			if (pg_atomic_read_u32(&Slots->waiting_roles) > 0)
				role->not_before = TimestampTzPlusMilliseconds(now, SCHEDULER_YIELDED);
			else if (crew_left(member) || crew_lost(member) ||
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
	int			orphan = -1;

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
	bool		lost = bury_lost(Managers);
	bool		crashed = bury_crashed(Managers);

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
	slot_sweep_logs(log_relids());
}

/*
 * One round.  Returns when to look again.
 */
static TimestampTz
scheduler_round(void)
{
	TimestampTz due = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), SCHEDULER_NAP);
	uint32		announced;

	crew_transaction();
	announced = slot_announced();
	if (!crew_extension())
	{
		CommitTransactionCommand();
		slot_set_active(false);
		slot_forget_database(MyDatabaseId);
		crew_leave();
	}
	slot_set_active(true);
	slot_set_looked(announced);
	scheduler_sweep();
	role_load();
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
	role_find_work(crew, &due);
	due = scheduler_start(due);
	CommitTransactionCommand();
	bury_forget();
	return due;
}

void
scheduler_main(Datum arg)
{
	crew_begin();
	slot_attach(arg);
	if (slot_held_out(MyWorkerSlot->database) || !guc_launcher)
		crew_leave();
	crew_connect(MyWorkerSlot->database, InvalidOid);
	crash_attach();
	crew_transaction();
	report_begin();
	CommitTransactionCommand();
	before_shmem_exit(scheduler_uncount, (Datum) 0);
	role_begin();

	for (;;)
	{
		TimestampTz due;

		crew_begin_round();
		if (slot_asked_to_leave() || !guc_launcher)
			crew_leave();
		scheduler_reap();
		due = scheduler_round();
		if (MyWorkerSlot->now.activity == ACTIVITY_STARTING)
		{
			slot_activity(ACTIVITY_IDLE);
			slot_wake_kind(WORKER_LAUNCHER, InvalidOid);
		}
		crew_nap(TimestampDifferenceMilliseconds(GetCurrentTimestamp(), due), crew);
	}
}
