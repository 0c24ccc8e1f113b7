/*
 * careful.h
 *		After a promotion, calls a handler only for items that were noted before.
 */
#ifndef PM_CAREFUL_H
#define PM_CAREFUL_H

#include "dispatch/handle_run.h"
#include "manager/park_queue.h"

/*
 * Does a note of this unit say that an earlier primary was lost with an item in hand?  Then
 * that is counted, and the batch ends.
 */
extern bool careful_judge(ProcessManager *pm, int lane);

/*
 * Must a parked item be noted, even if the unit has passed what was in hand?
 */
extern bool careful_wants(const BatchTask *task, const Parked *head);

/*
 * May the handler be called for this item, or (the second one) for a parked one?  If not,
 * either the item has been noted, or something must be waited for: *tally says which, and
 * the batch ends.
 */
extern bool careful_may(HandleRun *run, BatchItem *item, bool failed);
extern bool careful_may_retry(const BatchTask *task, const Parked *head, Tally *tally);

#endif /* PM_CAREFUL_H */
