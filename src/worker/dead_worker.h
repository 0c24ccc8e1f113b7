/*
 * dead_worker.h
 *		Dispatchers that died in the midst of a handler.
 */
#ifndef PM_DEAD_WORKER_H
#define PM_DEAD_WORKER_H

#include "nodes/pg_list.h"

extern bool dead_worker_lost(List *managers);
extern bool dead_worker_crashed(List *managers);
extern void dead_worker_forget(void);

#endif /* PM_DEAD_WORKER_H */
