/*
 * call.h
 *		Calling the handler for the items of a batch, and who is to blame for
 *		what comes of it.
 */
#ifndef PM_CALL_H
#define PM_CALL_H

#include "dispatch/batch.h"
#include "manager/handler.h"
#include "shmem/slot.h"

/* Where an error has interrupted a batch. */
typedef enum CallStage
{
	STAGE_PREPARE, /* no handler is to blame */
	STAGE_HANDLE,  /* the handler, or correlate, at item "index" */
	STAGE_COMMIT   /* some item of the batch: deferred constraints */
} CallStage;

typedef struct CallProgress
{
	CallStage stage;
	int index;				   /* of the failing item, those before it went well */
	int count;				   /* items in the batch so far */
	bool suspected;			   /* the unit's items go one at a time, to find the one to blame */
	Handling handling;		   /* the failing item, or the last one */
	const Handling *published; /* what of it outlives a rollback */
	Handling set_by;		   /* room for that, where it is not the item itself */
} CallProgress;

/* Of the batch that runs or has failed last. */
extern CallProgress CallCurrent;

/* The calls of one batch. */
typedef struct Calls
{
	Handler handler;
	MemoryContext caller;
	MemoryContext per_event;
	TimestampTz deadline;
	int guc_level;
	ErrorContextCallback context; /* says in errors what was being handled, */
	const char *manager;		  /* by this process manager, */
	TupleDesc event_desc;		  /* and how such an event is taken apart */
} Calls;

extern void call_begin(Calls *calls, Batch *batch);
extern void call_end(Calls *calls, Batch *batch);
extern void call_abandon(void);
extern void call_ends(void);
extern bool call_correlate(Batch *batch, Calls *calls, BatchItem *item);
extern void call_handler(Batch *batch, Calls *calls, BatchItem *item);
extern void call_array(Batch *batch, Calls *calls, BatchItem **items, int count);

#endif /* PM_CALL_H */
