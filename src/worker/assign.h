/*
 * assign.h
 *		Decides which role gets the next dispatcher.
 */
#ifndef PM_ASSIGN_H
#define PM_ASSIGN_H

#include "worker/role.h"
#include "worker/worker.h"

/* How often a scheduler whose roles wait for a place looks for one, ms. */
#define ASSIGN_NAP_WAITING 100

/* Starts dispatchers while there are places.  Returns when to look again, at most "due". */
extern TimestampTz assign_start(Roles *roles, List **workers, TimestampTz due);

/* Called when a dispatcher has ended: decides when its role may have another one. */
extern void assign_ended(Roles *roles, StartedWorker *dispatcher);

#endif /* PM_ASSIGN_H */
