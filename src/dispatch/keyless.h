/*
 * keyless.h
 *		Events whose key correlate cannot determine: never, or not yet.
 */
#ifndef PM_KEYLESS_H
#define PM_KEYLESS_H

#include "dispatch/call.h"
#include "manager/failure.h"
#include "manager/park_queue.h"

/*
 * Asks for the key of an item, the nth of the batch, and continues if correlate fails
 * permanently or defers the item: returns NULL, or that error.
 */
extern ErrorData *keyless_ask(Calls *calls, BatchItem *item, int nth, Failure *failure);

/*
 * Asks for the key of a parked event again, and parks it under its key.  "event" has
 * been read from its log.
 */
extern void keyless_retry(Calls *calls, BatchItem *item);

/* Parks such an event, whose key is known now, under its key, or under each of its keys. */
extern void keyless_give(const BatchTask *task, BatchItem *item);

#endif /* PM_KEYLESS_H */
