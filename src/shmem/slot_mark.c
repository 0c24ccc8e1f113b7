/*
 * slot_mark.c
 *		The mark of a log in shared memory.
 *
 * The mark and "reached" are kept in the log's generations, under the lock of the
 * slot.  Copies of both are read without the lock.
 */
#include "pm.h"

#include "access/xact.h"
#include "miscadmin.h"

#include "shmem/slot_log.h"
#include "shmem/slot_log_table.h"
#include "shmem/slot_mark.h"
#include "shmem/slot_pin.h"

bool
slot_mark_read(const LogRef *ref, int64 *mark, int64 *reached)
{
	uint32 seeded;

	if (ref->slot == NULL)
		return false;
	seeded = pg_atomic_read_u32(&ref->slot->seeded);
	pg_read_barrier();
	*mark = (int64) pg_atomic_read_u64(&ref->slot->mark);
	*reached = (int64) pg_atomic_read_u64(&ref->slot->reached);
	/* If the incarnation is still the same, the values belong to this log. */
	pg_read_barrier();
	return seeded != 0 && slot_log_valid(ref);
}

Generations *
slot_mark_lock(const LogRef *ref)
{
	LWLockAcquire(&ref->slot->lock, LW_EXCLUSIVE);
	/* A slot is taken from its log under this lock, so it remains this log's while we hold it. */
	if (slot_log_valid(ref))
		return &ref->slot->generations;
	LWLockRelease(&ref->slot->lock);
	return NULL;
}

void
slot_mark_unlock(LogSlot *slot)
{
	pg_atomic_write_u64(&slot->mark, (uint64) slot->generations.mark);
	slot_pin(slot);
	LWLockRelease(&slot->lock);
}

/*
 * From here on, a writer that has not taken its lock yet writes nothing at or
 * below "last".  So the caller reads only after this which transactions hold
 * the lock on the table (highwater.c).  The full barrier keeps that order.
 */
void
slot_mark_reach(LogSlot *slot, int64 last)
{
	Assert(LWLockHeldByMeInMode(&slot->lock, LW_EXCLUSIVE));
	if (last <= slot->generations.reached)
		return;
	slot->generations.reached = last;
	pg_atomic_write_u64(&slot->reached, (uint64) last);
	pg_memory_barrier();
}

/*
 * Nothing can appear at or below a cursor, whatever the sequence says.  The cursors
 * need not be read again afterwards, since they only move up to marks.
 */
void
slot_mark_seed(LogSlot *slot, Oid relid, int64 cursor, int64 moved)
{
	LWLockAcquire(&slot->lock, LW_EXCLUSIVE);
	if (slot->relid == relid && slot->database == MyDatabaseId)
	{
		slot->generations.mark = Max(slot->generations.mark, cursor);
		pg_atomic_write_u64(&slot->mark, (uint64) slot->generations.mark);
		slot_mark_reach(slot, Max(cursor, moved));
		/* slot_mark_read() uses the two only after it has seen this. */
		pg_write_barrier();
		pg_atomic_write_u32(&slot->seeded, 1);
	}
	LWLockRelease(&slot->lock);
}

void
slot_mark_used(LogSlot *slot)
{
	/* Do not read the clock, because this is called in each transaction of a writer. */
	uint32 now = slot_log_table_seconds(GetCurrentTransactionStartTimestamp());

	/* Write it rarely, so that the cache line is not taken from other processors. */
	if (pg_atomic_read_u32(&slot->used_at) < now)
		pg_atomic_write_u32(&slot->used_at, now);
}
