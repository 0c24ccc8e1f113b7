/*
 * catch_up_unit.h
 *		Runs one unit for pm.catch_up, in the caller's transaction.
 */
#ifndef PM_CATCH_UP_UNIT_H
#define PM_CATCH_UP_UNIT_H

#include "manager/registry.h"

/* One call of pm.catch_up. */
typedef struct CatchUp
{
	int64 left;		 /* events that may still be handled */
	int64 handled;	 /* so far */
	bool changed;	 /* something will be due, so the dispatchers must be woken */
	bool raise;		 /* on_failure => 'raise' */
	bool named;		 /* the caller has named a process manager */
	TimestampTz now; /* the same in the whole call, so that the call ends */
	MemoryContext batch_context;
} CatchUp;

/*
 * May this session run the process manager's handlers?  If not, and it was
 * named, raises an error that says why.
 */
extern bool catch_up_unit_may_run(ProcessManager *pm, bool named);

/*
 * Runs one unit.  Returns how many events and timers were handled, parked or
 * skipped.  If the registration has changed, *manager is loaded again.  With
 * "named", raises an error if the unit cannot run.
 */
extern int64 catch_up_unit(CatchUp *run, ProcessManager **manager, int lane, bool named);

#endif /* PM_CATCH_UP_UNIT_H */
