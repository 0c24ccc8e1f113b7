/*
 * slot_interest.c
 *		Which workers wait for which logs.
 *
 * A worker sets its bit in the log's slot before it reads the log, and a writer
 * reads the bits after its transaction has ended.  So either the worker sees the
 * writer's event, or the writer sees the worker's bit.
 */
#include "pm.h"

#include "utils/memutils.h"

#include "shmem/slot_fetch.h"
#include "shmem/slot_interest.h"
#include "shmem/slot_log.h"
#include "shmem/slot_log_table.h"
#include "shmem/slot_memory.h"
#include "shmem/slot_wake.h"

/* The slots in which this worker has set its bit. */
static LogSlot **asked = NULL;
static int nasked = 0;
static int max_asked = 0;

static void
slot_interest_remember(LogSlot *slot)
{
	if (nasked == max_asked)
	{
		max_asked = Max(64, max_asked * 2);
		asked = asked == NULL ?
					MemoryContextAlloc(TopMemoryContext, sizeof(LogSlot *) * max_asked) :
					repalloc_huge(asked, sizeof(LogSlot *) * max_asked);
	}
	asked[nasked++] = slot;
}

/*
 * Setting the bit is a full barrier: what the caller reads from the log
 * afterwards includes the events of every writer that ended without seeing the
 * bit.
 */
void
slot_interest(Oid relid, LogRef *ref)
{
	int index = MyWorkerSlot - Slots->workers;
	uint64 bit = UINT64CONST(1) << (index % 64);

	for (;;)
	{
		if (!slot_log_valid(ref))
			slot_log_ref(relid, true, ref);
		if (ref->slot == NULL)
			return;
		if ((pg_atomic_read_u64(&ref->slot->interest[index / 64]) & bit) == 0)
			slot_interest_remember(ref->slot);
		pg_atomic_fetch_or_u64(&ref->slot->interest[index / 64], bit);
		/* If the slot was taken from the log before the bit was set, no writer has seen the bit. */
		if (slot_log_valid(ref))
			return;
	}
}

static void
slot_interest_unask(LogSlot *slot, int index)
{
	uint64 bit = UINT64CONST(1) << (index % 64);

	if (pg_atomic_read_u64(&slot->interest[index / 64]) & bit)
		pg_atomic_fetch_and_u64(&slot->interest[index / 64], ~bit);
}

void
slot_interest_end(void)
{
	for (int i = 0; i < nasked; i++)
		slot_interest_unask(asked[i], MyWorkerSlot - Slots->workers);
	nasked = 0;
}

/*
 * The lock keeps any other worker from getting this worker's slot meanwhile.
 */
void
slot_interest_clear(int index)
{
	LogSlot *slot;

	Assert(LWLockHeldByMe(&Slots->lock));
	for (int i = 0; (slot = slot_log_table_nth(i)) != NULL; i++)
		slot_interest_unask(slot, index);
}

uint64
slot_interest_wakes(const LogRef *ref)
{
	return pg_atomic_read_u64(&ref->slot->wakes);
}

/*
 * Runs in transaction callbacks: it cannot fail, and takes no lock.
 */
void
slot_interest_wake(LogSlot *slot)
{
	uint64 interest[SLOT_WAKE_WORDS];

	if (!slot_log_table_wanted(slot))
		return;
	/* Count before waking the workers, because slot_interest_wakes() promises that. */
	pg_atomic_fetch_add_u64(&slot->wakes, 1);
	for (int w = 0; w < SLOT_WAKE_WORDS; w++)
		interest[w] = pg_atomic_read_u64(&slot->interest[w]);
	slot_wake_bits(interest);
	slot_fetch_wake_log(slot);
}
