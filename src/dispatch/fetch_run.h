/*
 * fetch_run.h
 *		One batch of pm.fetch, while it is read.
 */
#ifndef PM_FETCH_RUN_H
#define PM_FETCH_RUN_H

#include "dispatch/batch.h"
#include "dispatch/fetch_call.h"
#include "dispatch/tally.h"

typedef struct FetchRun
{
	FetchCall *call;
	ProcessManager *pm;
	int lane;
	Lease *lease;
	LaneState *state;
	TimestampTz until; /* of the lease, if something is fetched */
	BatchTask task;
	Batch batch;
	Tally tally;
	int known;		  /* the number of events whose keys are known */
	int taken;		  /* the number of events that have been taken */
	ErrorData *error; /* with which correlate failed at the next one */
	Failure failure;  /* what that error says */
	int rows;
	bool changed;	/* something was written */
	bool alone;		/* what was fetched last is fetched alone */
	int64 **events; /* what was fetched of each log */
	int *nevents;
	int64 *timers;
	int ntimers;
} FetchRun;

#endif /* PM_FETCH_RUN_H */
