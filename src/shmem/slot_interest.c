/*
 * slot_interest.c
 *		Which workers wait for which logs.
 *
 * A worker sets its bit in the log's slot before it reads the log, and a writer
 * reads the bits after its transaction has ended.  So either the worker sees the
 * writer's event, or the writer sees the worker's bit.
 *
 * A log without a slot belongs to a group of logs, by its hash, and the worker's bit is
 * set in the group.  When a log loses its slot or gets one, the workers that wait for it
 * in the slot or in the group are woken, and set their bits again.
 */
#include "pm.h"

#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"

#include "shmem/slot_interest.h"
#include "shmem/slot_log.h"
#include "shmem/slot_log_table.h"
#include "shmem/slot_memory.h"
#include "shmem/slot_waiters.h"

/* In which waiters this worker has set its bit: a bit for each, by number. */
static uint64 *asked = NULL;

static LogWaiters *
slot_interest_waiters(Oid relid, const LogRef *ref)
{
	LogKey key = {MyDatabaseId, relid};

	return ref->slot != NULL ? &ref->slot->waiters : slot_log_table_group(&key);
}

/*
 * The bit is remembered before it is set, because this can fail.
 */
static void
slot_interest_remember(LogWaiters *waiters)
{
	if (asked == NULL)
		asked = MemoryContextAllocZero(TopMemoryContext,
									   sizeof(uint64) * (slot_log_table_numbers() / 64 + 1));
	asked[waiters->number / 64] |= UINT64CONST(1) << (waiters->number % 64);
}

static inline uint64
slot_interest_bit(int *word)
{
	int index = MyWorkerSlot - Slots->workers;

	*word = index / 64;
	return UINT64CONST(1) << (index % 64);
}

/*
 * Does the log still have this slot or, if it had none, still none?
 */
static bool
slot_interest_current(Oid relid, const LogRef *ref)
{
	LogRef now;

	if (ref->slot != NULL)
		return slot_log_valid(ref);
	slot_log_ref(relid, false, &now);
	return now.slot == NULL;
}

/*
 * Setting the bit is a full barrier: what the caller reads from the log
 * afterwards includes the events of every writer that ended without seeing the
 * bit.
 */
void
slot_interest(Oid relid, LogRef *ref)
{
	int word;
	uint64 bit = slot_interest_bit(&word);

	for (;;)
	{
		LogWaiters *waiters;

		if (!slot_log_valid(ref))
			slot_log_ref(relid, true, ref);
		waiters = slot_interest_waiters(relid, ref);
		slot_interest_remember(waiters);
		pg_atomic_fetch_or_u64(&waiters->interest[word], bit);
		/*
		 * If the log lost its slot or got one before the bit was set, no writer has seen the
		 * bit.
		 */
		if (slot_interest_current(relid, ref))
			return;
	}
}

bool
slot_interest_asked(Oid relid, const LogRef *ref)
{
	int word;
	uint64 bit = slot_interest_bit(&word);

	/*
	 * If the log has been given a slot since, the workers that wait in its group have been
	 * woken.
	 */
	return (ref->slot == NULL || slot_log_valid(ref)) &&
		   (pg_atomic_read_u64(&slot_interest_waiters(relid, ref)->interest[word]) & bit) != 0;
}

static void
slot_interest_unask(LogWaiters *waiters)
{
	int word;
	uint64 bit = slot_interest_bit(&word);

	if (pg_atomic_read_u64(&waiters->interest[word]) & bit)
		pg_atomic_fetch_and_u64(&waiters->interest[word], ~bit);
}

void
slot_interest_drop(Oid relid, const LogRef *ref)
{
	slot_interest_unask(slot_interest_waiters(relid, ref));
}

void
slot_interest_end(void)
{
	if (asked == NULL)
		return;
	for (int i = 0; i <= slot_log_table_numbers() / 64; i++)
	{
		for (uint64 bits = asked[i]; bits != 0; bits &= bits - 1)
			slot_interest_unask(slot_log_table_waiters(i * 64 + pg_rightmost_one_pos64(bits)));
		asked[i] = 0;
	}
}

bool
slot_interest_any(Oid relid)
{
	LogRef ref;
	bool any = false;

	slot_log_ref(relid, false, &ref);
	if (ref.slot == NULL || pg_atomic_read_u32(&ref.slot->seeded) == 0)
		return false;
	for (int w = 0; w < SLOT_WAKE_WORDS; w++)
		any |= pg_atomic_read_u64(&ref.slot->waiters.interest[w]) != 0;
	return any && slot_log_valid(&ref);
}

uint64
slot_interest_wakes(Oid relid, const LogRef *ref)
{
	return pg_atomic_read_u64(&slot_interest_waiters(relid, ref)->wakes);
}

/*
 * Runs in transaction callbacks: it cannot fail, and takes no lock.
 */
void
slot_interest_wake(Oid relid, const LogRef *ref)
{
	slot_waiters_wake(slot_interest_waiters(relid, ref));
}
