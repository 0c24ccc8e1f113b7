/*
 * careful.h
 *		After a promotion, calls a handler only for items that were noted before.
 */
#ifndef PM_CAREFUL_H
#define PM_CAREFUL_H

#include "dispatch/handle_run.h"
#include "manager/park_queue.h"

/*
 * Has a primary that is gone left a note?  Then its item is counted as failed, and the
 * batch ends.
 */
extern bool careful_judge(ProcessManager *pm, int lane, const LaneState *state);

/*
 * May the handler be called for this item, or (the second one) for a parked one?  If not,
 * the item has been noted, or a standby must follow this server first: *tally says which,
 * and the batch ends.
 */
extern bool careful_may(HandleRun *run, BatchItem *item);
extern bool careful_may_retry(const BatchTask *task, const Parked *head, Tally *tally);

/* Called when a careful batch has handled all that it found, or enough. */
extern void careful_passed(const BatchTask *task);

#endif /* PM_CAREFUL_H */
