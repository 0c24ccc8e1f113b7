/*
 * status_worker.h
 *		What the views show of a worker.
 */
#ifndef PM_STATUS_WORKER_H
#define PM_STATUS_WORKER_H

#include "shmem/slot.h"

/* As pm.worker and pm.blocker name the kinds of workers. */
extern const char *status_worker_kind(WorkerKind kind);

#endif /* PM_STATUS_WORKER_H */
