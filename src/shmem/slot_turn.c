/*
 * slot_turn.c
 *		Whose turn it is among lanes that run one after another.
 *
 * Lanes that have conflicted with each other run one after another (contention.c).  A lock
 * decides which one runs (manager_lock_alone()).  This file keeps the dispatchers of the
 * other lanes from trying that lock again and again, and wakes one of them when it may run.
 *
 * It also remembers until when lanes run one after another, so that all their dispatchers,
 * and those that start later, know at once that two lanes have conflicted.
 *
 * The turn is given to dispatchers that sleep.  A dispatcher that is busy with other process
 * managers would use its turn late.  Instead, after it has waited for some time, it asks for
 * the lock and waits for it, and the others do not take the lock meanwhile.
 *
 * All of this is a hint.  A dispatcher that has the turn may have ended, or be busy with
 * another process manager.  So a turn that was not renewed for some time does not count,
 * and waiting dispatchers try the lock from time to time.  Nothing here takes a lock.
 */
#include "pm.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "shmem/slot_activity.h"
#include "shmem/slot_memory.h"
#include "shmem/slot_turn.h"
#include "shmem/slot_wake.h"

/* How long a turn counts without being renewed, in ms. */
#define SLOT_TURN_LASTS 100

/*
 * How long lanes that have conflicted run one after another, in ms.  The time grows by the
 * factor for each further lane that conflicts at the same time, and if they conflict again soon
 * afterwards.
 */
#define SLOT_TURNS_MIN	  3000
#define SLOT_TURNS_MAX	  60000
#define SLOT_TURNS_FACTOR 4

/* ---------- whether lanes take turns ---------- */

/*
 * The entry for a process manager of this database.  Another one may be using it.
 */
static TurnsSlot *
slot_turns_of(int manager)
{
	uint32 hash = hash_combine(murmurhash32((uint32) manager), murmurhash32(MyDatabaseId));

	return &Slots->turns[hash % SLOT_TURNS];
}

static bool
slot_turns_is(const TurnsSlot *turns, int manager)
{
	return pg_atomic_read_u32(unconstify(pg_atomic_uint32 *, &turns->manager)) ==
			   (uint32) manager &&
		   pg_atomic_read_u32(unconstify(pg_atomic_uint32 *, &turns->database)) == MyDatabaseId;
}

TimestampTz
slot_turns_until(int manager)
{
	TurnsSlot *turns = slot_turns_of(manager);

	return slot_turns_is(turns, manager) ? (TimestampTz) pg_atomic_read_u64(&turns->until) :
										   DT_NOBEGIN;
}

bool
slot_turns(int manager)
{
	return GetCurrentTimestamp() < slot_turns_until(manager);
}

void
slot_turns_met(int manager)
{
	TurnsSlot *turns = slot_turns_of(manager);
	TimestampTz now = GetCurrentTimestamp();
	uint32 lasts = SLOT_TURNS_MIN;

	if (slot_turns_is(turns, manager))
	{
		TimestampTz until = (TimestampTz) pg_atomic_read_u64(&turns->until);
		uint32 before = pg_atomic_read_u32(&turns->lasts);

		/*
		 * Batches that had begun before the lanes took turns can conflict too.  The more of them
		 * do, the more streams the lanes have in common.
		 */
		if (now < until)
			lasts = Min(before * SLOT_TURNS_FACTOR, SLOT_TURNS_MAX);
		else if (!TimestampDifferenceExceeds(until, now, (int) before))
			lasts = Min(before * SLOT_TURNS_FACTOR, SLOT_TURNS_MAX);
	}
	pg_atomic_write_u32(&turns->database, MyDatabaseId);
	pg_atomic_write_u32(&turns->manager, (uint32) manager);
	pg_atomic_write_u32(&turns->lasts, lasts);
	pg_atomic_write_u64(&turns->until, (uint64) TimestampTzPlusMilliseconds(now, lasts));
}

/* ---------- whose turn it is ---------- */

static bool
slot_turn_is_other(const WorkerSlot *slot)
{
	return slot != MyWorkerSlot && slot->in_use && slot->kind == WORKER_DISPATCHER &&
		   slot->database == MyWorkerSlot->database;
}

static void
slot_turn_give(WorkerSlot *slot, int manager)
{
	pg_atomic_write_u64(&slot->turn_at, (uint64) GetCurrentTimestamp());
	pg_atomic_write_u32(&slot->turn, (uint32) manager);
	if (pg_atomic_read_u32(&slot->awaits) == (uint32) manager)
		pg_atomic_write_u32(&slot->awaits, 0);
}

void
slot_turn_take(int manager)
{
	slot_turn_give(MyWorkerSlot, manager);
}

bool
slot_turn_taken(int manager)
{
	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		if (pg_atomic_read_u32(&slot->turn) == (uint32) manager && slot_turn_is_other(slot) &&
			!TimestampDifferenceExceeds((TimestampTz) pg_atomic_read_u64(&slot->turn_at),
										GetCurrentTimestamp(), SLOT_TURN_LASTS))
			return true;
	}
	return false;
}

static void
slot_turn_end(int manager)
{
	if (pg_atomic_read_u32(&MyWorkerSlot->turn) == (uint32) manager)
		pg_atomic_write_u32(&MyWorkerSlot->turn, 0);
}

void
slot_turn_await(int manager, TimestampTz since)
{
	slot_turn_end(manager);
	pg_atomic_write_u64(&MyWorkerSlot->awaits_since, (uint64) since);
	pg_atomic_write_u32(&MyWorkerSlot->awaits, (uint32) manager);
}

void
slot_turn_ask(int manager, TimestampTz until)
{
	pg_atomic_write_u64(&MyWorkerSlot->asks_until, (uint64) until);
	pg_atomic_write_u32(&MyWorkerSlot->asks, (uint32) manager);
}

void
slot_turn_asked_enough(void)
{
	pg_atomic_write_u32(&MyWorkerSlot->asks, 0);
}

bool
slot_turn_asked(int manager)
{
	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		if (pg_atomic_read_u32(&slot->asks) == (uint32) manager && slot_turn_is_other(slot) &&
			GetCurrentTimestamp() < (TimestampTz) pg_atomic_read_u64(&slot->asks_until))
			return true;
	}
	return false;
}

/*
 * Of the dispatchers that sleep, the one that has waited longest.
 */
static int
slot_turn_next(int manager)
{
	uint64 since = PG_UINT64_MAX;
	int next = -1;

	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		if (pg_atomic_read_u32(&slot->awaits) != (uint32) manager || !slot_turn_is_other(slot) ||
			slot->now.activity != ACTIVITY_IDLE || pg_atomic_read_u64(&slot->awaits_since) >= since)
			continue;
		since = pg_atomic_read_u64(&slot->awaits_since);
		next = i;
	}
	return next;
}

bool
slot_turn_pass(int manager)
{
	int next;

	slot_turn_end(manager);
	if (slot_turn_asked(manager))
		return true;
	next = slot_turn_next(manager);
	if (next < 0)
		return false;
	slot_turn_give(&Slots->workers[next], manager);
	slot_wake(next);
	return true;
}
