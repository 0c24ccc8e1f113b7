/*
 * catch_up_unit.h
 *		Handles what one unit has to do, in a session's transaction.
 */
#ifndef PM_CATCH_UP_UNIT_H
#define PM_CATCH_UP_UNIT_H

#include "manager/registry.h"

/* One call of pm.catch_up. */
typedef struct CatchUp
{
	int64 left;		 /* events that may still be handled */
	int64 handled;	 /* so far */
	bool changed;	 /* something will be due: tell the dispatchers */
	bool raise;		 /* on_failure => 'raise' */
	bool named;		 /* a process manager was asked for */
	TimestampTz now; /* what is due by then: the same in the whole call, so that it ends */
	MemoryContext batch_context;
} CatchUp;

/*
 * May this session run the process manager's handlers?  An error says why not if
 * it was named.
 */
extern bool catch_up_unit_may_run(ProcessManager *pm, bool named);

/*
 * Handles what one unit has to do.  Returns how many events and timers it got
 * past.  If the registration has changed, *manager is loaded again.  "named": it
 * is an error if the unit cannot run.
 */
extern int64 catch_up_unit(CatchUp *run, ProcessManager **manager, int lane, bool named);

#endif /* PM_CATCH_UP_UNIT_H */
