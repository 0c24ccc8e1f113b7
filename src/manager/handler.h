/*
 * handler.h
 *		The function that is called for an event.
 */
#ifndef PM_HANDLER_H
#define PM_HANDLER_H

#include "fmgr.h"

#include "manager/registry.h"

typedef struct Handler
{
	FmgrInfo function;
	HandlerKind kind;
	bool correlates;
	bool foretells; /* correlate depends on nothing but the event */
	FmgrInfo correlate;
	Oid event_type;
	int64 timeout; /* ms */
} Handler;

extern void handler_install(void);
extern char *handler_find(const char *name, Oid owner, HandlerKind *kind, Oid *function_owner);
extern char *handler_find_correlate(const char *name, Oid owner, bool lanes, Oid *function_owner);
extern void handler_admit(ProcessManager *pm, Oid role);
extern void handler_open(Handler *handler, ProcessManager *pm, bool lanes);
extern void handler_call(Handler *handler, Datum argument);
extern Datum handler_call_instance(Handler *handler, Datum event, Datum state, bool no_state,
								   bool *isnull);
extern Datum handler_call_correlate(Handler *handler, Datum event, bool *isnull);
extern Datum handler_event_array(Handler *handler, Datum *events, int count);

extern void handler_fire_deferred(void);
extern void handler_watch_begin(Handler *handler);
extern void handler_watch_end(void);
extern bool handler_timed_out(void);
extern bool handler_may_die;

#endif /* PM_HANDLER_H */
