/*
 * dead_worker.h
 *		Counts the attempts of handlers whose dispatcher died, or that crashed the server.
 */
#ifndef PM_DEAD_WORKER_H
#define PM_DEAD_WORKER_H

#include "nodes/pg_list.h"

/*
 * Count attempts, in the caller's transaction.  False if some could not be counted
 * yet, because another session has locked the unit; then call this again later.
 */
extern bool dead_worker_lost(List *managers);
extern bool dead_worker_crashed(List *managers);

/* Called when the caller's transaction has committed. */
extern void dead_worker_forget(void);

#endif /* PM_DEAD_WORKER_H */
