/*
 * batch.h
 *		Decides what a batch of a unit handles, and in which order.
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
	int left_out; /* how many logs are left out: without them no timer may fire */
	bool broken;  /* one of these logs has a problem */
	int count;	  /* the number of events, which are merged in the order to handle them */
	BatchItem **events;
	int next;		   /* the next of these events */
	int *taken;		   /* how many of the events are from each log */
	bool cut;		   /* it is not known what comes after the last event */
	TimestampTz later; /* in a walk: the time of the next event, after task->now; 0: not known */
} Batch;

/* Opens the logs, and reads them.  False if the batch must not handle anything now. */
extern bool batch_read(Batch *batch, const BatchTask *task, List *cursors);

/* Does the batch have anything to handle? */
extern bool batch_any(const Batch *batch);

/* Returns the next event or timer to handle, or NULL if there is none. */
extern BatchItem *batch_next(Batch *batch);

/* Takes back the item that batch_next() has returned last, because it is not handled yet. */
extern void batch_put_back(Batch *batch, const BatchItem *item);

/*
 * In a walk: the time of the next event that has not been handled.  DT_NOEND if there is
 * none; false if it is not known.
 */
extern bool batch_next_event(const Batch *batch, TimestampTz *time);

/* In a walk: the time of an item, at which it is handled. */
extern TimestampTz batch_time(const Batch *batch, const BatchItem *item);

/* Does the batch have more timers that may fire? */
extern bool batch_any_timer(const Batch *batch);

#endif /* PM_BATCH_H */
