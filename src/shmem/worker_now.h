/*
 * worker_now.h
 *		What a worker is doing, as it is kept in shared memory.
 */
#ifndef PM_WORKER_NOW_H
#define PM_WORKER_NOW_H

#include "datatype/timestamp.h"

#include "shmem/handling.h"
#include "shmem/worker_kind.h"

typedef struct WorkerNow
{
	WorkerActivity activity;
	TimestampTz since;
	Handling handling;
	char name[NAMEDATALEN]; /* of the process manager */
	bool overdue;			/* the handler did not react when its timeout canceled it */
	TimestampTz called_at;	/* when a handler was called last */
} WorkerNow;

#endif /* PM_WORKER_NOW_H */
