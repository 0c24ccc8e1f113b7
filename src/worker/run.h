/*
 * run.h
 *		Runs one batch of a unit in a dispatcher.
 */
#ifndef PM_RUN_H
#define PM_RUN_H

#include "worker/unit.h"

/* What has been run. */
typedef struct RunCounts
{
	int64 batches;
	int64 events;
	bool passed; /* a unit has passed what was in hand at a promotion, and that is not written */
} RunCounts;

/*
 * Runs a batch, and records in the unit when to run it again.  "context" is for
 * data that outlives the batch's transaction; it is reset afterwards.
 */
extern void run_unit(Unit *unit, MemoryContext context, RunCounts *counts);

#endif /* PM_RUN_H */
