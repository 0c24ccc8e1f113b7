/*
 * worker_kind.h
 *		The kinds of background workers, and what a worker can be doing.
 */
#ifndef PM_WORKER_KIND_H
#define PM_WORKER_KIND_H

/* There are at most this many workers, whatever max_worker_processes is. */
#define WORKER_MAX 256

typedef enum WorkerKind
{
	WORKER_LAUNCHER,
	WORKER_SCHEDULER,
	WORKER_DISPATCHER
} WorkerKind;

typedef enum WorkerActivity
{
	ACTIVITY_STARTING,
	ACTIVITY_IDLE,
	ACTIVITY_READING,  /* takes locks, asks for the mark, reads events */
	ACTIVITY_HANDLING, /* a handler runs */
	ACTIVITY_COMMITTING
} WorkerActivity;

/* The names that users see. */
extern const char *worker_kind_name(WorkerKind kind);
extern const char *worker_kind_activity_name(WorkerActivity activity);

#endif /* PM_WORKER_KIND_H */
