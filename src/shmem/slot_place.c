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
 *	 ("pressed").  First it is asked to end its batch after the current event, then
 *	 its handler is cancelled, and at last its session is ended.  The work of the
 *	 cancelled handler is undone, and does not count as an attempt.
 *
 * The dispatcher that is pressed belongs to a role that has more than its share of
 * the places.  If there is no such role, it is one whose handler has run for
 * longer than its allowance; the scheduler doubles the allowance each time.
 * Otherwise it is the dispatcher that began its batch last, so that the others
 * make progress.
 *
 * A dispatcher that cannot be ended, because its code never checks for interrupts,
 * counts as a place of its own role, but takes no place from other roles.
 */
#include "pm.h"

#include <signal.h>

#include "utils/timestamp.h"

#include "base/guc.h"
#include "shmem/slot_database.h"
#include "shmem/slot_memory.h"
#include "shmem/slot_place.h"
#include "shmem/slot_wake.h"

/* How long a worker must have waited to be started before a dispatcher is pressed, ms. */
#define PLACE_PATIENCE 600

/* A dispatcher is only pressed when it has been busy with its batch for this long, ms. */
#define PLACE_MIN_RUN 400

/*
 * After a dispatcher was asked to leave: when its handler is cancelled, its session is
 * ended, and it is given up, ms.
 */
#define PLACE_CANCEL  100
#define PLACE_END	  400
#define PLACE_GIVE_UP 1500

/* The workers that may make room are woken again after this time, ms. */
#define PLACE_TELL 200

/* Worker slots count as scarce for this long after none was free, ms. */
#define PLACE_SCARCE 10000

typedef enum PlacePressed
{
	PRESSED_ASKED,
	PRESSED_CANCELLED,
	PRESSED_ENDED,
	PRESSED_GIVEN_UP
} PlacePressed;

/* How many places and worker slots are free, and how many are waited for. */
typedef struct PlaceCount
{
	int places;		   /* places that are free, or about to be */
	int leaving;	   /* worker slots that are about to be free */
	int wanted;		   /* places that are waited for */
	int wanted_slots;  /* worker slots that are waited for */
	int wanted_roles;  /* of these two, those that schedulers wait for */
	TimestampTz since; /* when the first of these waits began, DT_NOEND: there is none */
} PlaceCount;

static inline bool
slot_place_is_dispatcher(WorkerSlot *slot)
{
	return slot->in_use && slot->kind == WORKER_DISPATCHER;
}

/*
 * Does the worker take a place?  One that cannot be ended does not.
 */
static inline bool
slot_place_taken(WorkerSlot *slot)
{
	return slot_place_is_dispatcher(slot) && slot->pressed != PRESSED_GIVEN_UP;
}

/*
 * The caller holds Slots->lock, as for all static functions below.
 */
static void
slot_place_count(PlaceCount *count)
{
	memset(count, 0, sizeof(*count));
	count->places = guc_max_workers;
	count->since = DT_NOEND;
	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		if (!slot->in_use)
			continue;
		/* A dispatcher that makes room still has its place, but counts as gone. */
		if (slot_place_taken(slot) && !slot->makes_room)
			count->places--;
		if (slot->makes_room && slot->pressed != PRESSED_GIVEN_UP)
			count->leaving++;
		/* "waits_role" does not count, because that wait only concerns the role's own places. */
		if (slot->waits == 0)
			continue;
		if (slot->waits_slot)
			count->wanted_slots += slot->waits;
		else
			count->wanted += slot->waits;
		if (slot->kind == WORKER_SCHEDULER)
			count->wanted_roles += slot->waits;
		count->since = Min(count->since, slot->waits_since);
	}
}

static inline bool
slot_place_lacking(PlaceCount *count)
{
	return count->places < count->wanted || count->leaving < count->wanted_slots;
}

/*
 * Does a role wait in some database for one of its own places?  *since is set
 * to the time when the wait began.
 */
static bool
slot_place_role_waits(Oid role, TimestampTz *since)
{
	int waits = 0;

	*since = DT_NOEND;
	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		if (slot->in_use && slot->waits_role == role)
		{
			waits++;
			*since = Min(*since, slot->waits_since);
		}
		else if (slot_place_taken(slot) && slot->role == role && slot->makes_room)
			waits--;
	}
	return waits > 0;
}

/*
 * How many dispatchers does a role have, in all databases?
 */
static int
slot_place_of_role(Oid role)
{
	int count = 0;

	for (int i = 0; i < Slots->nworkers; i++)
		if (slot_place_is_dispatcher(&Slots->workers[i]) && Slots->workers[i].role == role)
			count++;
	return count;
}

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
 * Records that this worker wants to start "waits" workers, but lacks places, or
 * worker slots, for them; 0 means that it waits no more.  Unless "role" is
 * InvalidOid, the worker wants to start one more dispatcher for this role, which
 * has its share of places but no dispatcher in this database.  The workers that may
 * make room are woken at once, and again after some time.
 */
void
slot_place_wait(uint32 waits, bool for_slot, Oid role, TimestampTz since)
{
	static TimestampTz told = 0;
	TimestampTz now = GetCurrentTimestamp();
	uint32 before = slot_memory_waits(MyWorkerSlot);
	bool more;

	if (waits == 0 && !OidIsValid(role) && before == 0)
		return;
	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	MyWorkerSlot->waits = waits;
	MyWorkerSlot->waits_slot = for_slot;
	MyWorkerSlot->waits_role = role;
	MyWorkerSlot->waits_since = since;
	pg_atomic_fetch_add_u32(&Slots->waiting, slot_memory_waits(MyWorkerSlot) - before);
	LWLockRelease(&Slots->lock);
	more = slot_memory_waits(MyWorkerSlot) > before;
	if (slot_memory_waits(MyWorkerSlot) == 0 ||
		(!more && now >= told && !TimestampDifferenceExceeds(told, now, PLACE_TELL)))
		return;
	told = now;
	slot_wake_kind(WORKER_DISPATCHER, InvalidOid);
	if (for_slot)
		slot_wake_kind(WORKER_SCHEDULER, InvalidOid);
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
 * Takes the next step with dispatchers that were asked to give way but have not
 * done so.  A commit is not interrupted, because it may wait for a synchronous
 * standby.
 */
static void
slot_place_insist(TimestampTz now)
{
	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];
		int64 ms;

		if (!slot_place_is_dispatcher(slot) || slot->pressed_at == 0 || slot->pid == 0 ||
			slot->now.activity == ACTIVITY_COMMITTING)
			continue;
		ms = (now - slot->pressed_at) / 1000;
		if (slot->pressed == PRESSED_ASKED && ms >= PLACE_CANCEL)
		{
			slot->pressed = PRESSED_CANCELLED;
			slot->gave_way = slot->generation;
			(void) kill(slot->pid, SIGUSR2);
		}
		else if (slot->pressed == PRESSED_CANCELLED && ms >= PLACE_END)
		{
			slot->pressed = PRESSED_ENDED;
			(void) kill(slot->pid, SIGTERM);
		}
		else if (slot->pressed == PRESSED_ENDED && ms >= PLACE_GIVE_UP)
			slot->pressed = PRESSED_GIVEN_UP;
	}
}

/*
 * How many roles have a dispatcher?
 */
static int
slot_place_roles(void)
{
	int roles = 0;

	for (int i = 0; i < Slots->nworkers; i++)
	{
		/* A role counts with the first of its dispatchers. */
		bool first = slot_place_is_dispatcher(&Slots->workers[i]);

		for (int j = 0; j < i && first; j++)
			first = !slot_place_is_dispatcher(&Slots->workers[j]) ||
					Slots->workers[j].role != Slots->workers[i].role;
		roles += first ? 1 : 0;
	}
	return roles;
}

/*
 * The dispatcher to be pressed, of one role, or of any role if that is InvalidOid.
 * NULL if none has been busy with its batch for long enough.
 */
static WorkerSlot *
slot_place_victim(PlaceCount *count, Oid role, TimestampTz now)
{
	WorkerSlot *victim = NULL;
	int roles = Max(slot_place_roles() + count->wanted_roles, 1);
	int share = Max(guc_max_workers / roles, 1);
	int most = 0;	/* how many places the victim's role has beyond its share */
	int64 over = 0; /* how long the victim has run beyond its allowance */

	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];
		int64 ran = (now - slot->now.since) / 1000;
		int beyond;
		int64 slot_over;

		if (!slot_place_is_dispatcher(slot) || slot->makes_room || slot->pid == 0 ||
			ran < PLACE_MIN_RUN || (OidIsValid(role) && slot->role != role) ||
			(slot->now.activity != ACTIVITY_HANDLING && slot->now.activity != ACTIVITY_READING))
			continue;
		/* Places beyond the share come first, then time beyond the allowance, then the age. */
		beyond = Max(slot_place_of_role(slot->role) - share, 0);
		slot_over = Max(ran - slot->allowance, 0);
		if (victim != NULL &&
			(beyond != most					  ? beyond < most :
			 beyond == 0 && slot_over != over ? slot_over < over :
												slot->now.since < victim->now.since))
			continue;
		victim = slot;
		most = beyond;
		over = slot_over;
	}
	return victim;
}

/*
 * A worker that waits calls this repeatedly.  When no worker has left of its own
 * accord for too long, one is pressed.
 */
void
slot_place_press(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz before = now - PLACE_PATIENCE * INT64CONST(1000);
	TimestampTz since;
	PlaceCount count;
	WorkerSlot *victim = NULL;

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	slot_place_insist(now);
	slot_place_count(&count);
	if (slot_place_lacking(&count) && count.since <= before)
		victim = slot_place_victim(&count, InvalidOid, now);
	else if (OidIsValid(MyWorkerSlot->waits_role) &&
			 slot_place_role_waits(MyWorkerSlot->waits_role, &since) && since <= before)
		victim = slot_place_victim(&count, MyWorkerSlot->waits_role, now);
	if (victim != NULL)
	{
		victim->makes_room = true;
		victim->pressed_at = now;
		victim->pressed = PRESSED_ASKED;
		pg_atomic_write_u32(&victim->leave, LEAVE_FOR_OTHERS);
		slot_wake(victim - Slots->workers);
	}
	LWLockRelease(&Slots->lock);
}

/*
 * Called when this worker starts a dispatcher.  The handlers of the dispatcher in
 * this slot may run this long before it is preferred as the one to give way.
 */
void
slot_place_allow(int index, int64 ms)
{
	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	Slots->workers[index].allowance = ms;
	LWLockRelease(&Slots->lock);
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
 * Does this worker wait for a place or a worker slot for a worker that it wants
 * to start?
 */
bool
slot_place_waits(void)
{
	return MyWorkerSlot->waits > 0;
}

/*
 * Has any worker waited this long?
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
 * Is at most one place free?
 */
bool
slot_place_last(void)
{
	PlaceCount count;

	LWLockAcquire(&Slots->lock, LW_SHARED);
	slot_place_count(&count);
	LWLockRelease(&Slots->lock);
	return count.places <= 1;
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
