/*
 * dispatch.h
 *		One batch of one unit: mark, read, handle, move the cursors.
 */
#ifndef PM_DISPATCH_H
#define PM_DISPATCH_H

#include "nodes/bitmapset.h"

#include "dispatch/progress.h"
#include "log/highwater.h"
#include "manager/registry.h"

typedef enum DispatchOutcome
{
	DISPATCH_IDLE,	 /* nothing to handle */
	DISPATCH_DONE,	 /* handled what there was */
	DISPATCH_MORE,	 /* and there is more */
	DISPATCH_BUSY,	 /* somebody else has the unit or a log */
	DISPATCH_STALE,	 /* the registration has changed: load it again */
	DISPATCH_STOPPED /* paused, halted, or not yet to be retried */
} DispatchOutcome;

typedef struct DispatchResult
{
	DispatchOutcome outcome;
	int done;		 /* events and timers got past: handled, parked, not for this unit */
	int handled;	 /* of these, by the handler */
	bool parked;	 /* they were parked ones */
	bool held;		 /* a mark is held back by a writer, or a log is locked */
	bool left_out;	 /* something is wrong with a log */
	bool all;		 /* all logs have been looked at, not only some */
	Bitmapset *rest; /* logs that were looked at and have more, are held back, or left out */
	TimestampTz due; /* when there will be something without a new event; DT_NOEND: never */
} DispatchResult;

typedef struct DispatchRequest
{
	ProcessManager *pm;
	int lane;
	int64 max_events;  /* at most this many, and one at a time if 1 */
	int max_parked;	   /* the same for parked ones */
	bool leave_parked; /* the logs come first this time */
	HighwaterView view;
	bool wait;			/* for the unit, and for no log later on */
	bool wait_for_logs; /* that are locked */
	TimestampTz now;	/* what is due by then; 0: by the clock */
	bool raise;			/* errors go to the caller: nothing is set aside */
	bool some;			/* only these logs have to be looked at, */
	Bitmapset *logs;	/* by their numbers in pm->logs, if nothing but events is due */
} DispatchRequest;

/*
 * Runs one batch of a unit in the current (sub)transaction, which must be fresh:
 * READ COMMITTED, no snapshot in use that is older than the marks.  An error
 * leaves *progress, which the caller has set to zeros, as it was at the time.
 */
extern DispatchResult dispatch_batch(const DispatchRequest *request, Progress *progress);

#endif /* PM_DISPATCH_H */
