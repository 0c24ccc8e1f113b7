/*
 * slot_interest.h
 *		Which workers wait for which logs.
 */
#ifndef PM_SLOT_INTEREST_H
#define PM_SLOT_INTEREST_H

#include "shmem/slot_ref.h"

/*
 * Asks that this worker be woken when a writer of the log ends.  If *ref has no
 * slot afterwards, there was none for the log, and no writer will wake the worker.
 */
extern void slot_interest(Oid relid, LogRef *ref);

/* Withdraws all that this worker has asked for with slot_interest(). */
extern void slot_interest_end(void);

/*
 * Counts the writers of the log that ended while a worker waited for it.  A worker
 * that finds the same count again has missed none.
 */
extern uint64 slot_interest_wakes(const LogRef *ref);

/* Clears all bits of a worker.  The caller holds the workers' lock. */
extern void slot_interest_clear(int index);

/* Called when a writer of the log has ended: wakes the workers that wait for the log. */
extern void slot_interest_wake(LogSlot *slot);

#endif /* PM_SLOT_INTEREST_H */
