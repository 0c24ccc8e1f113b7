/*
 * slot_pin.c
 *		Transactions that have used the mark of a log.
 *
 * A reader reads up to the mark, and moves a cursor there when it commits.  Until
 * then the log's slot is pinned, because the highest position that readers have
 * seen must not be forgotten.  Pins are released when the end of the transaction
 * is visible to others, or when it is prepared.  They could not protect a
 * prepared transaction, which outlives shared memory.
 */
#include "pm.h"

#include "access/xact.h"
#include "utils/memutils.h"

#include "base/guc.h"
#include "shmem/slot_log_table.h"
#include "shmem/slot_pin.h"

/* The slots that this transaction has pinned, and for each slot whether it is among them. */
static LogSlot **pins = NULL;
static bool *pinned = NULL;
static int npins = 0;

void
slot_pin(LogSlot *slot)
{
	/* There is room for all slots, so that only the first pin of a backend can fail. */
	if (pinned == NULL)
	{
		pins = MemoryContextAllocHuge(TopMemoryContext, sizeof(LogSlot *) * guc_max_logs);
		pinned = MemoryContextAllocZero(TopMemoryContext, sizeof(bool) * guc_max_logs);
	}
	if (pinned[slot->waiters.number])
		return;
	pinned[slot->waiters.number] = true;
	pins[npins++] = slot;
	pg_atomic_fetch_add_u32(&slot->pins, 1);
}

static void
slot_pin_xact_callback(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	/* This must not fail: the transaction has ended. */
	while (npins > 0)
	{
		LogSlot *slot = pins[--npins];

		pinned[slot->waiters.number] = false;
		pg_atomic_fetch_sub_u32(&slot->pins, 1);
	}
}

void
slot_pin_install(void)
{
	RegisterXactCallback(slot_pin_xact_callback, NULL);
}
