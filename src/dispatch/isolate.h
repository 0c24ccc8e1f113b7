/*
 * isolate.h
 *		Finds the event that a batch has failed for.
 */
#ifndef PM_ISOLATE_H
#define PM_ISOLATE_H

#include "dispatch/dispatch.h"
#include "manager/registry.h"

/* What a unit is to run next.  All zero: batches as usual. */
typedef struct Isolate
{
	int prefix;			/* this many events, which went well before the failing one, */
	int singles;		/* then this many, one at a time */
	int parked_singles; /* this many parked ones, one at a time */
} Isolate;

/* How many events the next batch may have, of the logs and of a parked key. */
extern int isolate_limit(const Isolate *isolate, int batch_size);
extern int isolate_limit_parked(const Isolate *isolate, int batch_size);

/* A batch went well. */
extern void isolate_succeeded(Isolate *isolate, const DispatchResult *result);

/*
 * A batch failed; its progress says where.  True if the item in hand stood alone,
 * so that it is to blame.  Otherwise what is to run next is noted.
 */
extern bool isolate_failed(Isolate *isolate, const Progress *progress, HandlerKind kind);

/* Is an event being looked for? */
extern bool isolate_busy(const Isolate *isolate);

#endif /* PM_ISOLATE_H */
