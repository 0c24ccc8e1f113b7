/*
 * retry.h
 *		Handles the queues of parked keys.
 */
#ifndef PM_RETRY_H
#define PM_RETRY_H

#include "dispatch/batch_task.h"
#include "dispatch/progress.h"
#include "dispatch/tally.h"
#include "manager/park_queue.h"

/* Handles the head of a queue, which is due, and others, up to max_parked events in all. */
extern Tally retry_batch(const BatchTask *task, Parked *head, int max_parked, Progress *progress);

/* Writes to the server's log that a parked event is gone from its log. */
extern void retry_say_gone(ProcessManager *pm, const BatchItem *item);

#endif /* PM_RETRY_H */
