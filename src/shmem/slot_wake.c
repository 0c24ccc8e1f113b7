/*
 * slot_wake.c
 *		Wakes workers.
 *
 * Nothing here takes a lock or can fail, so that it can run in a transaction
 * callback.
 */
#include "pm.h"

#include "port/pg_bitutils.h"
#include "storage/latch.h"

#include "shmem/slot_memory.h"
#include "shmem/slot_wake.h"

/*
 * The slot needs no lock: PGPROCs are never freed, and if a latch is set for no
 * reason, its owner only checks once more.
 *
 * Other waits of the worker use the same latch and reset it: a parallel query,
 * a lock, a condition variable.  So wake-ups are also counted, and a worker
 * compares the count before it sleeps.
 */
void
slot_wake(int index)
{
	PGPROC *proc = ((volatile WorkerSlot *) &Slots->workers[index])->proc;

	/* Count first, because a worker that is woken compares the count. */
	pg_atomic_fetch_add_u32(&Slots->workers[index].wakes, 1);
	if (proc != NULL)
		SetLatch(&proc->procLatch);
}

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

void
slot_wake_bits(const uint64 *words)
{
	for (int w = 0; w < SLOT_WAKE_WORDS; w++)
		for (uint64 bits = words[w]; bits != 0; bits &= bits - 1)
			slot_wake(w * 64 + pg_rightmost_one_pos64(bits));
}
