/*
 * failed.h
 *		Records the failure of a dispatcher's batch.
 */
#ifndef PM_FAILED_H
#define PM_FAILED_H

#include "dispatch/progress.h"
#include "worker/unit.h"

/*
 * Records why a batch has failed, or searches for the event that caused the
 * failure, and sets when the unit is run again.  Must be called outside of a
 * transaction.
 */
extern void failed_batch(Unit *unit, ErrorData *error, const Progress *progress);

#endif /* PM_FAILED_H */
