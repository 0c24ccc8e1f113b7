/*
 * failed.h
 *		A dispatcher's batch has failed.
 */
#ifndef PM_FAILED_H
#define PM_FAILED_H

#include "dispatch/progress.h"
#include "worker/unit.h"

/*
 * Records why a batch has failed, or looks for the event that is to blame, and sets
 * when the unit is looked at again.  Runs in no transaction.
 */
extern void failed_batch(Unit *unit, ErrorData *error, const Progress *progress);

#endif /* PM_FAILED_H */
