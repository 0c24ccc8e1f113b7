/*
 * slot.c
 *		Shared memory: the workers.
 *
 * Allocated when the library is preloaded; otherwise Slots is NULL, nothing
 * runs in the background, and every function here does nothing or says
 * "unknown".
 */
#include "pm.h"

#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "shmem/crash.h"
#include "shmem/slot.h"

SlotShared *Slots = NULL;
WorkerSlot *MyWorkerSlot = NULL;

static shmem_request_hook_type prev_shmem_request_hook;
static shmem_startup_hook_type prev_shmem_startup_hook;

static void
slot_shmem_request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();

	RequestAddinShmemSpace(MAXALIGN(sizeof(SlotShared)));
	slot_log_shmem_request();
	slot_hint_shmem_request();
}

static void
slot_shmem_startup(void)
{
	bool found;
	int tranche;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);

	Slots = ShmemInitStruct("pm", sizeof(SlotShared), &found);
	if (!found)
	{
		memset(Slots, 0, sizeof(SlotShared));
		tranche = compat_new_tranche("pm");
		compat_register_tranche(tranche, "pm");
		LWLockInitialize(&Slots->lock, tranche);
		Slots->nworkers = Min(max_worker_processes, SLOT_MAX_WORKERS);
		pg_atomic_init_u64(&Slots->registry_generation, 1);
		pg_atomic_init_u64(&Slots->worker_generation, 1);
		pg_atomic_init_u32(&Slots->waiting, 0);
		pg_atomic_init_u64(&Slots->scarce_until, 0);
		pg_atomic_init_u32(&Slots->nlost, 0);
		ConditionVariableInit(&Slots->moved);
		for (int i = 0; i < SLOT_MAX_WORKERS; i++)
		{
			SpinLockInit(&Slots->workers[i].mutex);
			pg_atomic_init_u32(&Slots->workers[i].leave, 0);
			pg_atomic_init_u32(&Slots->workers[i].wakes, 0);
		}
	}
	compat_register_tranche(Slots->lock.tranche, "pm");

	slot_log_shmem_startup();
	slot_hint_shmem_startup();
	LWLockRelease(AddinShmemInitLock);
	if (!found)
		crash_startup();
}

/*
 * Called from _PG_init while the postmaster preloads.
 */
void
slot_install_hooks(void)
{
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = slot_shmem_request;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = slot_shmem_startup;
}

/* ---------- workers ---------- */

/*
 * Claims a slot for a worker about to be started, of which there are to be so
 * many for (database, role).  Returns its index, or a SlotRefusal.
 */
int
slot_claim(WorkerKind kind, Oid database, Oid role, int colleagues, uint32 *generation)
{
	int free_slot = SLOT_NO_PLACE;
	bool share_taken = false;

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		if (!slot->in_use && free_slot < 0)
			free_slot = i;
		if (slot_serves(slot, kind, database, role))
			colleagues--;
	}
	if (colleagues <= 0 || (kind == WORKER_DISPATCHER && !slot_place_free(role, &share_taken)))
		free_slot = colleagues <= 0 ? SLOT_SHARE_TAKEN :
					share_taken		? SLOT_ROLE_FULL :
									  SLOT_NO_PLACE;
	if (free_slot >= 0)
	{
		WorkerSlot *slot = &Slots->workers[free_slot];

		slot->in_use = true;
		slot->kind = kind;
		slot->generation++;
		slot->database = database;
		slot->role = role;
		slot->claimer = MyProcPid;
		slot->pid = 0;
		slot->proc = NULL;
		slot->started_at = GetCurrentTimestamp();
		slot->serving = slot->makes_room = false;
		pg_atomic_write_u32(&slot->leave, 0);
		slot->waits = 0;
		slot->waits_role = InvalidOid;
		slot->pressed_at = 0;
		slot->pressed = 0;
		slot->allowance = 0;
		memset(&slot->now, 0, sizeof(slot->now));
		slot->now.since = slot->started_at;
		*generation = slot->generation;
	}
	LWLockRelease(&Slots->lock);
	return free_slot;
}

/*
 * Gives up a claim whose worker is known to be gone.
 */
void
slot_unclaim(int index, uint32 generation)
{
	WorkerSlot *slot = &Slots->workers[index];
	WorkerKind kind = slot->kind;
	Oid database = slot->database;
	Oid role = slot->role;
	bool ours;

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	ours = slot->in_use && slot->generation == generation;
	if (ours)
	{
		slot_clear_interest(index);
		pg_atomic_fetch_sub_u32(&Slots->waiting, slot_waits(slot));
		slot->waits = 0;
		slot->waits_role = InvalidOid;
		slot->in_use = false;
		slot->pid = 0;
		slot->proc = NULL;
	}
	LWLockRelease(&Slots->lock);
	if (ours)
		slot_workers_changed(kind, database, role);
}

/*
 * At exit.  What a dispatcher had in hand that dies in the midst of a handler
 * is noted, for the scheduler to count.  (In a stopping server the scheduler
 * dies too, and nobody is blamed.)
 */
static void
slot_detach(int code, Datum arg)
{
	int index = DatumGetInt32(arg);
	WorkerSlot *slot = MyWorkerSlot;

	if (slot == NULL)
		return;
	MyWorkerSlot = NULL;
	crash_unmark();
	if (slot->now.activity == ACTIVITY_HANDLING && pg_atomic_read_u32(&slot->leave) == LEAVE_NOT)
	{
		slot->lost = slot->generation;
		slot_lost_add(slot);
	}
	slot_unclaim(index, slot->generation);
	/* Who has started us may be gone: tell who is there now, or is to be. */
	if (slot->kind == WORKER_DISPATCHER)
	{
		slot_wake_kind(WORKER_SCHEDULER, slot->database);
		slot_database_touch(slot->database);
	}
	else if (slot->kind == WORKER_SCHEDULER)
	{
		/* It may have been about to leave, and failed. */
		if (slot->left != slot->generation)
			slot_database_touch(slot->database);
		slot_wake_kind(WORKER_LAUNCHER, InvalidOid);
	}
}

/*
 * What a worker is told: its slot, and the claim that it is for.
 */
Datum
slot_arg(int index, uint32 generation)
{
	return UInt64GetDatum(((uint64) generation << 32) | (uint32) index);
}

/*
 * Runs in a new worker: makes the claimed slot its own until it exits.
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
	slot->pid = MyProcPid;
	slot->proc = MyProc;
	MyWorkerSlot = slot;
	LWLockRelease(&Slots->lock);

	before_shmem_exit(slot_detach, Int32GetDatum(index));
}

/*
 * How many workers serve (database, role).  Caller holds Slots->lock.
 */
int
slot_count(WorkerKind kind, Oid database, Oid role)
{
	int count = 0;

	Assert(LWLockHeldByMe(&Slots->lock));
	for (int i = 0; i < Slots->nworkers; i++)
		if (slot_serves(&Slots->workers[i], kind, database, role))
			count++;
	return count;
}

/*
 * The first slot from an index on whose worker is gone, or never came, and
 * whose claimer is gone too; -1 if there is none.
 */
int
slot_orphan(WorkerKind kind, Oid database, int from)
{
	int orphan = -1;

	LWLockAcquire(&Slots->lock, LW_SHARED);
	for (int i = from; i < Slots->nworkers && orphan < 0; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		if (slot->in_use && slot->kind == kind && slot->pid == 0 &&
			(!OidIsValid(database) || slot->database == database) && slot->claimer != MyProcPid &&
			BackendPidGetProc(slot->claimer) == NULL)
			orphan = i;
	}
	LWLockRelease(&Slots->lock);
	return orphan;
}

/*
 * Wakes a worker.  Takes no lock, so that it can run in a transaction callback:
 * PGPROCs are never freed, and a latch set for nothing costs a look.  What the
 * worker does may wait on the same latch and reset it (a parallel query, a
 * lock, a condition variable): the count tells it before it sleeps.
 */
void
slot_wake(int index)
{
	PGPROC *proc = ((volatile WorkerSlot *) &Slots->workers[index])->proc;

	pg_atomic_fetch_add_u32(&Slots->workers[index].wakes, 1);
	if (proc != NULL)
		SetLatch(&proc->procLatch);
}

/*
 * Wakes the workers of a kind, those of one database unless InvalidOid.
 */
void
slot_wake_kind(WorkerKind kind, Oid database)
{
	if (Slots == NULL)
		return;
	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		if (slot->in_use && slot->kind == kind &&
			(!OidIsValid(database) || slot->database == database))
			slot_wake(i);
	}
}

/*
 * What this worker does now, for pm.worker.
 */
void
slot_activity(WorkerActivity activity)
{
	WorkerSlot *slot = MyWorkerSlot;

	if (slot == NULL || slot->now.activity == activity)
		return;
	SpinLockAcquire(&slot->mutex);
	slot->now.activity = activity;
	slot->now.since = GetCurrentTimestamp();
	slot->now.overdue = false;
	if (activity == ACTIVITY_IDLE)
		slot->now.handling.manager = 0;
	SpinLockRelease(&slot->mutex);
}

/*
 * What this worker is about to call a handler for.
 */
void
slot_handling(const Handling *handling, const char *name)
{
	WorkerSlot *slot = MyWorkerSlot;

	if (slot == NULL)
		return;
	SpinLockAcquire(&slot->mutex);
	if (strcmp(slot->now.name, name) != 0)
		strlcpy(slot->now.name, name, NAMEDATALEN);
	handling_copy(&slot->now.handling, handling);
	SpinLockRelease(&slot->mutex);
}

/*
 * It has returned.
 */
void
slot_handled(void)
{
	if (MyWorkerSlot != NULL)
		((volatile WorkerSlot *) MyWorkerSlot)->now.handling.manager = 0;
}

/*
 * Counts commits that changed a registration.
 */
uint64
slot_registry_generation(void)
{
	return Slots ? pg_atomic_read_u64(&Slots->registry_generation) : 0;
}

/*
 * Shall this worker go?  False in sessions.
 */
bool
slot_asked_to_leave(void)
{
	return MyWorkerSlot != NULL && pg_atomic_read_u32(&MyWorkerSlot->leave) != LEAVE_NOT;
}

/*
 * And that for others, who have waited for too long?
 */
bool
slot_gives_way(void)
{
	return MyWorkerSlot != NULL && pg_atomic_read_u32(&MyWorkerSlot->leave) == LEAVE_FOR_OTHERS;
}
