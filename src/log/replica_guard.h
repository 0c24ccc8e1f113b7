/*
 * replica_guard.h
 *		The triggers that put the events of a subscription into a replica log.
 */
#ifndef PM_REPLICA_GUARD_H
#define PM_REPLICA_GUARD_H

#include "utils/relcache.h"

/*
 * Draws the position of an event that arrives, and returns true; false if the log has, or
 * had, the event already.  The publisher's position and the event are in the tuple.
 */
extern bool replica_admit(Relation rel, HeapTuple tuple, int64 *position);

#endif /* PM_REPLICA_GUARD_H */
