/*
 * slot_share.c
 *		Shared memory: how the dispatchers of a role share out its units.
 *
 * Only lanes make a role have more than one.  The order of their slots is the
 * order of their shares; whoever comes or goes says so to the others.
 */
#include "pm.h"

#include "shmem/slot.h"

/*
 * A dispatcher has come or gone: those of its role share out the units anew.
 */
void
slot_workers_changed(WorkerKind kind, Oid database, Oid role)
{
	if (kind != WORKER_DISPATCHER)
		return;
	pg_atomic_fetch_add_u64(&Slots->worker_generation, 1);
	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		if (slot->in_use && slot->kind == WORKER_DISPATCHER && slot->database == database &&
			slot->role == role)
			slot_wake(i);
	}
}

/*
 * This dispatcher is ready to run its share of its role's units.
 */
void
slot_serve(void)
{
	MyWorkerSlot->serving = true;
	slot_workers_changed(WORKER_DISPATCHER, MyWorkerSlot->database, MyWorkerSlot->role);
}

/*
 * Which of the dispatchers of its role this one is, of *count.  One that is
 * about to start has no part yet.
 */
int
slot_rank(int *count)
{
	int rank = 0;

	*count = 0;
	LWLockAcquire(&Slots->lock, LW_SHARED);
	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		if (!slot_serves(slot, WORKER_DISPATCHER, MyWorkerSlot->database, MyWorkerSlot->role) ||
			!slot->serving)
			continue;
		if (slot == MyWorkerSlot)
			rank = *count;
		(*count)++;
	}
	LWLockRelease(&Slots->lock);
	return rank;
}
