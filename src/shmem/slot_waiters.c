/*
 * slot_waiters.c
 *		Wakes the processes that wait for the writers of a log.
 *
 * They are workers (slot_interest.c) and consumers (slot_fetch.c).  All of this runs in
 * transaction callbacks: it cannot fail, and takes no lock but the spinlock of a condition
 * variable.
 */
#include "pm.h"

#include "storage/condition_variable.h"

#include "shmem/slot_memory.h"
#include "shmem/slot_waiters.h"
#include "shmem/slot_wake.h"

void
slot_waiters_wake_room(int room)
{
	/* Count first, for the sessions that are not on the list yet. */
	pg_atomic_fetch_add_u32(&Slots->fetch_wakes[room], 1);
	ConditionVariableBroadcast(&Slots->fetchers[room]);
}

/*
 * Takes the bits of the rooms: the sessions that keep waiting set them again.
 */
static void
slot_waiters_wake_rooms(LogWaiters *waiters)
{
	uint32 rooms = pg_atomic_read_u32(&waiters->fetchers);

	if (rooms == 0)
		return;
	rooms = pg_atomic_exchange_u32(&waiters->fetchers, 0);
	for (int i = 0; i < SLOT_FETCH_ROOMS; i++)
		if (rooms & ((uint32) 1 << i))
			slot_waiters_wake_room(i);
}

void
slot_waiters_wake(LogWaiters *waiters)
{
	uint64 interest[SLOT_WAKE_WORDS];

	if (!slot_log_table_wanted(waiters))
		return;
	/* Count before waking the workers, because slot_interest_wakes() promises that. */
	pg_atomic_fetch_add_u64(&waiters->wakes, 1);
	for (int w = 0; w < SLOT_WAKE_WORDS; w++)
		interest[w] = pg_atomic_read_u64(&waiters->interest[w]);
	slot_wake_bits(interest);
	slot_waiters_wake_rooms(waiters);
}

void
slot_waiters_dismiss(LogWaiters *waiters)
{
	uint64 interest[SLOT_WAKE_WORDS];

	for (int w = 0; w < SLOT_WAKE_WORDS; w++)
		interest[w] = pg_atomic_exchange_u64(&waiters->interest[w], 0);
	slot_wake_bits(interest);
	slot_waiters_wake_rooms(waiters);
}
