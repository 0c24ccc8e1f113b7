/*
 * slot_batch.c
 *		The batches that lanes of a process manager run, and have run recently.
 *
 * Lanes that conflict with each other take turns, but conflicts with applications are no
 * reason for that (contention.c).  So each dispatcher publishes the process manager whose
 * lane it runs, and the transactions of its last batches.
 *
 * Only process managers with several lanes are published.  All of this is a hint, and nothing
 * here takes a lock.
 */
#include "pm.h"

#include "access/transam.h"
#include "miscadmin.h"

#include "shmem/slot_batch.h"
#include "shmem/slot_memory.h"

void
slot_batch_begin(int manager)
{
	pg_atomic_write_u32(&MyWorkerSlot->batch, (uint32) manager);
}

void
slot_batch_end(void)
{
	pg_atomic_write_u32(&MyWorkerSlot->batch, 0);
}

void
slot_batch_commits(TransactionId xid)
{
	uint32 manager = pg_atomic_read_u32(&MyWorkerSlot->batch);
	uint32 n;

	if (manager == 0 || !TransactionIdIsValid(xid))
		return;
	n = MyWorkerSlot->batches++ % SLOT_BATCHES;
	pg_atomic_write_u32(&MyWorkerSlot->batch_managers[n], manager);
	pg_atomic_write_u32(&MyWorkerSlot->batch_xids[n], xid);
}

/*
 * Is this the slot of another dispatcher of this database?
 */
static bool
slot_batch_is_other(const WorkerSlot *slot)
{
	return slot != MyWorkerSlot && slot->in_use && slot->kind == WORKER_DISPATCHER &&
		   slot->database == MyWorkerSlot->database;
}

/*
 * Does some dispatcher, or the one with this pid, run a batch of the process manager?
 */
static bool
slot_batch_any(int pid)
{
	uint32 manager = pg_atomic_read_u32(&MyWorkerSlot->batch);

	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		if (manager != 0 && pg_atomic_read_u32(&slot->batch) == manager &&
			slot_batch_is_other(slot) && (pid == 0 || slot->pid == pid))
			return true;
	}
	return false;
}

bool
slot_batch_others(void)
{
	return slot_batch_any(0);
}

bool
slot_batch_is_run_by(int pid)
{
	return pid != 0 && slot_batch_any(pid);
}

bool
slot_batch_was(TransactionId xid)
{
	uint32 manager = pg_atomic_read_u32(&MyWorkerSlot->batch);

	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		if (!slot_batch_is_other(slot))
			continue;
		for (int n = 0; n < SLOT_BATCHES; n++)
			if (manager != 0 && pg_atomic_read_u32(&slot->batch_xids[n]) == xid &&
				pg_atomic_read_u32(&slot->batch_managers[n]) == manager)
				return true;
	}
	return false;
}
