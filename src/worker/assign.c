/*
 * assign.c
 *		Decides which role gets the next dispatcher.
 *
 * Every role that owns a process manager gets a dispatcher as long as there are
 * places (pm.max_workers in the whole cluster).  If there are still places, it
 * gets one more for each further lane of its process managers that does not take
 * turns.
 *
 * When there are more roles than places, roles with work come first, and of these
 * the roles that have little to do, in the order in which the work arrived.  When
 * a role with much to do has waited for some time, every other place is for such a
 * role.  A role whose dispatcher has made room yields to the others for some time,
 * so that the roles take turns.
 */
#include "pm.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "base/report.h"
#include "manager/registry.h"
#include "shmem/slot_place.h"
#include "shmem/slot_press.h"
#include "shmem/slot_turn.h"
#include "shmem/worker_kind.h"
#include "worker/assign.h"

/*
 * How often a scheduler whose roles wait for a place looks for one, ms: at first, because a
 * worker that was idle leaves at once, and later.
 */
#define ASSIGN_NAP_FIRST   25
#define ASSIGN_NAP_WAITING 100

/* For how long a role with much to do lets all roles with little to do go first, ms. */
#define ASSIGN_MUCH_WAITS 1000

/* How often to check whether a role must still yield to others, ms. */
#define ASSIGN_NAP_YIELDS 250

/* The longest delay before a dispatcher that has died is started again, ms. */
#define ASSIGN_BACKOFF_MAX 30000

/* For how long a role yields to others if it has made room, ms. */
#define ASSIGN_YIELDED 300
/*
 * The same if its dispatcher was made to give way, ms.  It doubles each time that this happens
 * in a row.
 */
#define ASSIGN_YIELDS	  1000
#define ASSIGN_YIELDS_MAX 4000

/* How long a handler may run before it is made to give way; doubles as well, ms. */
#define ASSIGN_ALLOWANCE	 INT64CONST(5000)
#define ASSIGN_ALLOWANCE_MAX INT64CONST(60000)

/* After this time a lack of worker slots is reported in the server's log, ms. */
#define ASSIGN_COMPLAINS 5000

/* After this time a role that starves is reported, and again after the second time, ms. */
#define ASSIGN_STARVES 10000
#define ASSIGN_SILENCE (3600 * 1000)

/*
 * Does the role let those with little to do go first?  When it has waited for a long time,
 * only every other dispatcher is for one of them.
 */
static bool
assign_lets_pass(const Roles *roles, const Role *role, TimestampTz now)
{
	return role->much && !(roles->passed &&
						   TimestampDifferenceExceeds(role->waiting_since, now, ASSIGN_MUCH_WAITS));
}

/*
 * Does one role come before another?  "serving" is how many dispatchers it has.
 */
static bool
assign_before(const Roles *roles, Role *role, int serving, Role *other, int others, TimestampTz now)
{
	bool last = assign_lets_pass(roles, role, now);

	if (role->has_work != other->has_work)
		return role->has_work;
	if (!role->has_work)
		return serving < others;
	if (last != assign_lets_pass(roles, other, now))
		return !last;
	return role->waiting_since < other->waiting_since;
}

/*
 * How many dispatchers does a role need?  One for each lane, but lanes that take turns need only
 * one.  It runs them as fast as several would, and several would have to be started first.
 */
static int
assign_needs(Role *role, TimestampTz now, TimestampTz *due)
{
	int needs = 1;
	ListCell *lc;

	foreach(lc, role->managers)
	{
		ProcessManager *pm = lfirst(lc);
		TimestampTz until = pm->lanes > 1 ? slot_turns_until(pm->id) : DT_NOBEGIN;

		if (until > now)
			*due = Min(*due, until);
		else
			needs = Max(needs, pm->lanes);
	}
	return needs;
}

/*
 * May a role get a dispatcher now?  If it only has to wait, *due is moved to the
 * time when it may.
 */
static bool
assign_may_have(Role *role, int serving, bool others, TimestampTz now, TimestampTz *due)
{
	if (role->managers == NIL || role->has_share)
		return false;
	/* Without work, it only gets a place that no other role needs. */
	if (!role->has_work && (others || slot_place_is_scarce()))
		return false;
	/* The last free place counts as needed, because another role may get work. */
	if (role->yields_until > now && (others || slot_place_spare() <= 1))
	{
		*due = Min(*due, role->yields_until);
		*due = Min(*due, TimestampTzPlusMilliseconds(now, ASSIGN_NAP_YIELDS));
		return false;
	}
	if (serving >= assign_needs(role, now, due) || !worker_can_connect(role->role))
		return false;
	if (role->not_before > now)
	{
		*due = Min(*due, role->not_before);
		return false;
	}
	return true;
}

/*
 * The next role to get a dispatcher.  If no role waits, in any database, it is the one
 * with the fewest dispatchers.
 */
static Role *
assign_next(Roles *roles, List *workers, TimestampTz now, TimestampTz *due)
{
	HASH_SEQ_STATUS seq;
	Role *role;
	Role *next = NULL;
	int nexts = 0;
	bool others = slot_place_any_waits();

	hash_seq_init(&seq, roles->table);
	while ((role = hash_seq_search(&seq)) != NULL)
	{
		int serving = role_serving(role, workers);

		if (!assign_may_have(role, serving, others, now, due))
			continue;
		if (next != NULL && !assign_before(roles, role, serving, next, nexts, now))
			continue;
		next = role;
		nexts = serving;
	}
	return next;
}

/*
 * How many roles have work and no dispatcher, and lack only a place or a worker
 * slot?  A role that yields to others does not count.
 */
static uint32
assign_lacking(Roles *roles, TimestampTz now, TimestampTz *since, bool *brief)
{
	HASH_SEQ_STATUS seq;
	Role *role;
	uint32 count = 0;

	hash_seq_init(&seq, roles->table);
	while ((role = hash_seq_search(&seq)) != NULL)
		if (role->managers != NIL && role->has_work && role->not_before <= now &&
			role->yields_until <= now)
		{
			*since = Min(*since, Max(role->waiting_since, role->yields_until));
			*brief |= !role->much;
			count++;
		}
	return count;
}

/*
 * Has a role had work but no dispatcher for a long time, and was this not reported
 * lately?  A role that was made to give way has had its turn.
 */
static bool
assign_is_starving(Role *role, TimestampTz now)
{
	return role->managers != NIL && role->has_work && role->waiting_since != 0 &&
		   role->gave_way == 0 &&
		   TimestampDifferenceExceeds(role->waiting_since, now, ASSIGN_STARVES) &&
		   TimestampDifferenceExceeds(role->said_starving, now, ASSIGN_SILENCE);
}

static void
assign_say_starving(Roles *roles, TimestampTz now)
{
	HASH_SEQ_STATUS seq;
	Role *role;

	hash_seq_init(&seq, roles->table);
	while ((role = hash_seq_search(&seq)) != NULL)
	{
		if (!assign_is_starving(role, now))
			continue;
		role->said_starving = now;
		if (report_may(role->role, REPORT_OUTCOME))
			ereport(LOG,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("role \"%s\" in database \"%s\" has had work for %d seconds, but no "
							"dispatcher",
							GetUserNameFromId(role->role, false), report_database(),
							ASSIGN_STARVES / 1000),
					 errdetail_log("Dispatchers of other roles use all places."),
					 errhint("Raise pm.max_workers and restart the server.")));
	}
}

/*
 * Reports that there is no worker slot for a role.  While workers take turns,
 * that is normal, so it is reported only after some time, and only once as long
 * as it lasts.
 */
static void
assign_complain(TimestampTz since, TimestampTz now)
{
	static TimestampTz complained = 0;

	if (now - since < ASSIGN_COMPLAINS * INT64CONST(1000) ||
		(complained > since && complained <= now))
		return;
	complained = now;
	ereport(LOG,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("pm finds no free background worker slot for a dispatcher in database \"%s\"",
					report_database()),
			 errhint("Raise max_worker_processes and restart the server. Until then pm tries "
					 "again.")));
}

static void
assign_started(Roles *roles, Role *role, StartedWorker *dispatcher)
{
	if (role->has_work)
		roles->passed = !role->much;
	slot_press_allow(dispatcher->slot,
					 Min(ASSIGN_ALLOWANCE << Min(role->gave_way, 8), ASSIGN_ALLOWANCE_MAX));
	role->waiting_since = 0;
	role->has_work = false;
	/* If the dispatcher ends before the next round, the role is looked at again. */
	role->watch.known = false;
}

/*
 * Records in shared memory what roles wait for.  Then other workers make room.
 */
static void
assign_wait(Roles *roles, const PlaceWait *wait, TimestampTz now)
{
	slot_place_wait(wait);
	if (wait->waits > 0 || OidIsValid(wait->role))
		slot_press();
	if (wait->waits > 0 && !wait->for_slot)
		assign_say_starving(roles, now);
}

/*
 * When to look for a place again.
 */
static TimestampTz
assign_look_again(const PlaceWait *wait, TimestampTz now)
{
	long waited = wait->since < now ? TimestampDifferenceMilliseconds(wait->since, now) : 0;

	return TimestampTzPlusMilliseconds(now, Max(ASSIGN_NAP_FIRST, Min(waited, ASSIGN_NAP_WAITING)));
}

void
assign_spare(Roles *roles, List **workers)
{
	HASH_SEQ_STATUS seq;
	Role *role;
	List *without = NIL;
	ListCell *lc;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz due = DT_NOEND;

	hash_seq_init(&seq, roles->table);
	while ((role = hash_seq_search(&seq)) != NULL)
		if (role->managers != NIL && role_serving(role, *workers) == 0)
			without = lappend(without, role);
	if (list_length(without) <= slot_place_spare() && !slot_place_any_waits())
		foreach(lc, without)
		{
			role = lfirst(lc);
			role->has_work = role->has_share = false;
			if (!assign_may_have(role, 0, false, now, &due))
				continue;
			if (worker_start(workers, WORKER_DISPATCHER, MyDatabaseId, role->role, role->lanes) !=
				WORKER_START_STARTED)
				break;
			assign_started(roles, role, llast(*workers));
		}
	list_free(without);
}

TimestampTz
assign_start(Roles *roles, List **workers, TimestampTz due)
{
	TimestampTz now = GetCurrentTimestamp();
	PlaceWait wait = {.since = DT_NOEND};
	Role *role;

	while ((role = assign_next(roles, *workers, now, &due)) != NULL)
	{
		WorkerStart start = worker_start(workers, WORKER_DISPATCHER, MyDatabaseId, role->role,
										 role->lanes);

		if (start == WORKER_START_STARTED)
			assign_started(roles, role, llast(*workers));
		else if (start == WORKER_START_SHARE_TAKEN || start == WORKER_START_ROLE_FULL)
		{
			/* This role gets no more dispatchers in this round, but others may. */
			role->has_share = true;
			/* Its dispatchers in other databases make room for the first one here. */
			if (start == WORKER_START_ROLE_FULL && role->has_work && !OidIsValid(wait.role))
			{
				wait.role = role->role;
				wait.since = Min(wait.since, Max(role->waiting_since, role->yields_until));
			}
		}
		else
		{
			/* No role gets any more.  Roles with work wait for a place; others do not. */
			wait.waits = assign_lacking(roles, now, &wait.since, &wait.brief);
			wait.for_slot = start == WORKER_START_NO_SLOT;
			if (wait.waits > 0 && wait.for_slot)
				assign_complain(wait.since, now);
			break;
		}
	}
	if (wait.waits > 0 || OidIsValid(wait.role))
		due = Min(due, assign_look_again(&wait, now));
	assign_wait(roles, &wait, now);
	return due;
}

/*
 * Makes a role yield to others, after it was made to give way or made room of
 * its own accord.
 */
static void
assign_stay_behind(Role *role, bool gave_way, TimestampTz now)
{
	if (gave_way)
	{
		long ms = (long) ASSIGN_YIELDS << Min(role->gave_way, 8);

		role->yields_until = TimestampTzPlusMilliseconds(now, Min(ms, ASSIGN_YIELDS_MAX));
		role->gave_way++;
	}
	role->yields_until = Max(role->yields_until, TimestampTzPlusMilliseconds(now, ASSIGN_YIELDED));
	role->not_before = now;
}

void
assign_ended(Roles *roles, StartedWorker *dispatcher)
{
	Role *role = hash_search(roles->table, &dispatcher->role, HASH_FIND, NULL);
	TimestampTz now = GetCurrentTimestamp();
	bool gave_way = worker_gave_way(dispatcher);
	bool left = worker_left(dispatcher);

	/* The role has no process manager here since the scheduler started. */
	if (role == NULL)
		return;
	if (!gave_way && left)
		role->gave_way = 0;
	role->unfinished = gave_way || worker_unfinished(dispatcher);
	/* If others wait, a dispatcher that has ended for any reason has made room for them. */
	if (gave_way || slot_place_any_waits())
		assign_stay_behind(role, gave_way, now);
	/* If a dispatcher died in a handler, there is no delay: the call is counted as an attempt. */
	else if (left || worker_lost(dispatcher) ||
			 TimestampDifferenceMilliseconds(dispatcher->started_at, now) > ROLE_BACKOFF)
	{
		role->backoff = ROLE_BACKOFF;
		role->not_before = now;
	}
	else if (role->not_before <= dispatcher->started_at)
	{
		/* It died soon after its start.  Several that died together count once. */
		role->not_before = TimestampTzPlusMilliseconds(dispatcher->started_at, role->backoff);
		role->backoff = Min(role->backoff * 2, ASSIGN_BACKOFF_MAX);
	}
}
