/*
 * batch_task.h
 *		What a batch is to do.
 */
#ifndef PM_BATCH_TASK_H
#define PM_BATCH_TASK_H

#include "log/highwater.h"
#include "manager/lane.h"
#include "manager/registry.h"

/* Decided before the batch reads, and not changed after that. */
typedef struct BatchTask
{
	ProcessManager *pm;
	int lane;
	LaneState *state; /* of the unit, when the batch began */
	TimestampTz now;  /* what is due by then is due */
	int limit;		  /* at most this many events and timers */
	HighwaterView view;
	bool some;			/* not all logs are looked at, so that no timer may fire */
	bool wait_for_logs; /* that are locked */
	bool last_look;		/* no later batch waits for a log in trouble: leave it out now */
	bool raise;			/* errors go to the caller: nothing is set aside */
} BatchTask;

#endif /* PM_BATCH_TASK_H */
