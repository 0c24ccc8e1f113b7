/*
 * run.h
 *		Running one batch of a unit in a dispatcher.
 */
#ifndef PM_RUN_H
#define PM_RUN_H

#include "worker/unit.h"

/* What has been run. */
typedef struct RunCounts
{
	int64 batches;
	int64 events;
} RunCounts;

/*
 * Runs a batch and notes in the unit when to look at it again.  "context" is for
 * what outlives the batch's transaction; it is reset afterwards.
 */
extern void run_unit(Unit *unit, MemoryContext context, RunCounts *counts);

#endif /* PM_RUN_H */
