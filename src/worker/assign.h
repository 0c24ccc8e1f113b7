/*
 * assign.h
 *		Decides which role gets the next dispatcher.
 */
#ifndef PM_ASSIGN_H
#define PM_ASSIGN_H

#include "worker/role.h"
#include "worker/worker.h"

/* If there is a place for each role that has no dispatcher, starts one for each of them. */
extern void assign_spare(Roles *roles, List **workers);

/* Starts dispatchers while there are places.  Returns when to look again, at most "due". */
extern TimestampTz assign_start(Roles *roles, List **workers, TimestampTz due);

/* Called when a dispatcher has ended: decides when its role may have another one. */
extern void assign_ended(Roles *roles, StartedWorker *dispatcher);

#endif /* PM_ASSIGN_H */
