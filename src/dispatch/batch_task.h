/*
 * batch_task.h
 *		What a batch must do.
 */
#ifndef PM_BATCH_TASK_H
#define PM_BATCH_TASK_H

#include "log/highwater.h"
#include "manager/lane.h"
#include "manager/lease.h"
#include "manager/registry.h"

/* Decided before the batch reads, and not changed after that. */
typedef struct BatchTask
{
	ProcessManager *pm;
	int lane;
	LaneState *state; /* of the unit, when the batch began */
	TimestampTz now;  /* timers and retries up to this time are due */
	int limit;		  /* at most this many events and timers */
	HighwaterView view;
	bool some;			/* not all logs are read, so that no timer may fire */
	bool wait_for_logs; /* wait for logs that are locked */
	bool last_look;		/* no later batch will wait for a log with a problem: leave it out now */
	Lease *again;		/* read only what was fetched under this lease; NULL: all */
	bool raise;			/* errors go to the caller: nothing is set aside */
} BatchTask;

#endif /* PM_BATCH_TASK_H */
