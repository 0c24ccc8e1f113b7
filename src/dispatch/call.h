/*
 * call.h
 *		Calling the handler for the items of a batch, and who is to blame for
 *		what comes of it.
 */
#ifndef PM_CALL_H
#define PM_CALL_H

#include "dispatch/batch.h"
#include "dispatch/progress.h"
#include "manager/handler.h"

/* The calls of one batch. */
typedef struct Calls
{
	Handler handler;
	Progress *progress;
	BatchItem *item; /* user's code runs for it now; NULL: none runs */
	MemoryContext caller;
	MemoryContext per_event;
	TimestampTz deadline;
	int guc_level;
	ErrorContextCallback context; /* says in errors what was being handled, */
	const char *manager;		  /* by this process manager, */
	TupleDesc event_desc;		  /* and how such an event is taken apart */
} Calls;

extern void call_begin(Calls *calls, Batch *batch, Progress *progress);
extern void call_end(Calls *calls, Batch *batch);
extern void call_before_end(const Progress *progress);
extern void call_abandon(const Progress *progress);
extern bool call_correlate(Batch *batch, Calls *calls, BatchItem *item);
extern void call_handler(Batch *batch, Calls *calls, BatchItem *item);
extern void call_array(Batch *batch, Calls *calls, BatchItem **items, int count);

#endif /* PM_CALL_H */
