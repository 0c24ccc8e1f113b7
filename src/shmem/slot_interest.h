/*
 * slot_interest.h
 *		Which workers wait for which logs.
 *
 * For a log without a slot, the functions are about its group: the log then shares its
 * waiters and the count of wake-ups with other logs.
 */
#ifndef PM_SLOT_INTEREST_H
#define PM_SLOT_INTEREST_H

#include "shmem/slot_ref.h"

/*
 * Asks that this worker be woken when a writer of the log ends.  *ref is the log's slot
 * afterwards, if it has one.
 */
extern void slot_interest(Oid relid, LogRef *ref);

/* Is this worker still to be woken, and is *ref still what it was when that was asked? */
extern bool slot_interest_asked(Oid relid, const LogRef *ref);

/* Withdraws what this worker has asked for with slot_interest(): for one log, or all. */
extern void slot_interest_drop(Oid relid, const LogRef *ref);
extern void slot_interest_end(void);

/* Has a reader looked at the log, and does a worker wait for its writers? */
extern bool slot_interest_any(Oid relid);

/*
 * Counts the writers of the log that ended while a worker waited for it.  A worker
 * that finds the same count again has missed none.
 */
extern uint64 slot_interest_wakes(Oid relid, const LogRef *ref);

/* Called when a writer of the log has ended: wakes the processes that wait for the log. */
extern void slot_interest_wake(Oid relid, const LogRef *ref);

#endif /* PM_SLOT_INTEREST_H */
