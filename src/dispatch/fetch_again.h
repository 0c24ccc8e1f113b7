/*
 * fetch_again.h
 *		Reads again what a consumer has fetched from the logs and timers of a lane.
 */
#ifndef PM_FETCH_AGAIN_H
#define PM_FETCH_AGAIN_H

#include "dispatch/batch.h"
#include "manager/lease.h"

typedef struct FetchAgain
{
	Lease *lease;
	BatchTask task;
	Batch batch;
} FetchAgain;

/* Reads what was fetched, in the order in which it was fetched. */
extern void fetch_again(FetchAgain *again, Lease *lease, LaneState *state);

/* Determines the keys of the events of its batch. */
extern void fetch_again_keys(FetchAgain *again);

/* The next item, even if it was not fetched; NULL at the end. */
extern BatchItem *fetch_again_next(FetchAgain *again);

/* Is the item among those that were fetched, and neither advanced nor failed? */
extern bool fetch_again_has(const FetchAgain *again, const BatchItem *item);

#endif /* PM_FETCH_AGAIN_H */
