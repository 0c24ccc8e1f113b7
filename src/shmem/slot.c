/*
 * slot.c
 *		The slots of the workers: how they are claimed, attached to and given up.
 *
 * Each background worker has a slot in shared memory.  When the library is not
 * preloaded, there is no shared memory and there are no workers.  Then only
 * functions that say so may be called.
 */
#include "pm.h"

#include <signal.h>

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/procarray.h"
#include "utils/timestamp.h"

#include "shmem/slot.h"
#include "shmem/slot_database.h"
#include "shmem/slot_hint.h"
#include "shmem/slot_interest.h"
#include "shmem/slot_log_table.h"
#include "shmem/slot_lost.h"
#include "shmem/slot_memory.h"
#include "shmem/slot_place.h"
#include "shmem/slot_share.h"
#include "shmem/slot_wake.h"

static void (*at_detach)(void) = NULL;

void
slot_install(void)
{
	/* In this order, because the memory of the logs uses the LWLock tranche of the first part. */
	slot_memory_install();
	slot_log_table_install();
	slot_hint_install();
}

bool
slot_preloaded(void)
{
	return Slots != NULL;
}

/* ---------- claims ---------- */

/*
 * The caller holds Slots->lock.
 */
static void
slot_init(WorkerSlot *slot, WorkerKind kind, Oid database, Oid role, TimestampTz now)
{
	slot->in_use = true;
	/* What a role has used of the turns outlives its dispatchers. */
	if (slot->role != role)
		slot->careful_used = 0;
	slot->kind = kind;
	slot->generation++;
	slot->database = database;
	slot->role = role;
	slot->claimer = MyProcPid;
	slot->pid = 0;
	slot->proc = NULL;
	slot->started_at = now;
	slot->serving = slot->makes_room = false;
	pg_atomic_write_u32(&slot->turn, 0);
	pg_atomic_write_u32(&slot->awaits, 0);
	pg_atomic_write_u32(&slot->asks, 0);
	pg_atomic_write_u32(&slot->batch, 0);
	pg_atomic_write_u32(&slot->leave, LEAVE_NOT);
	slot->careful_ticket = slot->careful_turn = 0;
	slot->careful_more = slot->careful_misses = false;
	slot->waits = 0;
	slot->waits_brief = false;
	slot->waits_role = InvalidOid;
	slot->pressed_at = 0;
	slot->pressed = 0;
	slot->allowance = 0;
	memset(&slot->now, 0, sizeof(slot->now));
	slot->now.since = now;
}

int
slot_claim(WorkerKind kind, Oid database, Oid role, int colleagues, uint32 *generation)
{
	TimestampTz now = GetCurrentTimestamp();
	int free_slot = SLOT_NO_PLACE;
	bool share_taken = false;

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		if (!slot->in_use && free_slot < 0)
			free_slot = i;
		if (slot_memory_serves(slot, kind, database, role))
			colleagues--;
	}
	/* Only dispatchers need a place.  The launcher and schedulers need just a slot. */
	if (colleagues <= 0)
		free_slot = SLOT_SHARE_TAKEN;
	else if (kind == WORKER_DISPATCHER && !slot_place_free(role, &share_taken))
		free_slot = share_taken ? SLOT_ROLE_FULL : SLOT_NO_PLACE;
	if (free_slot >= 0)
	{
		slot_init(&Slots->workers[free_slot], kind, database, role, now);
		*generation = Slots->workers[free_slot].generation;
	}
	LWLockRelease(&Slots->lock);
	return free_slot;
}

void
slot_unclaim(int index, uint32 generation)
{
	/* Read these now: once the slot is free, it may be claimed for another worker. */
	WorkerSlot *slot = &Slots->workers[index];
	WorkerKind kind = slot->kind;
	Oid database = slot->database;
	Oid role = slot->role;
	bool ours;

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	ours = slot->in_use && slot->generation == generation;
	if (ours)
	{
		pg_atomic_fetch_sub_u32(&Slots->waiting, slot_memory_waits(slot));
		pg_atomic_fetch_sub_u32(&Slots->waiting_brief, slot->waits_brief ? 1 : 0);
		slot->waits = 0;
		slot->waits_brief = false;
		slot->waits_role = InvalidOid;
		slot->in_use = false;
		slot->pid = 0;
		slot->proc = NULL;
	}
	LWLockRelease(&Slots->lock);
	if (ours)
		slot_share_changed(kind, database, role);
}

/*
 * The first slot, starting at an index, whose worker has ended or was never
 * started, and whose claimer has ended too; -1 if there is none.
 */
static int
slot_orphan(WorkerKind kind, Oid database, int from, uint32 *generation)
{
	int orphan = -1;

	LWLockAcquire(&Slots->lock, LW_SHARED);
	for (int i = from; i < Slots->nworkers && orphan < 0; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		if (slot->in_use && slot->kind == kind && slot->pid == 0 &&
			(!OidIsValid(database) || slot->database == database) && slot->claimer != MyProcPid &&
			BackendPidGetProc(slot->claimer) == NULL)
		{
			orphan = i;
			*generation = slot->generation;
		}
	}
	LWLockRelease(&Slots->lock);
	return orphan;
}

/*
 * Gives up the claims of an earlier launcher or scheduler that has died.  Unless
 * "database" is InvalidOid, gives up only the claims in that database.
 */
void
slot_unclaim_orphans(WorkerKind kind, Oid database)
{
	int index = -1;
	uint32 generation;

	while ((index = slot_orphan(kind, database, index + 1, &generation)) >= 0)
		slot_unclaim(index, generation);
}

/* ---------- the worker itself ---------- */

void
slot_at_detach(void (*function)(void))
{
	Assert(at_detach == NULL);
	at_detach = function;
}

/*
 * Runs when a worker exits.  If a dispatcher dies while a handler runs, the call
 * is recorded, and the scheduler counts it as a failed attempt.  (When the
 * server stops, the scheduler ends too, and no attempt is counted.)
 */
static void
slot_detach(int code, Datum arg)
{
	int index = DatumGetInt32(arg);
	WorkerSlot *slot = MyWorkerSlot;

	if (slot == NULL)
		return;
	/* Do this before another worker can claim the slot and set the same bits. */
	slot_interest_end();
	/* From here on, slot_activity.c does not write the slot, which is about to be given up. */
	MyWorkerSlot = NULL;
	if (at_detach != NULL)
		at_detach();
	/* If the worker was asked to leave, its handler is not the reason that it ends. */
	if (slot->now.activity == ACTIVITY_HANDLING && pg_atomic_read_u32(&slot->leave) == LEAVE_NOT)
	{
		slot->lost = slot->generation;
		slot_lost_add(slot->database, slot->role, &slot->now);
	}
	slot_unclaim(index, slot->generation);
	/*
	 * The process that started this worker may have ended.  So wake its
	 * successor, or have one started.
	 */
	if (slot->kind == WORKER_DISPATCHER)
	{
		slot_wake_kind(WORKER_SCHEDULER, slot->database);
		slot_database_touch(slot->database);
	}
	else if (slot->kind == WORKER_SCHEDULER)
	{
		/* A scheduler that fails while it is leaving may have recorded already that it is away. */
		if (slot->left != slot->generation)
			slot_database_touch(slot->database);
		slot_wake_kind(WORKER_LAUNCHER, InvalidOid);
	}
}

Datum
slot_arg(int index, uint32 generation)
{
	return UInt64GetDatum(((uint64) generation << 32) | (uint32) index);
}

/*
 * Runs in a new worker, which has the claimed slot until it exits.
 */
void
slot_attach(Datum arg)
{
	int index = (int) (DatumGetUInt64(arg) & 0xffffffff);
	uint32 generation = (uint32) (DatumGetUInt64(arg) >> 32);
	WorkerSlot *slot = &Slots->workers[index];

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	if (!slot->in_use || slot->pid != 0 || slot->generation != generation)
	{
		LWLockRelease(&Slots->lock);
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("worker slot %d of pm is not waiting for a worker", index)));
	}
	/* From here on the worker can be woken, and asked to leave. */
	slot->pid = MyProcPid;
	slot->proc = MyProc;
	MyWorkerSlot = slot;
	LWLockRelease(&Slots->lock);

	before_shmem_exit(slot_detach, Int32GetDatum(index));
}

/*
 * False in sessions.
 */
bool
slot_am_worker(void)
{
	return MyWorkerSlot != NULL;
}

int
slot_my_index(void)
{
	return MyWorkerSlot - Slots->workers;
}

Oid
slot_my_database(void)
{
	return MyWorkerSlot->database;
}

Oid
slot_my_role(void)
{
	return MyWorkerSlot->role;
}

/*
 * Counts the wake-ups of this worker.
 */
uint32
slot_my_wakes(void)
{
	return pg_atomic_read_u32(&MyWorkerSlot->wakes);
}

/*
 * Was this worker asked to leave?  False in sessions.
 */
bool
slot_asked_to_leave(void)
{
	return MyWorkerSlot != NULL && pg_atomic_read_u32(&MyWorkerSlot->leave) != LEAVE_NOT;
}

/*
 * Was this worker asked to leave because another worker has waited too long for
 * its place?
 */
bool
slot_gives_way(void)
{
	return MyWorkerSlot != NULL && pg_atomic_read_u32(&MyWorkerSlot->leave) == LEAVE_FOR_OTHERS;
}

/*
 * Records that this worker leaves of its own accord.
 */
void
slot_leaves(void)
{
	MyWorkerSlot->left = MyWorkerSlot->generation;
}

/*
 * Records that this worker is about to leave although it has more to do.
 */
void
slot_leaves_unfinished(void)
{
	MyWorkerSlot->unfinished = MyWorkerSlot->generation;
}

/* ---------- workers that this process has started ---------- */

/*
 * Has the worker attached, and is it still there?
 */
bool
slot_attached(int index)
{
	return Slots->workers[index].pid != 0;
}

/*
 * Did the worker leave of its own accord?  This function and the three below
 * are called after the worker has ended.
 */
bool
slot_left(int index, uint32 generation)
{
	return Slots->workers[index].left == generation;
}

/*
 * Was the worker's handler canceled to make room for other workers?
 */
bool
slot_gave_way(int index, uint32 generation)
{
	return Slots->workers[index].gave_way == generation;
}

/*
 * Did the worker leave although it had more to do?
 */
bool
slot_unfinished(int index, uint32 generation)
{
	return Slots->workers[index].unfinished == generation;
}

/*
 * Did the worker die while a handler ran?
 */
bool
slot_died(int index, uint32 generation)
{
	return Slots->workers[index].lost == generation;
}

/* ---------- all workers ---------- */

/*
 * How many workers serve (database, role), or are being started for it?
 */
int
slot_count(WorkerKind kind, Oid database, Oid role)
{
	int count;

	LWLockAcquire(&Slots->lock, LW_SHARED);
	count = slot_memory_count(kind, database, role);
	LWLockRelease(&Slots->lock);
	return count;
}

/*
 * Has a worker of this kind been starting for less than this time?
 */
bool
slot_any_starting(WorkerKind kind, int ms)
{
	TimestampTz now = GetCurrentTimestamp();
	bool starting = false;

	LWLockAcquire(&Slots->lock, LW_SHARED);
	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		if (slot->in_use && slot->kind == kind && slot->now.activity == ACTIVITY_STARTING &&
			!TimestampDifferenceExceeds(slot->started_at, now, ms))
			starting = true;
	}
	LWLockRelease(&Slots->lock);
	return starting;
}

/*
 * Asks all workers but the launcher to leave.
 */
void
slot_dismiss_all(void)
{
	LWLockAcquire(&Slots->lock, LW_SHARED);
	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		if (slot->in_use && slot->kind != WORKER_LAUNCHER)
		{
			pg_atomic_write_u32(&slot->leave, LEAVE_FOR_GOOD);
			slot_wake(i);
		}
	}
	LWLockRelease(&Slots->lock);
}

/*
 * Asks the workers of a database to leave; with "insist", also cancels what
 * they are doing.  Returns whether any of them is still running, and adds their
 * processes to *pids.
 *
 * A worker that starts at the same time attaches under the lock that is held
 * here, and only afterwards checks whether workers are held out of the
 * database.
 */
bool
slot_dismiss_database(Oid database, bool insist, List **pids)
{
	bool there = false;

	LWLockAcquire(&Slots->lock, LW_SHARED);
	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		if (!slot->in_use || slot->database != database || slot->pid == 0)
			continue;
		there = true;
		*pids = list_append_unique_int(*pids, slot->pid);
		pg_atomic_write_u32(&slot->leave, LEAVE_FOR_GOOD);
		slot_wake(i);
		if (insist)
			(void) kill(slot->pid, SIGTERM);
	}
	LWLockRelease(&Slots->lock);
	return there;
}
