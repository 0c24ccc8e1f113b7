/*
 * isolate.h
 *		After a batch has failed: to which event it is due.
 */
#ifndef PM_ISOLATE_H
#define PM_ISOLATE_H

#include "dispatch/dispatch.h"
#include "manager/registry.h"

/* What a unit is to run next.  All zero: batches as usual. */
typedef struct Isolate
{
	int prefix;			/* how many events went well before the failing one */
	int singles;		/* how many events follow one at a time */
	int parked_singles; /* how many parked events follow one at a time */
} Isolate;

extern int isolate_limit(Isolate *isolate, int batch_size);
extern int isolate_limit_parked(Isolate *isolate, int batch_size);
extern void isolate_succeeded(Isolate *isolate, const DispatchResult *result);
extern bool isolate_failed(Isolate *isolate, const Progress *progress, HandlerKind kind);
extern bool isolate_busy(Isolate *isolate);

#endif /* PM_ISOLATE_H */
