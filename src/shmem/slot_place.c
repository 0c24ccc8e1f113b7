/*
 * slot_place.c
 *		Shared memory: who has a place, who waits for one, and who gives way.
 *
 * Two things are scarce: places (pm.max_workers) and the server's worker slots
 * (max_worker_processes), which the schedulers and others' workers take too.
 * Schedulers say how many of their roles have work and lack one of the two, the
 * launcher whether a database lacks a scheduler.  As long as somebody waits:
 *
 * - Workers that are idle leave, as many as are waited for.  So do dispatchers
 *   that have run for a while, when their batch is over.
 * - One role never takes the last place, if there are other roles at all.  Where
 *   it has its share in some databases and needs a place in another, its own
 *   dispatchers make room.
 * - Where none leaves of its own accord, a dispatcher is pressed: it ends its
 *   batch after the event in hand, soon after that its handler is cancelled, and
 *   at last its session is ended.  What it did is undone and counts as no
 *   attempt.  The one to be pressed is of a role that has more than its share of
 *   the places; else one whose handler has run for longer than its allowance,
 *   which the scheduler doubles each time; else the one that began last, so that
 *   the others get on.
 * - One that cannot be ended (code without CHECK_FOR_INTERRUPTS) counts as its
 *   role's place, and as nobody else's.
 */
#include "pm.h"

#include <signal.h>

#include "utils/timestamp.h"

#include "base/guc.h"
#include "shmem/slot.h"

/* How long somebody waits before a dispatcher is pressed, ms. */
#define PLACE_PATIENCE 600
/* A dispatcher has been at its batch for so long at least, ms. */
#define PLACE_MIN_RUN 400
/* After it was asked: its handler is cancelled, its session ended, it is given up, ms. */
#define PLACE_CANCEL  100
#define PLACE_END	  400
#define PLACE_GIVE_UP 1500
/* Those that may make room are told again after, ms. */
#define PLACE_TELL 200
/* After a lack of worker slots, ms. */
#define PLACE_SCARCE 10000

typedef enum PlacePressed
{
	PRESSED_ASKED,
	PRESSED_CANCELLED,
	PRESSED_ENDED,
	PRESSED_GIVEN_UP
} PlacePressed;

/* What is there and what is waited for. */
typedef struct PlaceCount
{
	int places;	 /* free, or about to be */
	int leaving; /* worker slots about to be free */
	int wanted;	 /* places */
	int wanted_slots;
	int wanted_roles;  /* by schedulers, of either kind */
	TimestampTz since; /* the first of these waits since, DT_NOEND: none */
} PlaceCount;

static inline bool
slot_place_is_dispatcher(WorkerSlot *slot)
{
	return slot->in_use && slot->kind == WORKER_DISPATCHER;
}

/*
 * One that cannot be ended takes no place of others.
 */
static inline bool
slot_place_taken(WorkerSlot *slot)
{
	return slot_place_is_dispatcher(slot) && slot->pressed != PRESSED_GIVEN_UP;
}

/*
 * Caller holds Slots->lock.
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
		if (slot_place_taken(slot) && !slot->makes_room)
			count->places--;
		if (slot->makes_room && slot->pressed != PRESSED_GIVEN_UP)
			count->leaving++;
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
 * Does a role wait in some database for one of its own places?  "since" becomes
 * since when.  Caller holds Slots->lock.
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
 * How many dispatchers a role has, in all databases.  Caller holds Slots->lock.
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

/*
 * May a role have another dispatcher?  Caller holds Slots->lock.
 */
bool
slot_place_free(Oid role, bool *share_taken)
{
	int taken = 0;

	for (int i = 0; i < Slots->nworkers; i++)
		taken += slot_place_taken(&Slots->workers[i]) ? 1 : 0;
	*share_taken = guc_max_workers > 1 && slot_place_of_role(role) >= guc_max_workers - 1 &&
				   slot_database_others(role);
	return taken < guc_max_workers && !*share_taken;
}

/*
 * So many starts of this worker's lack a place, or a worker slot; 0: none does
 * any more.  One more is for a role that has its share of places, but none here.
 * Those that may make room are told, now and then again.
 */
void
slot_place_wait(uint32 waits, bool for_slot, Oid role, TimestampTz since)
{
	static TimestampTz told = 0;
	TimestampTz now = GetCurrentTimestamp();
	uint32 before = slot_waits(MyWorkerSlot);
	bool more;

	if (waits == 0 && !OidIsValid(role) && before == 0)
		return;
	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	MyWorkerSlot->waits = waits;
	MyWorkerSlot->waits_slot = for_slot;
	MyWorkerSlot->waits_role = role;
	MyWorkerSlot->waits_since = since;
	pg_atomic_fetch_add_u32(&Slots->waiting, slot_waits(MyWorkerSlot) - before);
	LWLockRelease(&Slots->lock);
	more = slot_waits(MyWorkerSlot) > before;
	if (slot_waits(MyWorkerSlot) == 0 ||
		(!more && now >= told && !TimestampDifferenceExceeds(told, now, PLACE_TELL)))
		return;
	told = now;
	slot_wake_kind(WORKER_DISPATCHER, InvalidOid);
	if (for_slot)
		slot_wake_kind(WORKER_SCHEDULER, InvalidOid);
}

/*
 * Is this worker, which can, to leave for somebody who waits?  Then it has to.
 */
bool
slot_place_make_room(void)
{
	PlaceCount count;
	TimestampTz since;

	if (pg_atomic_read_u32(&Slots->waiting) == 0)
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
 * Those that were asked to give way and have not: more is done.  A commit is
 * left alone, which may wait for a standby.  Caller holds Slots->lock.
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
 * How many roles have a dispatcher.  Caller holds Slots->lock.
 */
static int
slot_place_roles(void)
{
	int roles = 0;

	for (int i = 0; i < Slots->nworkers; i++)
	{
		bool first = slot_place_is_dispatcher(&Slots->workers[i]);

		for (int j = 0; j < i && first; j++)
			first = !slot_place_is_dispatcher(&Slots->workers[j]) ||
					Slots->workers[j].role != Slots->workers[i].role;
		roles += first ? 1 : 0;
	}
	return roles;
}

/*
 * The one to be pressed, of a role or of any (InvalidOid); NULL if none has been
 * at its batch for long.  Caller holds Slots->lock.
 */
static WorkerSlot *
slot_place_victim(PlaceCount *count, Oid role, TimestampTz now)
{
	WorkerSlot *victim = NULL;
	int roles = Max(slot_place_roles() + count->wanted_roles, 1);
	int share = Max(guc_max_workers / roles, 1);
	int most = 0;	/* places of the victim's role, beyond the share */
	int64 over = 0; /* the victim's time, beyond its allowance */

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
 * To be called again and again by whoever waits: where nobody has left of its
 * own accord for too long, somebody has to.
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
 * Has somebody waited for so long?
 */
bool
slot_place_waited(int64 ms)
{
	PlaceCount count;

	if (pg_atomic_read_u32(&Slots->waiting) == 0)
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
 * Does another scheduler wait for a worker slot, and has waited longer than this
 * one does?  If all slots were schedulers', none would get any further.
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
 * Does a scheduler wait for a worker slot?  Its dispatcher comes before a
 * scheduler elsewhere.
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
 * There was no worker slot: for some time from now on, none is taken for who has
 * nothing to do.
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
