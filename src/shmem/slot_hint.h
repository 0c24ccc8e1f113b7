/*
 * slot_hint.h
 *		The hints that writers publish.
 */
#ifndef PM_SLOT_HINT_H
#define PM_SLOT_HINT_H

#include "storage/lock.h"

/* Adds the hints' part of shared memory; called while the postmaster preloads. */
extern void slot_hint_install(void);

/*
 * Publishes that this transaction writes nothing at or below "floor" in the log, if
 * there is room.  Called once for each transaction and log.
 */
extern void slot_hint_publish(Oid relid, int64 floor);

/* Finds the hint that a transaction has published for a log, if any. */
extern bool slot_hint(VirtualTransactionId vxid, Oid relid, int64 *floor);

#endif /* PM_SLOT_HINT_H */
