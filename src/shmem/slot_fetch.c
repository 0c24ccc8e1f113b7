/*
 * slot_fetch.c
 *		Consumers that wait in pm.fetch.
 *
 * Any number of sessions can wait.  Those that wait for the same process manager sleep on
 * the same condition variable, the room of the process manager, which other process
 * managers may share.  Before a session looks at a log, it sets the bit of its room in the
 * slot of the log.  A writer that ends takes the bits and wakes the rooms; the sessions
 * that continue to wait set them again.  So a session that is canceled or killed leaves
 * nothing behind but a bit, which the next writer takes.
 *
 * No wake-up is lost.  The session reads how often its room was woken, sets the bit, and
 * then looks: either it sees what the writer has written, or the writer sees the bit.  A
 * session cannot be on the list of the condition variable while it looks, because the end
 * of a subtransaction takes it off.  So it goes onto the list afterwards, and sleeps only
 * if the room has not been woken meanwhile.
 */
#include "pm.h"

#include "miscadmin.h"
#include "storage/condition_variable.h"

#include "shmem/slot_fetch.h"
#include "shmem/slot_log.h"
#include "shmem/slot_log_table.h"
#include "shmem/slot_memory.h"
#include "shmem/slot_waiters.h"

static ConditionVariable *
slot_fetch_room(int manager)
{
	return &Slots->fetchers[manager % SLOT_FETCH_ROOMS];
}

uint32
slot_fetch_wakes(int manager)
{
	return pg_atomic_read_u32(&Slots->fetch_wakes[manager % SLOT_FETCH_ROOMS]);
}

bool
slot_fetch_prepare(int manager, uint32 wakes)
{
	ConditionVariablePrepareToSleep(slot_fetch_room(manager));
	return slot_fetch_wakes(manager) == wakes;
}

/*
 * As slot_interest() does for a worker.
 */
void
slot_fetch_ask(int manager, Oid relid, LogRef *ref)
{
	uint32 bit = (uint32) 1 << (manager % SLOT_FETCH_ROOMS);
	LogKey key = {MyDatabaseId, relid};
	LogRef now;

	do
	{
		if (!slot_log_valid(ref))
			slot_log_ref(relid, true, ref);
		/* A full barrier. */
		pg_atomic_fetch_or_u32(ref->slot != NULL ? &ref->slot->waiters.fetchers :
												   &slot_log_table_group(&key)->fetchers,
							   bit);
		if (ref->slot == NULL)
			slot_log_ref(relid, false, &now);
	} while (ref->slot != NULL ? !slot_log_valid(ref) : now.slot != NULL);
}

bool
slot_fetch_wait(int manager, long ms, uint32 wait_event)
{
	return !ConditionVariableTimedSleep(slot_fetch_room(manager), ms, wait_event);
}

/*
 * Runs in transaction callbacks: it cannot fail.
 */
void
slot_fetch_wake(int manager)
{
	if (manager != 0)
		slot_waiters_wake_room(manager % SLOT_FETCH_ROOMS);
	else
		for (int i = 0; i < SLOT_FETCH_ROOMS; i++)
			slot_waiters_wake_room(i);
}
