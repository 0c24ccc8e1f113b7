/*
 * dead_worker.h
 *		Counting the attempts of handlers that took their dispatcher, or the
 *		server, with them.
 */
#ifndef PM_DEAD_WORKER_H
#define PM_DEAD_WORKER_H

#include "nodes/pg_list.h"

/*
 * Count attempts, in the caller's transaction.  False if some could not be counted
 * yet, since somebody else has the unit: to be called again.
 */
extern bool dead_worker_lost(List *managers);
extern bool dead_worker_crashed(List *managers);

/* The caller's transaction has committed. */
extern void dead_worker_forget(void);

#endif /* PM_DEAD_WORKER_H */
