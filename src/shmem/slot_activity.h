/*
 * slot_activity.h
 *		Publishes what this worker is doing.
 *
 * In sessions these functions do nothing.
 */
#ifndef PM_SLOT_ACTIVITY_H
#define PM_SLOT_ACTIVITY_H

#include "datatype/timestamp.h"

#include "shmem/handling.h"
#include "shmem/worker_kind.h"

extern void slot_activity_set(WorkerActivity activity);
extern bool slot_activity_is(WorkerActivity activity);

/* The handler of the process manager of this name is about to be called for this item. */
extern void slot_activity_handling(const Handling *handling, const char *name);
extern void slot_activity_called(TimestampTz at);

/* The handler did not react when its timeout canceled it. */
extern void slot_activity_overdue(void);

/* The handler has returned. */
extern void slot_activity_handled(void);

#endif /* PM_SLOT_ACTIVITY_H */
