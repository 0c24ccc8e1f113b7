/*
 * slot_place.c
 *		Shares places and worker slots among the workers that need them.
 *
 * Two things are scarce.  One is places: a place is the permission to run a
 * dispatcher, and there are pm.max_workers of them.  The other is the server's
 * worker slots (max_worker_processes), which schedulers and the workers of other
 * extensions need too.  A scheduler records how many of its roles have work but
 * lack a place or a worker slot; the launcher records whether a database lacks a
 * scheduler.  While any of them waits:
 *
 * - As many idle workers leave as are needed.  Dispatchers that have run for a
 *	 while leave too, at the end of their batch.
 * - One role never takes the last place if there are other roles.  When a role has
 *	 its share of places in some databases and needs a place in another database,
 *	 its own dispatchers make room.
 * - When no worker leaves of its own accord, one dispatcher is made to leave
 *	 (slot_press.c).
 *
 * Of the idle dispatchers, the one that has been idle for the longest time is woken first,
 * because its role will need it last.
 */
#include "pm.h"

#include "utils/timestamp.h"

#include "base/guc.h"
#include "shmem/slot_database.h"
#include "shmem/slot_memory.h"
#include "shmem/slot_place.h"
#include "shmem/slot_place_count.h"
#include "shmem/slot_wake.h"

/* The workers that may make room are woken again after this time, ms. */
#define PLACE_TELL 100

/* Worker slots count as scarce for this long after none was free, ms. */
#define PLACE_SCARCE 10000

bool
slot_place_free(Oid role, bool *share_taken)
{
	int taken = 0;

	Assert(LWLockHeldByMe(&Slots->lock));
	for (int i = 0; i < Slots->nworkers; i++)
		taken += slot_place_taken(&Slots->workers[i]) ? 1 : 0;
	/* The last place is kept for the other roles, if there are any. */
	*share_taken = guc_max_workers > 1 && slot_place_of_role(role) >= guc_max_workers - 1 &&
				   slot_database_others(role);
	return taken < guc_max_workers && !*share_taken;
}

/*
 * Wakes this many of the dispatchers that have been idle for the longest time.  Returns
 * whether there are enough of them.
 */
static bool
slot_place_wake_idle(int count)
{
	uint64 woken[SLOT_WAKE_WORDS] = {0};

	for (; count > 0; count--)
	{
		int next = -1;

		for (int i = 0; i < Slots->nworkers; i++)
		{
			WorkerSlot *slot = &Slots->workers[i];

			if (slot_place_is_dispatcher(slot) && slot->now.activity == ACTIVITY_IDLE &&
				!slot->makes_room && (woken[i / 64] & (UINT64CONST(1) << (i % 64))) == 0 &&
				(next < 0 || slot->now.since < Slots->workers[next].now.since))
				next = i;
		}
		if (next < 0)
			return false;
		woken[next / 64] |= UINT64CONST(1) << (next % 64);
		slot_wake(next);
	}
	return true;
}

/*
 * Wakes workers that may make room: at first only as many idle dispatchers as are needed.
 * These may have received work meanwhile, so later all are woken.
 */
static void
slot_place_tell(bool first)
{
	PlaceCount count;
	bool enough = false;

	if (first && !MyWorkerSlot->waits_slot && !OidIsValid(MyWorkerSlot->waits_role))
	{
		LWLockAcquire(&Slots->lock, LW_SHARED);
		slot_place_count(&count);
		enough = slot_place_wake_idle(count.wanted - count.places);
		LWLockRelease(&Slots->lock);
	}
	if (!enough)
		slot_wake_kind(WORKER_DISPATCHER, InvalidOid);
	if (MyWorkerSlot->waits_slot)
		slot_wake_kind(WORKER_SCHEDULER, InvalidOid);
}

/*
 * Records that this worker wants to start "waits" workers, but lacks places, or
 * worker slots, for them; 0 means that it waits no more.  Unless "role" is
 * InvalidOid, the worker wants to start one more dispatcher for this role, which
 * has its share of places but no dispatcher in this database.  The workers that may
 * make room are woken at once, and again after some time.
 */
void
slot_place_wait(const PlaceWait *wait)
{
	static TimestampTz told = 0;
	TimestampTz now = GetCurrentTimestamp();
	uint32 before = slot_memory_waits(MyWorkerSlot);
	bool brief = wait->brief && wait->waits > 0;
	bool more;

	if (wait->waits == 0 && !OidIsValid(wait->role) && before == 0)
		return;
	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	MyWorkerSlot->waits = wait->waits;
	MyWorkerSlot->waits_slot = wait->for_slot;
	MyWorkerSlot->waits_role = wait->role;
	MyWorkerSlot->waits_since = wait->since;
	pg_atomic_fetch_add_u32(&Slots->waiting, slot_memory_waits(MyWorkerSlot) - before);
	if (brief != MyWorkerSlot->waits_brief)
		pg_atomic_fetch_add_u32(&Slots->waiting_brief, brief ? 1 : -1);
	MyWorkerSlot->waits_brief = brief;
	LWLockRelease(&Slots->lock);
	more = slot_memory_waits(MyWorkerSlot) > before;
	if (slot_memory_waits(MyWorkerSlot) == 0 ||
		(!more && now >= told && !TimestampDifferenceExceeds(told, now, PLACE_TELL)))
		return;
	told = now;
	slot_place_tell(more);
}

/*
 * Must this worker, which could leave now, make room for a worker that waits to be
 * started?  If this returns true, it counts as leaving, and must leave.
 */
bool
slot_place_make_room(void)
{
	PlaceCount count;
	TimestampTz since;

	if (!slot_place_any_waits())
		return false;
	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	slot_place_count(&count);
	if (MyWorkerSlot->kind == WORKER_DISPATCHER ?
			slot_place_lacking(&count) || slot_place_role_waits(MyWorkerSlot->role, &since) :
			count.leaving < count.wanted_slots)
		MyWorkerSlot->makes_room = true;
	LWLockRelease(&Slots->lock);
	return MyWorkerSlot->makes_room;
}

/*
 * Does any worker wait for a place or a worker slot?
 */
bool
slot_place_any_waits(void)
{
	return pg_atomic_read_u32(&Slots->waiting) > 0;
}

/*
 * Does any worker wait for a place for a role that has only little to do?
 */
bool
slot_place_brief_waits(void)
{
	return pg_atomic_read_u32(&Slots->waiting_brief) > 0;
}

/*
 * Does this worker wait for a place or a worker slot for a worker that it wants
 * to start?
 */
bool
slot_place_waits(void)
{
	return MyWorkerSlot->waits > 0;
}

/*
 * Has any worker waited for this long?
 */
bool
slot_place_waited(int64 ms)
{
	PlaceCount count;

	if (!slot_place_any_waits())
		return false;
	LWLockAcquire(&Slots->lock, LW_SHARED);
	slot_place_count(&count);
	LWLockRelease(&Slots->lock);
	return count.since <= GetCurrentTimestamp() - ms * 1000;
}

/*
 * How many places are free?
 */
int
slot_place_spare(void)
{
	PlaceCount count;

	LWLockAcquire(&Slots->lock, LW_SHARED);
	slot_place_count(&count);
	LWLockRelease(&Slots->lock);
	return count.places;
}

static inline bool
slot_place_lacks_slot(WorkerSlot *slot)
{
	return slot->in_use && slot->kind == WORKER_SCHEDULER && slot->waits > 0 && slot->waits_slot;
}

/*
 * Does another scheduler wait for a worker slot, and has it waited for longer than
 * this one?  If schedulers held all worker slots, no dispatcher could start.
 */
bool
slot_place_others_first(void)
{
	bool found = false;

	LWLockAcquire(&Slots->lock, LW_SHARED);
	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		found |= slot_place_lacks_slot(slot) && slot != MyWorkerSlot &&
				 slot->waits_since < MyWorkerSlot->waits_since;
	}
	LWLockRelease(&Slots->lock);
	return found;
}

/*
 * Does a scheduler wait for a worker slot?  Its dispatcher is started before
 * another database gets a scheduler.
 */
bool
slot_place_schedulers_wait(void)
{
	bool found = false;

	LWLockAcquire(&Slots->lock, LW_SHARED);
	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		found |= slot_place_lacks_slot(slot);
	}
	LWLockRelease(&Slots->lock);
	return found;
}

/*
 * Records that no worker slot was free.  For some time from now on, no worker is
 * started for a role or a database that has nothing to do.
 */
void
slot_place_scarce(void)
{
	pg_atomic_write_u64(&Slots->scarce_until,
						(uint64) TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PLACE_SCARCE));
}

bool
slot_place_is_scarce(void)
{
	TimestampTz until = (TimestampTz) pg_atomic_read_u64(&Slots->scarce_until);
	TimestampTz now = GetCurrentTimestamp();

	/* The clock may have been set back. */
	return until > now && until <= TimestampTzPlusMilliseconds(now, PLACE_SCARCE);
}
