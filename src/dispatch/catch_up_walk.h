/*
 * catch_up_walk.h
 *		pm.catch_up(as_of): a walk through time.
 */
#ifndef PM_CATCH_UP_WALK_H
#define PM_CATCH_UP_WALK_H

#include "dispatch/catch_up_unit.h"

/* Runs the process managers until nothing is left that is due at or before "as_of". */
extern void catch_up_walk(CatchUp *run, List *managers, TimestampTz as_of);

#endif /* PM_CATCH_UP_WALK_H */
