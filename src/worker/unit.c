/*
 * unit.c
 *		Keeps the units that a dispatcher runs.
 *
 * They are loaded when the dispatcher starts, and again whenever registrations,
 * roles or the dispatchers of its role have changed.
 *
 * If a role has several dispatchers, because it has lanes, they share its units
 * by the order of their slots in shared memory.  For a short time, a unit may be
 * in the share of two of them, or of none.  Two do no harm, since a batch takes
 * the unit's lock.  A unit without a dispatcher gets one as soon as the other
 * dispatchers notice the change, for which they are woken.
 */
#include "pm.h"

#include "access/xact.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "dispatch/reading.h"
#include "shmem/slot.h"
#include "shmem/slot_sent.h"
#include "shmem/slot_share.h"
#include "shmem/wakeup.h"
#include "worker/unit.h"
#include "worker/worker.h"

/*
 * After a load, changes that may concern others wait for this many times as long as it took.
 * Any role can make such changes in a loop, by setting its own password for example, and then
 * this dispatcher would do nothing but load.
 */
#define UNIT_LOAD_PAUSE 10

/* At most, ms: a load may have waited for a lock. */
#define UNIT_LOAD_PAUSE_MAX 1000

/* A role or a database has changed since the units were loaded. */
static volatile bool role_changed = false;

static void
unit_role_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	role_changed = true;
}

void
unit_install(void)
{
	CacheRegisterSyscacheCallback(AUTHOID, unit_role_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(DATABASEOID, unit_role_callback, (Datum) 0);
}

/*
 * Has this dispatcher's share changed since the units were loaded?
 */
static bool
unit_share_changed(Units *units)
{
	uint64 generation = slot_share_generation();

	/* The generation counts the dispatchers of all roles, so our share may be as before. */
	if (generation != units->worker_generation)
	{
		int rank = units->rank;
		int colleagues = units->colleagues;

		units->worker_generation = generation;
		units->rank = slot_share_rank(&units->colleagues);
		units->share_changed |= units->rank != rank || units->colleagues != colleagues;
	}
	return units->share_changed;
}

/*
 * Has something changed that may concern these units?
 */
static bool
unit_may_be_stale(const Units *units)
{
	/*
	 * The generation changes at the commit.  The version changes when the
	 * invalidation message arrives, which may be a little later; what was
	 * loaded in between may be old.  So both are compared.
	 */
	return role_changed || units->generation != wakeup_registry_generation();
}

TimestampTz
unit_stale_at(const Units *units)
{
	return unit_may_be_stale(units) ? units->settled : DT_NOEND;
}

/*
 * Has a registration changed since the units were loaded, or the role, or this
 * dispatcher's share?
 */
bool
unit_stale(Units *units)
{
	TimestampTz now;

	/* Until they are loaded again, batches find out that their registration has changed. */
	if (unit_share_changed(units) || units->version != registry_version())
		return true;
	if (!unit_may_be_stale(units))
		return false;
	now = GetCurrentTimestamp();
	/* The clock may have been set back. */
	return now >= units->settled || now < units->loaded_at;
}

/*
 * Compares two units by process manager and lane.
 */
static int
unit_compare(const Unit *unit, const ProcessManager *pm, int lane)
{
	if (unit->pm->id != pm->id)
		return unit->pm->id < pm->id ? -1 : 1;
	return unit->lane < lane ? -1 : unit->lane > lane ? 1 : 0;
}

/*
 * The unit as it was before this load, or NULL.  Both loads are in the same
 * order, so *next goes through "before" once.
 */
static Unit *
unit_known(ProcessManager *pm, int lane, List *before, int *next)
{
	while (*next < list_length(before))
	{
		Unit *known = list_nth(before, *next);
		int order = unit_compare(known, pm, lane);

		if (order > 0)
			break;
		(*next)++;
		/* With another number of lanes, a lane has other keys. */
		if (order == 0)
			return known->pm->lanes == pm->lanes ? known : NULL;
	}
	return NULL;
}

/*
 * A new unit.  What was known about its failures, such as how far the search
 * for a failing event has come, is copied from the old unit.
 */
static Unit *
unit_make(ProcessManager *pm, int lane, Unit *known)
{
	Unit *unit = palloc0(sizeof(Unit));

	unit->pm = pm;
	unit->lane = lane;
	unit->due = DT_NOEND;
	unit->held_nap = UNIT_HELD_MIN;
	unit->wait_nap = UNIT_WAIT_MIN;
	unit->follows = palloc0(sizeof(Follow) * Max(list_length(pm->logs), 1));
	unit->dirty = unit->all = unit->sent = true;
	unit->check = list_length(pm->logs) <= UNIT_FEW;
	unit->sent_count = slot_sent_count(pm->id);
	unit->sent_again = DT_NOEND;
	if (known != NULL)
	{
		/* If it was idle, it stays idle unless it has something to do (unit_work.c). */
		unit->check = known->dirty;
		unit->isolate = known->isolate;
		unit->contention = known->contention;
		unit->servers_faults = known->servers_faults;
		unit->wait_nap = known->wait_nap;
		unit->careful = known->careful;
		unit->passed = known->passed;
		unit->unwritten = known->unwritten;
	}
	return unit;
}

static void
unit_watch(Watches *watches, Unit *unit)
{
	ListCell *lc;

	foreach(lc, unit->pm->logs)
	{
		Follow *follow = &unit->follows[foreach_current_index(lc)];

		follow->unit_dirty = &unit->dirty;
		follow->unit_first = &unit->first;
		watch_add(watches, lfirst(lc), follow);
	}
}

/*
 * Replaces the units by this dispatcher's share of the role's units, in the
 * current memory context.  Returns the highest number of lanes that a process
 * manager has.
 */
static int
unit_build(Units *units, List *managers)
{
	List *before = units->list;
	int next = 0;
	int lanes = 0;
	ListCell *lc;

	units->list = NIL;
	watch_begin(&units->watches);
	foreach(lc, managers)
	{
		ProcessManager *pm = lfirst(lc);

		if (pm->paused || !pm->at_home || pm->handler == NULL)
			continue;
		lanes = Max(lanes, pm->lanes);
		for (int lane = 0; lane < pm->lanes; lane++)
		{
			Unit *unit;

			if ((pm->id + lane) % units->colleagues != units->rank)
				continue;
			unit = unit_make(pm, lane, unit_known(pm, lane, before, &next));
			units->list = lappend(units->list, unit);
			unit_watch(&units->watches, unit);
		}
	}
	watch_end(&units->watches);
	return lanes;
}

/*
 * Reads the registrations and builds the units again.  Returns what
 * unit_build() returns.
 */
static int
unit_replace(Units *units)
{
	MemoryContext fresh = AllocSetContextCreate(TopMemoryContext, "pm units",
												ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(fresh);
	int lanes;

	/* A change while they are read makes them stale again. */
	units->version = registry_version();
	lanes = unit_build(units, registry_load(slot_my_role()));
	MemoryContextSwitchTo(old);

	/* Not earlier, because the new units copy from the old ones. */
	if (units->context != NULL)
		MemoryContextDelete(units->context);
	units->context = fresh;
	units->loaded = true;
	return lanes;
}

/*
 * If there is something to load, runs in a transaction of its own.
 */
bool
unit_load(Units *units)
{
	TimestampTz began = GetCurrentTimestamp();
	int lanes = 0;

	if (units->context == NULL)
		units->colleagues = 1;
	else if (!unit_stale(units))
		return true;

	/* From here on, another change makes the units stale again. */
	role_changed = false;
	(void) unit_share_changed(units);
	units->share_changed = false;
	units->generation = wakeup_registry_generation();

	/* Forget kept events: which were read depends on the types that units wanted. */
	reading_forget();

	worker_transaction();
	if (worker_extension() && worker_can_connect(slot_my_role()))
		lanes = unit_replace(units);
	CommitTransactionCommand();
	units->loaded_at = GetCurrentTimestamp();
	units->settled = units->loaded_at + Min((units->loaded_at - began) * UNIT_LOAD_PAUSE,
											UNIT_LOAD_PAUSE_MAX * INT64CONST(1000));

	/* There is one dispatcher for each lane, at most. */
	return units->rank < lanes;
}

/*
 * Costs no more than a comparison where nothing was sent.
 */
void
unit_look_sent(Unit *unit, TimestampTz now)
{
	uint64 count;

	if (unit->pm->kind != HANDLER_INSTANCE)
		return;
	/* Read the count before the queue, so that what is sent meanwhile is not missed. */
	count = slot_sent_count(unit->pm->id);
	if (count == unit->sent_count && unit->sent_again > now)
		return;
	unit->sent_count = count;
	unit->sent_again = DT_NOEND;
	unit->sent = unit->dirty = true;
}

/*
 * Finds out which logs the next batch must read.  False: all of them, which is
 * best as long as they are few.
 */
bool
unit_moved(Unit *unit, Bitmapset **logs)
{
	int count = list_length(unit->pm->logs);

	*logs = NULL;
	if (unit->all || count <= UNIT_FEW)
		return false;
	for (int i = 0; i < count; i++)
		if (unit->follows[i].moved)
			*logs = bms_add_member(*logs, i);
	return true;
}

/*
 * Called after a batch has read all logs, or those in "logs".  Those in "rest"
 * have more for the next one.
 */
void
unit_looked(Unit *unit, bool all, const Bitmapset *logs, const Bitmapset *rest)
{
	int which = -1;

	if (all)
	{
		unit->all = false;
		for (int i = 0; i < list_length(unit->pm->logs); i++)
			unit->follows[i].moved = false;
	}
	else
		while ((which = bms_next_member(logs, which)) >= 0)
			unit->follows[which].moved = false;
	which = -1;
	while ((which = bms_next_member(rest, which)) >= 0)
		unit->follows[which].moved = true;
}

/*
 * Makes a unit poll: another session holds a mark back, or holds a lock, and
 * may end without waking us.
 */
void
unit_poll(Unit *unit)
{
	unit->polling = true;
	unit->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), unit->held_nap);
	unit->held_nap = Min(unit->held_nap * 2, UNIT_HELD_MAX);
}

/*
 * Makes a unit wait: something is wrong with one of several logs.  Writers of
 * the other logs wake us meanwhile.
 */
void
unit_wait(Unit *unit)
{
	unit->polling = true;
	unit->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), unit->wait_nap);
	unit->wait_nap = Min(unit->wait_nap * 2, UNIT_WAIT_MAX);
}
