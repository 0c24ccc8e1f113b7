/*
 * separate_item.h
 *		Handles items in a subtransaction, and parks the one that fails.
 */
#ifndef PM_SEPARATE_ITEM_H
#define PM_SEPARATE_ITEM_H

#include "dispatch/handle_run.h"
#include "manager/failure.h"

typedef void (*SeparateAct)(HandleRun *, BatchItem *);

/* One of the items that share a subtransaction. */
typedef struct SeparateCall
{
	BatchItem *item;
	Key before;	   /* its key, as it was before the call */
	bool called;   /* the handler was called for it */
	bool behind;   /* its key has a queue, so it must be parked */
	bool replaced; /* it has a new state, so that the old one can be freed */
} SeparateCall;

/* An item that has failed. */
typedef struct SeparateFailure
{
	ErrorData *error; /* NULL: no item has failed */
	bool outside;	  /* raised in no call: the subtransaction could not be committed */
	Failure failure;
	Handling what;
} SeparateFailure;

/*
 * Handles items, by calling act(), in one subtransaction.  Returns how many were handled:
 * all or, if the subtransaction had to end earlier, some of them.  If one fails, nothing
 * has been done, and the result is the number of items before that one.
 */
extern int separate_calls(HandleRun *run, SeparateCall *calls, int count, SeparateAct act,
						  SeparateFailure *failed);

/* Must the batch end here: its time is up, a worker must leave, or it has too many IDs? */
extern bool separate_batch_ends(HandleRun *run, TimestampTz now);

/* Parks an item that has failed, or leaves it for another batch. */
extern void separate_settle(HandleRun *run, BatchItem *item, const SeparateFailure *failed);

/*
 * Handles an item in a subtransaction of its own.  Returns true if it was handled.  If
 * it failed, it has been parked, or left for another batch.
 */
extern bool separate_item(HandleRun *run, BatchItem *item, SeparateAct act);

#endif /* PM_SEPARATE_ITEM_H */
