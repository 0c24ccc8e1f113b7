/*
 * handler.h
 *		The functions of a process manager, ready to be called in a batch.
 */
#ifndef PM_HANDLER_H
#define PM_HANDLER_H

#include "fmgr.h"

#include "manager/handler_watch.h"
#include "manager/registry.h"

typedef struct Handler
{
	FmgrInfo function;
	HandlerKind kind;
	bool correlates;
	bool fans_out;	/* correlate returns an array of keys */
	bool foretells; /* correlate depends on nothing but the event */
	FmgrInfo correlate;
	Oid event_type;
	int64 timeout;	 /* ms */
	CallTimes times; /* of the handler's calls so far */
} Handler;

/* Finds and checks the functions; "lanes": the batch is of one lane of several. */
extern void handler_open(Handler *handler, ProcessManager *pm, bool lanes);

/* Call the handler with an event, or with an array of events. */
extern void handler_call(Handler *handler, Datum argument);
extern Datum handler_event_array(Handler *handler, Datum *events, int count);
/* Calls the handler of an instance, and returns the new state. */
extern Datum handler_call_instance(Handler *handler, Datum event, Datum state, bool no_state,
								   bool *isnull);
/* Asks the correlate function for the key of an event. */
extern Datum handler_call_correlate(Handler *handler, Datum event, bool *isnull);

#endif /* PM_HANDLER_H */
