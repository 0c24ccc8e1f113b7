/*
 * rehearse_watch.h
 *		Watches a rehearsal, and returns what it sees to the caller of pm.rehearse.
 */
#ifndef PM_REHEARSE_WATCH_H
#define PM_REHEARSE_WATCH_H

#include "nodes/execnodes.h"

#include "dispatch/batch_item.h"
#include "dispatch/batch_task.h"

typedef struct RehearseWatch
{
	BatchWatch watch; /* first, since its functions get a pointer to it */
	ReturnSetInfo *rsinfo;
	ProcessManager *pm;
	MemoryContext kept;	   /* of what is kept until the end */
	MemoryContext context; /* of what is kept of one item */
	char *key;			   /* for which the handler was called last */
	List *seen;			   /* of what was seen of the item */
} RehearseWatch;

extern void rehearse_watch_open(RehearseWatch *watch, ReturnSetInfo *rsinfo, ProcessManager *pm);

/* Begins an item; returns what was seen of it, or that it has failed. */
extern void rehearse_watch_begin(RehearseWatch *watch);
extern void rehearse_watch_put(RehearseWatch *watch, ProcessManager *pm);
extern void rehearse_watch_put_failed(RehearseWatch *watch, const Handling *what, ErrorData *error);

#endif /* PM_REHEARSE_WATCH_H */
