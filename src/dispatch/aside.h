/*
 * aside.h
 *		Sets items of a batch aside: those that failed, and those that wait for another one.
 */
#ifndef PM_ASIDE_H
#define PM_ASIDE_H

#include "dispatch/handle_run.h"
#include "manager/failure.h"

/* Does a key have a queue, so that its items must wait? */
extern bool aside_has_queue(HandleRun *run, Key *key);

/* Parks an item whose key has a queue, or one that has not been tried for its key. */
extern void aside_behind(HandleRun *run, const BatchItem *item);
extern void aside_untried(HandleRun *run, const BatchItem *item);

/* Parks the item that the state of the unit is about. */
extern void aside_park(HandleRun *run, const BatchItem *item, ErrorData *error, Failure failure);

/* Parks an item that has failed in this batch, in a subtransaction of its own. */
extern void aside_failed(HandleRun *run, const BatchItem *item, ErrorData *error,
						 const Failure *failure);

/*
 * For an item that is about to be parked, or that has a subtransaction: parks it without a
 * key if correlate fails permanently for it or defers it.  Returns false if the item has a
 * key, or its key has not been asked for.
 */
extern bool aside_keyless(HandleRun *run, BatchItem *item);

/* Writes the rows of what has been parked. */
extern void aside_write(HandleRun *run);

/* Writes what aside_failed() has counted. */
extern void aside_count(const HandleRun *run);

#endif /* PM_ASIDE_H */
