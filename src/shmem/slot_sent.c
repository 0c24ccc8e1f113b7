/*
 * slot_sent.c
 *		Tells dispatchers that something was sent to instances.
 *
 * A dispatcher looks into the queue of what was sent only if a count in shared memory
 * has changed since it looked last, so that the queue costs nothing where nothing is
 * sent.  The sender increments the count after its transaction has committed, so a
 * dispatcher that sees the new count also sees the rows.  Several process managers can
 * share a count; then a dispatcher may look and find nothing.
 *
 * Nothing here takes a lock or can fail, so that it can run in a transaction callback.
 */
#include "pm.h"

#include "common/hashfn.h"
#include "miscadmin.h"

#include "shmem/slot_memory.h"
#include "shmem/slot_sent.h"
#include "shmem/slot_wake.h"

static pg_atomic_uint64 *
slot_sent_of(int manager)
{
	uint32 hash = hash_combine(murmurhash32((uint32) manager), murmurhash32(MyDatabaseId));

	return &Slots->sent[hash % SLOT_SENT_COUNTS];
}

uint64
slot_sent_count(int manager)
{
	return Slots == NULL ? 0 : pg_atomic_read_u64(slot_sent_of(manager));
}

void
slot_sent(int manager, Oid owner)
{
	bool any = false;

	pg_atomic_fetch_add_u64(slot_sent_of(manager), 1);
	for (int i = 0; i < Slots->nworkers; i++)
		if (slot_memory_serves(&Slots->workers[i], WORKER_DISPATCHER, MyDatabaseId, owner))
		{
			slot_wake(i);
			any = true;
		}
	if (!any)
		slot_wake_kind(WORKER_SCHEDULER, MyDatabaseId);
}
