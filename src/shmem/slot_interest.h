/*
 * slot_interest.h
 *		Which workers wait for which logs.
 */
#ifndef PM_SLOT_INTEREST_H
#define PM_SLOT_INTEREST_H

#include "shmem/slot_ref.h"

/*
 * This worker wants to be woken when a writer of the log ends.  If *ref has no slot
 * afterwards, none can be had and nobody will wake the worker.
 */
extern void slot_interest(Oid relid, LogRef *ref);

/* This worker waits for no log any more. */
extern void slot_interest_end(void);

/*
 * Counts ends of writers of the log while a worker waited for it: one that finds the
 * same count again has missed none.
 */
extern uint64 slot_interest_wakes(const LogRef *ref);

/* Takes all bits of a worker away.  The caller holds the workers' lock. */
extern void slot_interest_clear(int index);

/* A writer of the log has ended: wakes the workers that wait for it. */
extern void slot_interest_wake(LogSlot *slot);

#endif /* PM_SLOT_INTEREST_H */
