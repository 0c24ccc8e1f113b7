/*
 * failed.h
 *		A dispatcher's batch has failed.
 */
#ifndef PM_FAILED_H
#define PM_FAILED_H

#include "dispatch/progress.h"
#include "worker/unit.h"

extern void failed_batch(Unit *unit, ErrorData *error, const Progress *progress);

#endif /* PM_FAILED_H */
