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
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "base/guc.h"
#include "dispatch/reading.h"
#include "log/log.h"
#include "log/log_open.h"
#include "log/sequence.h"
#include "worker/unit.h"
#include "worker/worker.h"

/* With so many logs, a batch looks at all of them. */
#define UNIT_FEW 64

/* A log without a slot asks for one again after this time, ms. */
#define UNIT_ASK 10000

/* A followed log: its last position when last looked at. */
typedef struct Watch
{
	char *log;
	bool watching; /* false while its table is locked: not known yet */
	Oid relid;
	Oid seqid;
	LogRef slot;  /* none: nobody wakes us for it */
	uint64 wakes; /* of the slot when the sequence was last looked at */
	int64 last;
	List *follows; /* of Follow */
} Watch;

/* A watch by its log's name. */
typedef struct WatchEntry
{
	char log[SLOT_LOG_NAME]; /* hash key */
	Watch *watch;
} WatchEntry;

List *Units = NIL;

static MemoryContext units_context;
static List *watches = NIL;
static uint64 units_version = 0;
static uint64 units_generation = 0;
static bool incomplete = false; /* some log is not watched yet */
static volatile bool role_changed = false;
static uint64 worker_generation = 0;
static bool share_changed = false;
static int rank = 0;	   /* among this role's dispatchers, */
static int colleagues = 1; /* of so many */

static void
unit_role_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	role_changed = true;
}

/*
 * Begins to watch a log, unless its table is locked just now.
 */
static void
unit_begin_watch(Watch *watch)
{
	bool locked;
	PmLog *log = log_get_nowait(watch->log, &locked);

	incomplete |= locked;
	if (log == NULL)
		return;
	watch->watching = true;
	watch->relid = log->relid;
	watch->seqid = log->seqid;
	slot_log_interest(watch->relid, &watch->slot);
}

static void
unit_watch(HTAB *known, Unit *unit, int which)
{
	char *name = list_nth(unit->pm->logs, which);
	bool found;
	WatchEntry *entry = hash_search(known, name, HASH_ENTER, &found);

	if (!found)
	{
		entry->watch = palloc0(sizeof(Watch));
		entry->watch->log = name;
		entry->watch->wakes = PG_UINT64_MAX; /* not looked at yet */
		watches = lappend(watches, entry->watch);
		unit_begin_watch(entry->watch);
	}
	unit->follows[which].unit = unit;
	entry->watch->follows = lappend(entry->watch->follows, &unit->follows[which]);
}

static HTAB *
unit_watches(void)
{
	HASHCTL ctl;

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = SLOT_LOG_NAME;
	ctl.entrysize = sizeof(WatchEntry);
	ctl.hcxt = CurrentMemoryContext;
	return hash_create("pm watches", 64, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

/*
 * A unit, with what was known of it.  "before" has the units known before, from
 * *next on, in the same order.
 */
static Unit *
unit_make(ProcessManager *pm, int lane, List *before, int *next)
{
	Unit *unit = palloc0(sizeof(Unit));

	unit->pm = pm;
	unit->lane = lane;
	unit->due = DT_NOEND;
	unit->held_nap = UNIT_HELD_MIN;
	unit->wait_nap = UNIT_WAIT_MIN;
	unit->follows = palloc0(sizeof(Follow) * Max(list_length(pm->logs), 1));
	unit->dirty = unit->all = true;
	for (; *next < list_length(before); (*next)++)
	{
		Unit *known = list_nth(before, *next);

		if (known->pm->id > pm->id || (known->pm->id == pm->id && known->lane > lane))
			break;
		if (known->pm->id == pm->id && known->lane == lane && known->pm->lanes == pm->lanes)
		{
			unit->isolate = known->isolate;
			unit->at_once = known->at_once;
			unit->conflicts = known->conflicts;
			unit->servers_faults = known->servers_faults;
			unit->wait_nap = known->wait_nap;
		}
	}
	return unit;
}

/*
 * Do others run some of the units, or have they ceased to?
 */
static bool
unit_share_changed(void)
{
	uint64 generation = pg_atomic_read_u64(&Slots->worker_generation);
	int was_rank = rank;
	int was = colleagues;

	if (generation != worker_generation)
	{
		worker_generation = generation;
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
	List *managers;
	List *before = Units;
	HTAB *known;
	int next = 0;
	int lanes = 0;
	ListCell *lc;

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

	worker_transaction();
	if (!worker_extension() || !worker_can_connect(MyWorkerSlot->role))
	{
		CommitTransactionCommand();
		worker_leave();
	}
	fresh = AllocSetContextCreate(TopMemoryContext, "pm units", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(fresh);
	units_version = registry_version();
	managers = registry_load(MyWorkerSlot->role);
	/* All are run after this, and find what the writers have not said meanwhile. */
	slot_no_interest();
	Units = NIL;
	watches = NIL;
	known = unit_watches();
	foreach(lc, managers)
	{
		ProcessManager *pm = lfirst(lc);

		if (pm->paused || !pm->at_home)
			continue;
		lanes = Max(lanes, pm->lanes);
		for (int lane = 0; lane < pm->lanes; lane++)
		{
			Unit *unit;

			if ((pm->id + lane) % colleagues != rank)
				continue;
			unit = unit_make(pm, lane, before, &next);
			Units = lappend(Units, unit);
			for (int i = 0; i < list_length(pm->logs); i++)
				unit_watch(known, unit, i);
		}
	}
	hash_destroy(known);
	MemoryContextSwitchTo(old);
	if (units_context != NULL)
		MemoryContextDelete(units_context);
	units_context = fresh;
	CommitTransactionCommand();
	/* There is a dispatcher for each lane, at most. */
	if (rank >= lanes)
		worker_leave();
}

/*
 * Does a log have to be looked at?  Not if no writer of it has ended since.  What
 * no writer's end tells of is looked for now and then ("all").
 */
static bool
unit_may_have_moved(Watch *watch, bool all)
{
	if (all || !watch->watching)
		return true;
	if (watch->slot.slot == NULL)
		return false;
	return !slot_log_valid(&watch->slot) ||
		   pg_atomic_read_u64(&watch->slot.slot->wakes) != watch->wakes;
}

/*
 * Looks whether a log has moved.  It may have lost its slot, and with it what we
 * asked for; with "ask", also one that had none may get one now.
 */
static bool
unit_look_at(Watch *watch, bool ask)
{
	Relation sequence;
	int64 last;

	if (!watch->watching)
		unit_begin_watch(watch);
	else if (watch->slot.slot != NULL ? !slot_log_valid(&watch->slot) : ask)
		slot_log_interest(watch->relid, &watch->slot);

	/* Read before the sequence. */
	if (watch->slot.slot != NULL)
		watch->wakes = pg_atomic_read_u64(&watch->slot.slot->wakes);
	pg_memory_barrier();
	sequence = OidIsValid(watch->seqid) ? sequence_open_nowait(watch->seqid) : NULL;

	/* A sequence that cannot be read: let the batch find out why, in its time. */
	if (sequence == NULL)
		return true;
	last = sequence_read(sequence);
	relation_close(sequence, AccessShareLock);
	if (last == watch->last)
		return false;
	watch->last = last;
	return true;
}

/*
 * Has it been so long?  Then it begins again.
 */
static bool
unit_time_again(TimestampTz *since, TimestampTz now, int ms)
{
	if (now >= *since && !TimestampDifferenceExceeds(*since, now, ms))
		return false;
	*since = now;
	return true;
}

/*
 * Looks which logs have moved, all that have.  Costs a page read a log that may
 * have, no snapshot.
 */
void
unit_look(void)
{
	static TimestampTz looked_at = 0;
	static TimestampTz asked_at = 0;
	TimestampTz now = GetCurrentTimestamp();
	bool all = unit_time_again(&looked_at, now, guc_poll_interval);
	bool ask = all && unit_time_again(&asked_at, now, UNIT_ASK);
	bool begun = false;
	ListCell *lc;

	incomplete = false;
	foreach(lc, watches)
	{
		Watch *watch = lfirst(lc);
		ListCell *lc2;

		if (!unit_may_have_moved(watch, all))
			continue;
		if (!begun)
			worker_transaction();
		begun = true;
		if (!unit_look_at(watch, ask))
			continue;
		foreach(lc2, watch->follows)
		{
			Follow *follow = lfirst(lc2);

			follow->moved = true;
			follow->unit->dirty = true;
		}
	}
	if (begun)
		CommitTransactionCommand();
}

/*
 * Which logs are to be looked at?  False: all of them, which is best as long as
 * they are few.
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
 * A batch has looked at all logs, or at some, and found more in the rest.
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

/*
 * Something is wrong with one of several logs.  The others wake us meanwhile.
 */
void
unit_wait(Unit *unit)
{
	unit->polling = true;
	unit->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), unit->wait_nap);
	unit->wait_nap = Min(unit->wait_nap * 2, UNIT_WAIT_MAX);
}
