/*
 * status_doing.h
 *		Takes a snapshot of the workers for one query, and describes what a slow one is doing.
 */
#ifndef PM_STATUS_DOING_H
#define PM_STATUS_DOING_H

#include "fmgr.h"

#include "shmem/slot_view.h"


/*
 * What the views tell about a unit or a worker.  The reason is a clause without
 * a full stop, as in a message; the hint is one or more sentences.
 */
typedef struct StatusVerdict
{
	const char *situation; /* taken, dispatcher, busy, overdue, stuck or running */
	const char *reason;	   /* NULL: there is nothing to say */
	const char *hint;
	bool standby; /* it waits for a synchronous standby */
} StatusVerdict;

/* What one query has seen of the workers. */
typedef struct StatusView
{
	MemoryContext context; /* in which it lives */
	TimestampTz now;
	int nworkers;
	WorkerView *workers;
	StatusVerdict *doing;	/* of each worker: situation NULL until it is known */
	TimestampTz refused_at; /* when no worker slot was free for a worker of this database */
} StatusView;

/* Reads the workers, once for each query. */
extern StatusView *status_view(FmgrInfo *flinfo);
/* What a worker waits for; 0: it does not wait. */
extern uint32 status_doing_wait(const WorkerView *worker);
/* For how long a worker has been doing what it does, in ms. */
extern long status_doing_age(StatusView *view, int worker);
/* What a worker is doing, with a reason if it has done so for a long time. */
extern StatusVerdict *status_doing(StatusView *view, int worker);

#endif /* PM_STATUS_DOING_H */
