/*
 * slot_memory.c
 *		Creates the shared memory of the workers when the server starts.
 *
 * All of it can be lost at any time: a restart after a crash begins with empty
 * memory.  The tables and the lock manager are authoritative.  What is kept here only
 * saves reading them.
 */
#include "pm.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#include "base/shared_memory.h"
#include "shmem/slot_memory.h"

SlotShared *Slots = NULL;
WorkerSlot *MyWorkerSlot = NULL;

static void
slot_memory_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(SlotShared)));
}

static void
slot_memory_init(void)
{
	memset(Slots, 0, sizeof(SlotShared));
	LWLockInitialize(&Slots->lock, compat_new_tranche("pm"));
	Slots->nworkers = Min(max_worker_processes, WORKER_MAX);
	pg_atomic_init_u64(&Slots->registry_generation, 1);
	pg_atomic_init_u64(&Slots->worker_generation, 1);
	pg_atomic_init_u32(&Slots->waiting, 0);
	pg_atomic_init_u32(&Slots->waiting_brief, 0);
	pg_atomic_init_u64(&Slots->scarce_until, 0);
	pg_atomic_init_u64(&Slots->primary_since, 0);
	pg_atomic_init_u32(&Slots->nlost, 0);
	for (int i = 0; i < SLOT_TURNS; i++)
	{
		pg_atomic_init_u32(&Slots->turns[i].database, InvalidOid);
		pg_atomic_init_u32(&Slots->turns[i].manager, 0);
		pg_atomic_init_u64(&Slots->turns[i].until, 0);
		pg_atomic_init_u32(&Slots->turns[i].lasts, 0);
	}
	for (int i = 0; i < SLOT_SENT_COUNTS; i++)
		pg_atomic_init_u64(&Slots->sent[i], 0);
	ConditionVariableInit(&Slots->moved);
	for (int i = 0; i < SLOT_FETCH_ROOMS; i++)
	{
		pg_atomic_init_u32(&Slots->fetch_wakes[i], 0);
		ConditionVariableInit(&Slots->fetchers[i]);
	}
	for (int i = 0; i < WORKER_MAX; i++)
	{
		SpinLockInit(&Slots->workers[i].mutex);
		pg_atomic_init_u32(&Slots->workers[i].leave, LEAVE_NOT);
		pg_atomic_init_u32(&Slots->workers[i].wakes, 0);
		pg_atomic_init_u32(&Slots->workers[i].turn, 0);
		pg_atomic_init_u64(&Slots->workers[i].turn_at, 0);
		pg_atomic_init_u32(&Slots->workers[i].awaits, 0);
		pg_atomic_init_u64(&Slots->workers[i].awaits_since, 0);
		pg_atomic_init_u32(&Slots->workers[i].asks, 0);
		pg_atomic_init_u64(&Slots->workers[i].asks_until, 0);
		pg_atomic_init_u32(&Slots->workers[i].batch, 0);
		for (int n = 0; n < SLOT_BATCHES; n++)
		{
			pg_atomic_init_u32(&Slots->workers[i].batch_managers[n], 0);
			pg_atomic_init_u32(&Slots->workers[i].batch_xids[n], InvalidTransactionId);
		}
	}
}

static void
slot_memory_startup(void)
{
	bool found;

	Slots = ShmemInitStruct("pm", sizeof(SlotShared), &found);
	if (!found)
		slot_memory_init();
	compat_register_tranche(Slots->lock.tranche, "pm");
}

void
slot_memory_install(void)
{
	shared_memory_add(slot_memory_request, slot_memory_startup);
}
