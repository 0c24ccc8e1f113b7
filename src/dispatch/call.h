/*
 * call.h
 *		Calls user's code for the items of a batch.
 */
#ifndef PM_CALL_H
#define PM_CALL_H

#include "dispatch/batch_item.h"
#include "dispatch/batch_task.h"
#include "dispatch/call_context.h"
#include "dispatch/progress.h"
#include "manager/handler.h"
#include "manager/journal.h"

/* The calls of one batch. */
typedef struct Calls
{
	const BatchTask *task;
	Keys *keys;
	Handler handler;
	Progress *progress;
	CallErrorContext context;
	Journal journal;
	MemoryContext caller;
	MemoryContext per_event;
	TimestampTz deadline; /* the time at which the batch has lasted long enough */
	int guc_level;
} Calls;

/* The timers that a call has set. */
typedef struct CallTimers
{
	TimestampTz earliest; /* DT_NOEND: none has been set */
	int ndue;			  /* how many of these timers are due already */
	const int64 *due;	  /* the ids of those, valid until the next call */
} CallTimers;

/* Begins the calls of a batch.  "shared" says that the batch may contain events of other lanes. */
extern void call_begin(Calls *calls, const BatchTask *task, bool shared, Keys *keys,
					   Progress *progress);

/* To be called before and after user's code runs for an item, the nth of the batch. */
extern void call_start(Calls *calls, const BatchItem *item, int nth, bool correlating,
					   bool several);
extern void call_stop(Calls *calls);

/*
 * Calls the handler for an item, whose key is known if the handler keeps
 * instances.  The crash mark stays, for what is done with the timers.
 */
extern CallTimers call_handler(Calls *calls, BatchItem *item, int nth);

/* Calls the handler once for several items, the last of which is the nth of the batch. */
extern void call_array(Calls *calls, BatchItem **items, int count, int nth);

/*
 * Ends the calls of a batch, in which the handler was called for this many
 * items: saves instances and fires deferred triggers.  Returns when the
 * earliest timer that they have set is due, or DT_NOEND if they have set none.
 */
extern TimestampTz call_end(Calls *calls, int handled);

/*
 * To be called first when a call has ended with an error, and the batch continues;
 * call_resume() after what the call has done has been undone.
 */
extern void call_interrupted(Calls *calls);
extern void call_resume(Calls *calls);

/* To be called right before the batch is committed; crash_unmark() after that. */
extern void call_before_end(const Progress *progress);

/* To be called first when an error has left the batch; crash_unmark() after the rollback. */
extern void call_abandon(const Progress *progress);

#endif /* PM_CALL_H */
