/*
 * replica_guard.h
 *		The triggers that put the events of a subscription into a replica log.
 */
#ifndef PM_REPLICA_GUARD_H
#define PM_REPLICA_GUARD_H

#include "utils/relcache.h"

/* The publisher's position of an event. */
#define REPLICA_ORIGIN		  "origin_position"

#define REPLICA_BEGIN_TRIGGER "pm_arrival_begin"
#define REPLICA_ROW_TRIGGER	  "pm_arrival"
#define REPLICA_END_TRIGGER	  "pm_arrival_end"

/* The number of the column with the publisher's position; InvalidAttrNumber if there is none. */
extern AttrNumber replica_origin_column(Relation rel);
/* The unique index on that column; InvalidOid if there is none. */
extern Oid replica_origin_index(Relation rel);
/*
 * Draws the position of an event that arrives, and returns true; false if the log has, or
 * had, the event already.  The publisher's position and the event are in the tuple.
 */
extern bool replica_admit(Relation rel, HeapTuple tuple, int64 *position);

#endif /* PM_REPLICA_GUARD_H */
