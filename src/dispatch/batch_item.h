/*
 * batch_item.h
 *		One event or timer of a batch.
 */
#ifndef PM_BATCH_ITEM_H
#define PM_BATCH_ITEM_H

#include "base/key.h"
#include "dispatch/batch_task.h"
#include "dispatch/lane_share.h"
#include "shmem/handling.h"

#define BATCH_ITEM_NO_LOG (-1)

typedef struct BatchItem
{
	HandlingSource source;
	int log; /* number among the batch's logs; BATCH_ITEM_NO_LOG: not read from one */
	const LaneShare *share; /* NULL: it belongs to this lane, whatever its key is */
	int64 position;
	int64 id;			  /* of a timer's or a parked event's row */
	const char *log_name; /* NULL for a timer */
	TimestampTz time;	  /* recorded or due at */
	Datum event;		  /* a pm.event */
	int64 too_large;	  /* its size, if a stub stands for it; else 0 */
	Key *key;			  /* NULL: not known yet, or not for this unit */
	/* An event that goes to several keys of this unit: all of them; "key" is one of these. */
	Key **keys;
	int nkeys; /* 0: it has one key */
	const struct BatchItem
		*set_by; /* of a timer that this batch has set: the event that led to it */
	bool passed; /* it is not for this unit */
} BatchItem;

/* Writes the fields that identify the item into *handling, and no others. */
extern void batch_item_name(const BatchItem *item, Handling *handling);

/* Marks that the extension itself works on the item, until crash_unmark(). */
extern void batch_item_crash_mark(const BatchTask *task, const BatchItem *item);

#endif /* PM_BATCH_ITEM_H */
