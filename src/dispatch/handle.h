/*
 * handle.h
 *		Handles the events of a unit's logs, and its timers.
 */
#ifndef PM_HANDLE_H
#define PM_HANDLE_H

#include "dispatch/batch_task.h"
#include "dispatch/progress.h"
#include "dispatch/tally.h"

/* Handles a batch of the events after these cursors, and of the timers that are due. */
extern Tally handle_batch(const BatchTask *task, List *cursors, Progress *progress);

#endif /* PM_HANDLE_H */
