/*
 * unit.c
 *		What a dispatcher knows of the units it runs and the logs they follow.
 *
 * Loaded when the registrations change.  A followed log is watched: this
 * worker's bit in its slot asks for wake-ups, and its sequence tells whether
 * it has moved since it was last looked at.
 *
 * Where a role has several dispatchers, for the sake of lanes, they share out
 * its units by their order in shared memory.  For a moment two may think that a
 * unit is theirs, or none: the first is what the unit's lock is for, and the
 * last to know is woken.
 */
#include "pm.h"

#include "access/relation.h"
#include "access/xact.h"
#include "crew.h"
#include "guc.h"
#include "log.h"
#include "reading.h"
#include "sequence.h"
#include "unit.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

/* A followed log: its last position when last looked at. */
typedef struct Watch
{
	char	   *log;
	bool		watching;		/* false while its table is locked: not known yet */
	Oid			relid;
	Oid			seqid;
	LogSlot    *slot;			/* NULL: nobody wakes us for it */
	uint64		wakes;			/* of the slot when the sequence was last looked at */
	int64		last;
	List	   *units;
} Watch;

List	   *Units = NIL;

static MemoryContext units_context;
static List *watches = NIL;
static uint64 units_version = 0;
static uint64 units_generation = 0;
static uint64 log_generation = 0;
static bool incomplete = false; /* some log is not watched yet */
static volatile bool role_changed = false;
static uint64 crew_generation = 0;
static bool share_changed = false;
static int	rank = 0;			/* among this role's dispatchers, */
static int	colleagues = 1;		/* of so many */

static void
unit_role_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	role_changed = true;
}

static void
unit_ask_wakeup(Watch *watch)
{
	watch->slot = slot_log(watch->relid, true);
	if (watch->slot != NULL)
		slot_log_interest(watch->slot);
}

/*
 * Begins to watch a log, unless its table is locked just now.
 */
static void
unit_begin_watch(Watch *watch)
{
	bool		locked;
	PmLog	   *log = log_get_nowait(watch->log, &locked);

	incomplete |= locked;
	if (log == NULL)
		return;
	watch->watching = true;
	watch->relid = log->relid;
	watch->seqid = log->seqid;
	unit_ask_wakeup(watch);
}

static void
unit_watch(Unit *unit, char *name)
{
	ListCell   *lc;
	Watch	   *watch = NULL;

	foreach(lc, watches)
		if (strcmp(((Watch *) lfirst(lc))->log, name) == 0)
			watch = lfirst(lc);
	if (watch == NULL)
	{
		watch = palloc0(sizeof(Watch));
		watch->log = name;
		watches = lappend(watches, watch);
		unit_begin_watch(watch);
	}
	watch->units = lappend(watch->units, unit);
}

/*
 * Do others run some of the units, or have they ceased to?
 */
static bool
unit_share_changed(void)
{
	uint64		generation = pg_atomic_read_u64(&Slots->crew_generation);
	int			was_rank = rank;
	int			was = colleagues;

	if (generation != crew_generation)
	{
		crew_generation = generation;
		rank = slot_rank(&colleagues);
		share_changed |= rank != was_rank || colleagues != was;
	}
	return share_changed;
}

/*
 * Has a registration changed since, or the role, or this dispatcher's share?
 */
bool
unit_stale(void)
{
	return unit_share_changed() || role_changed || units_version != registry_version() ||
		units_generation != slot_registry_generation();
}

/*
 * Loads this role's units when the registrations have changed.  What was known
 * of a unit that is still there (how far the search for a failing event has
 * come) is kept.
 */
void
unit_load(void)
{
	MemoryContext fresh;
	MemoryContext old;
	List	   *managers;
	List	   *before = Units;
	int			lanes = 0;
	ListCell   *lc;

	/*
	 * The generation tells of a commit at once, the version when its
	 * invalidation has come, which may be a little later.
	 */
	if (units_context != NULL && !unit_stale())
		return;
	role_changed = false;
	(void) unit_share_changed();
	share_changed = false;
	units_generation = slot_registry_generation();
	reading_forget();

	crew_transaction();
	if (!crew_extension() || !crew_can_connect(MyWorkerSlot->role))
	{
		CommitTransactionCommand();
		crew_leave();
	}
	fresh = AllocSetContextCreate(TopMemoryContext, "pm units", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(fresh);
	units_version = registry_version();
	managers = registry_load(MyWorkerSlot->role);
	Units = NIL;
	watches = NIL;
	foreach(lc, managers)
	{
		ProcessManager *pm = lfirst(lc);

		if (pm->paused || !pm->at_home)
			continue;
		lanes = Max(lanes, pm->lanes);
		for (int lane = 0; lane < pm->lanes; lane++)
		{
			Unit	   *unit;
			ListCell   *lc2;

			if ((pm->id + lane) % colleagues != rank)
				continue;
			unit = palloc0(sizeof(Unit));
			unit->pm = pm;
			unit->lane = lane;
			unit->due = DT_NOEND;
			unit->held_nap = UNIT_HELD_MIN;
			unit->wait_nap = UNIT_WAIT_MIN;
			foreach(lc2, before)
			{
				Unit	   *known = lfirst(lc2);

				if (known->pm->id == pm->id && known->pm->lanes == pm->lanes && known->lane == lane)
				{
					unit->isolate = known->isolate;
					unit->at_once = known->at_once;
					unit->conflicts = known->conflicts;
					unit->servers_faults = known->servers_faults;
					unit->wait_nap = known->wait_nap;
				}
			}
			unit->dirty = true;
			Units = lappend(Units, unit);
			foreach(lc2, pm->logs)
				unit_watch(unit, lfirst(lc2));
		}
	}
	MemoryContextSwitchTo(old);
	if (units_context != NULL)
		MemoryContextDelete(units_context);
	units_context = fresh;
	CommitTransactionCommand();
	/* There is a dispatcher for each lane, at most. */
	if (rank >= lanes)
		crew_leave();
}

/*
 * Are all of them to be run anyway?
 */
static bool
unit_all_dirty(List *units)
{
	ListCell   *lc;

	foreach(lc, units)
		if (!((Unit *) lfirst(lc))->dirty)
			return false;
	return true;
}

/*
 * Does a log have to be looked at?  Not if no writer of it has ended since, nor
 * for units that run anyway.  What no writer's end tells of is looked for now
 * and then ("all").
 */
static bool
unit_may_have_moved(Watch *watch, bool all)
{
	uint64		wakes;

	if (watch->watching && unit_all_dirty(watch->units))
		return false;
	if (!watch->watching || watch->slot == NULL)
		return true;
	/* Read before the sequence. */
	wakes = pg_atomic_read_u64(&watch->slot->wakes);
	if (!all && wakes == watch->wakes)
		return false;
	watch->wakes = wakes;
	pg_memory_barrier();
	return true;
}

/*
 * Looks which logs have moved.  Costs a page read a log that may have, no
 * snapshot.
 */
void
unit_look(void)
{
	static TimestampTz looked_at = 0;
	TimestampTz now = GetCurrentTimestamp();
	bool		all = now < looked_at || TimestampDifferenceExceeds(looked_at, now, guc_poll_interval);
	bool		begun = false;
	ListCell   *lc;

	if (all)
		looked_at = now;
	/* A log may have lost its slot, and with it what we asked for. */
	if (log_generation != pg_atomic_read_u64(&Slots->log_generation))
	{
		foreach(lc, watches)
			if (((Watch *) lfirst(lc))->watching)
				unit_ask_wakeup(lfirst(lc));
		log_generation = pg_atomic_read_u64(&Slots->log_generation);
		all = true;
	}

	incomplete = false;
	foreach(lc, watches)
	{
		Watch	   *watch = lfirst(lc);
		Relation	sequence;
		int64		last;
		ListCell   *lc2;

		if (!unit_may_have_moved(watch, all))
			continue;
		if (!begun)
			crew_transaction();
		begun = true;
		if (!watch->watching)
			unit_begin_watch(watch);
		sequence = OidIsValid(watch->seqid) ? sequence_open_nowait(watch->seqid) : NULL;

		/* A sequence that cannot be read: let the batch find out why, in its time. */
		if (sequence != NULL)
		{
			last = sequence_read(sequence);
			relation_close(sequence, AccessShareLock);
			if (last == watch->last)
				continue;
			watch->last = last;
		}
		foreach(lc2, watch->units)
			((Unit *) lfirst(lc2))->dirty = true;
	}
	if (begun)
		CommitTransactionCommand();
}

/*
 * Is there a log that is not watched yet, since its table is locked?
 */
bool
unit_incomplete(void)
{
	return incomplete;
}

void
unit_install(void)
{
	CacheRegisterSyscacheCallback(AUTHOID, unit_role_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(DATABASEOID, unit_role_callback, (Datum) 0);
}

/*
 * Somebody is in the way, and may go without waking us.
 */
void
unit_poll(Unit *unit)
{
	unit->polling = true;
	unit->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), unit->held_nap);
	unit->held_nap = Min(unit->held_nap * 2, UNIT_HELD_MAX);
}
