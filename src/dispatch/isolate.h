/*
 * isolate.h
 *		Finds the event that made a batch fail.
 */
#ifndef PM_ISOLATE_H
#define PM_ISOLATE_H

#include "dispatch/dispatch.h"
#include "manager/registry.h"

/* What a unit must run next.  All zero: batches as usual. */
typedef struct Isolate
{
	int prefix;			/* first this many events, which succeeded before the failing one */
	int singles;		/* then this many events, one at a time */
	int parked_prefix;	/* first this many parked ones, */
	int parked_singles; /* then this many, one at a time */
	int succeeded;		/* events since one was found to fail */
	int separate;		/* the next this many events are handled in subtransactions */
	int gap;			/* recently, about one event in this many has failed */
	int cut;			/* after a conflict, at most this many of either; 0: no limit */
} Isolate;

/* How many events the next batch may have, of the logs and of a parked key. */
extern int isolate_limit(const Isolate *isolate, int batch_size);
extern int isolate_limit_parked(const Isolate *isolate, int batch_size);

/* Called when a batch has succeeded. */
extern void isolate_succeeded(Isolate *isolate, const DispatchResult *result, int batch_size);

/* Called before a batch where conflicts with other sessions are likely: it is a small one. */
extern void isolate_begin_small(Isolate *isolate);

/*
 * Called when a batch has failed because of a conflict with another session.  Returns
 * false if the current item was alone, so that the batch cannot be cut any more.
 */
extern bool isolate_conflict(Isolate *isolate, const Progress *progress);

/*
 * Called when a batch has failed; its progress says where.  Returns true if the
 * current item was alone, so that it is the cause.  Otherwise records what must
 * run next.
 */
extern bool isolate_failed(Isolate *isolate, const Progress *progress, HandlerKind kind);

/*
 * If events fail so often that they should be handled in subtransactions, returns about how
 * many should share one.  Otherwise returns 0.
 */
extern int isolate_separate(const Isolate *isolate);

/* Is a search for an event in progress? */
extern bool isolate_busy(const Isolate *isolate);

#endif /* PM_ISOLATE_H */
