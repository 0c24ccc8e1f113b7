/*
 * slot_share.c
 *		How the dispatchers of a role share its units.
 *
 * A role has several dispatchers only if its process managers have lanes.  The
 * order of their slots is the order of their shares.  When a dispatcher starts or
 * ends, the others of its role are woken, and each computes its share again.
 */
#include "pm.h"

#include "shmem/slot_memory.h"
#include "shmem/slot_share.h"
#include "shmem/slot_wake.h"

void
slot_share_changed(WorkerKind kind, Oid database, Oid role)
{
	if (kind != WORKER_DISPATCHER)
		return;
	/* Count first, because a dispatcher that is woken compares the count. */
	pg_atomic_fetch_add_u64(&Slots->worker_generation, 1);
	for (int i = 0; i < Slots->nworkers; i++)
		if (slot_memory_serves(&Slots->workers[i], WORKER_DISPATCHER, database, role))
			slot_wake(i);
}

void
slot_share_begin(void)
{
	MyWorkerSlot->serving = true;
	slot_share_changed(WORKER_DISPATCHER, MyWorkerSlot->database, MyWorkerSlot->role);
}

uint64
slot_share_generation(void)
{
	return pg_atomic_read_u64(&Slots->worker_generation);
}

/*
 * A dispatcher that is about to start has no share yet.
 */
int
slot_share_rank(int *count)
{
	int rank = 0;

	*count = 0;
	LWLockAcquire(&Slots->lock, LW_SHARED);
	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		if (!slot_memory_serves(slot, WORKER_DISPATCHER, MyWorkerSlot->database,
								MyWorkerSlot->role) ||
			!slot->serving)
			continue;
		if (slot == MyWorkerSlot)
			rank = *count;
		(*count)++;
	}
	LWLockRelease(&Slots->lock);
	return rank;
}
