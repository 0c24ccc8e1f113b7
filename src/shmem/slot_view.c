/*
 * slot_view.c
 *		A copy of what shared memory knows of the workers, for monitoring.
 */
#include "pm.h"

#include "shmem/slot_memory.h"
#include "shmem/slot_view.h"

/*
 * The caller holds Slots->lock.
 */
static void
slot_view_copy(WorkerSlot *slot, WorkerView *worker)
{
	worker->in_use = slot->in_use;
	worker->kind = slot->kind;
	worker->database = slot->database;
	worker->role = slot->role;
	worker->pid = slot->pid;
	worker->proc = slot->proc;
	worker->started_at = slot->started_at;
	worker->serving = slot->serving;
	worker->misses = slot->careful_misses;
	worker->careful_waits = slot->careful_ticket != 0 ? slot->careful_waits : 0;
	/* The worker writes this part without the other lock. */
	SpinLockAcquire(&slot->mutex);
	worker->now = slot->now;
	SpinLockRelease(&slot->mutex);
}

int
slot_view(WorkerView **workers)
{
	int count = Slots != NULL ? Slots->nworkers : 0;

	*workers = palloc(sizeof(WorkerView) * Max(count, 1));
	if (count == 0)
		return 0;
	LWLockAcquire(&Slots->lock, LW_SHARED);
	for (int i = 0; i < count; i++)
		slot_view_copy(&Slots->workers[i], &(*workers)[i]);
	LWLockRelease(&Slots->lock);
	return count;
}

bool
slot_view_serves(const WorkerView *worker, WorkerKind kind, Oid database, Oid role)
{
	return worker->in_use && worker->kind == kind && worker->database == database &&
		   worker->role == role;
}
