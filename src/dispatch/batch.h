/*
 * batch.h
 *		What a batch of a unit handles, and in which order.
 */
#ifndef PM_BATCH_H
#define PM_BATCH_H

#include "dispatch/batch_item.h"
#include "dispatch/batch_log.h"
#include "dispatch/batch_task.h"
#include "dispatch/batch_timer.h"

typedef struct Batch
{
	const BatchTask *task;
	Keys keys;		/* what is known of the items' keys */
	BatchLogs logs; /* what is read */
	BatchTimers timers;
	int left_out; /* logs: without them no timer may fire */
	bool broken;  /* something is wrong with one of these */
	int count;	  /* events, merged in the order to handle them, */
	BatchItem **events;
	int next;	/* of these */
	int *taken; /* and how many there are of each log */
	bool cut;	/* what comes after the last of them is not known */
} Batch;

/* Opens the logs, and reads them.  False when that is not to be handled now. */
extern bool batch_read(Batch *batch, const BatchTask *task, List *cursors);

/* Has it anything to handle? */
extern bool batch_any(const Batch *batch);

/* Returns what is to be handled next; NULL: nothing. */
extern BatchItem *batch_next(Batch *batch);

/* Takes back what batch_next() has returned last: not yet. */
extern void batch_put_back(Batch *batch, const BatchItem *item);

/* Has it more timers that may fire? */
extern bool batch_any_timer(const Batch *batch);

#endif /* PM_BATCH_H */
