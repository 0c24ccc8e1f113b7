/*
 * catch_up_unit.h
 *		Runs one unit for pm.catch_up, in the caller's transaction.
 */
#ifndef PM_CATCH_UP_UNIT_H
#define PM_CATCH_UP_UNIT_H

#include "dispatch/batch_task.h"
#include "dispatch/isolate.h"
#include "manager/registry.h"

/* One call of pm.catch_up. */
typedef struct CatchUp
{
	int64 left;				  /* events that may still be handled */
	int64 handled;			  /* so far */
	bool changed;			  /* something will be due earlier: dispatchers must be woken */
	bool raise;				  /* on_failure => 'raise' */
	bool named;				  /* the caller has named a process manager */
	TimestampTz now;		  /* stands still, so that the call ends; or moves (catch_up_walk.c) */
	TimestampTz parked_since; /* leave alone what was parked before this time; 0: nothing */
	MemoryContext batch_context;
} CatchUp;

/* A unit while it is run. */
typedef struct CatchUpUnit
{
	CatchUp *run;
	ProcessManager *pm;
	int lane;
	Isolate isolate;
	int conflicts;	   /* in a row */
	bool leave_parked; /* in the next batch */
	int64 done;		   /* events and timers handled, parked or skipped */

	/* For catch_up_walk.c: how the time moves, and what the last batch found out. */
	const BatchWalk *walk;
	bool failed;	  /* it was undone */
	bool stopped;	  /* the unit cannot be run again in this call */
	bool next_known;  /* the time of the unit's next item is known */
	TimestampTz next; /* that time; DT_NOEND: there is no next item */
} CatchUpUnit;

/* Raises an error unless this session may run handlers in the function. */
extern void catch_up_unit_require_caller(const char *function);

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

/*
 * For a call that runs a unit batch by batch: lock the unit, false if it must not be run;
 * and run one batch, false if there is nothing more to do now.
 */
extern bool catch_up_unit_begin(CatchUpUnit *unit, bool named);
extern bool catch_up_unit_next(CatchUpUnit *unit);

#endif /* PM_CATCH_UP_UNIT_H */
