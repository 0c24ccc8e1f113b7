/*
 * slot_wake.c
 *		Shared memory: which workers wait for which logs.
 *
 * A worker asks to be woken before it looks at a log, and a writer looks for
 * workers that have asked after it has ended: either the worker sees the
 * writer's event, or the writer sees the worker's bit.
 */
#include "pm.h"

#include "port/pg_bitutils.h"
#include "utils/memutils.h"

#include "shmem/slot.h"

/* What this worker has asked for. */
static LogSlot **asked = NULL;
static int nasked = 0;
static int max_asked = 0;

/*
 * Does anybody wait for the log?
 */
bool
slot_wake_wanted(LogSlot *slot)
{
	for (int w = 0; w < SLOT_WAKE_WORDS; w++)
		if (pg_atomic_read_u64(&slot->interest[w]) != 0)
			return true;
	return false;
}

/*
 * Wakes the workers that have a bit in these words.
 */
void
slot_wake_bits(const uint64 *words)
{
	for (int w = 0; w < SLOT_WAKE_WORDS; w++)
		for (uint64 bits = words[w]; bits != 0; bits &= bits - 1)
			slot_wake(w * 64 + pg_rightmost_one_pos64(bits));
}

static void
slot_wake_remember(LogSlot *slot)
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
 * Says that this worker wants to be woken when a writer of the log ends; without
 * a slot in the end, there is none to be had.  A full barrier: what a caller
 * reads of the log afterwards includes every writer that ended without seeing
 * the bit.
 */
void
slot_log_interest(Oid relid, LogRef *ref)
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
			slot_wake_remember(ref->slot);
		pg_atomic_fetch_or_u64(&ref->slot->interest[index / 64], bit);
		/* If it was taken before the bit was set, nobody has seen that. */
		if (slot_log_valid(ref))
			return;
	}
}

static void
slot_wake_unask(LogSlot *slot, int index)
{
	uint64 bit = UINT64CONST(1) << (index % 64);

	if (pg_atomic_read_u64(&slot->interest[index / 64]) & bit)
		pg_atomic_fetch_and_u64(&slot->interest[index / 64], ~bit);
}

/*
 * This worker waits for no log any more.
 */
void
slot_no_interest(void)
{
	for (int i = 0; i < nasked; i++)
		slot_wake_unask(asked[i], MyWorkerSlot - Slots->workers);
	nasked = 0;
}

/*
 * Takes the interest bits of a worker off all logs.  Caller holds Slots->lock, so
 * that nobody else gets the worker's slot meanwhile.
 */
void
slot_clear_interest(int index)
{
	LogSlot *slot;

	Assert(LWLockHeldByMe(&Slots->lock));
	for (int i = 0; (slot = slot_log_nth(i)) != NULL; i++)
		slot_wake_unask(slot, index);
}

/*
 * Wakes the workers that wait for the log.
 */
void
slot_log_wake(LogSlot *slot)
{
	uint64 interest[SLOT_WAKE_WORDS];

	if (!slot_wake_wanted(slot))
		return;
	/* Before they are woken: a worker that finds the same count again has missed nobody. */
	pg_atomic_fetch_add_u64(&slot->wakes, 1);
	for (int w = 0; w < SLOT_WAKE_WORDS; w++)
		interest[w] = pg_atomic_read_u64(&slot->interest[w]);
	slot_wake_bits(interest);
}
