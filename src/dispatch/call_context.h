/*
 * call_context.h
 *		Adds to an error the context line that names the item being handled.
 */
#ifndef PM_CALL_CONTEXT_H
#define PM_CALL_CONTEXT_H

#include "access/tupdesc.h"

#include "dispatch/batch_item.h"
#include "dispatch/progress.h"

typedef struct CallErrorContext
{
	ErrorContextCallback callback;
	const char *manager; /* the name of the process manager */
	TupleDesc event_desc;
	const Progress *progress;
	const BatchItem *item; /* user's code runs for this item now; NULL if none runs */
} CallErrorContext;

/* From here to call_context_end(), errors get a line of context about the item. */
extern void call_context_begin(CallErrorContext *context, const char *manager,
							   const Progress *progress);
extern void call_context_end(CallErrorContext *context);

#endif /* PM_CALL_CONTEXT_H */
