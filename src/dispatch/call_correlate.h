/*
 * call_correlate.h
 *		Finds out the keys of the events in a batch.
 */
#ifndef PM_CALL_CORRELATE_H
#define PM_CALL_CORRELATE_H

#include "dispatch/call.h"

/*
 * Finds out an item's key, or its keys.  False if the item is not for this unit.  If
 * the item fails, the error is that of the nth item of the batch.
 */
extern bool call_correlate(Calls *calls, BatchItem *item, int nth);

/* Is an item that has no key for this unit?  That depends on its stream. */
extern bool call_correlate_by_stream(const BatchItem *item);

#endif /* PM_CALL_CORRELATE_H */
