/*
 * worker_kind.c
 *		The kinds of background workers, and what a worker can be doing.
 */
#include "pm.h"

#include "shmem/worker_kind.h"

const char *
worker_kind_name(WorkerKind kind)
{
	static const char *const names[] = {"launcher", "scheduler", "dispatcher"};

	return names[kind];
}

const char *
worker_kind_activity_name(WorkerActivity activity)
{
	static const char *const names[] = {"starting", "idle", "reading", "handling", "committing"};

	return names[activity];
}
