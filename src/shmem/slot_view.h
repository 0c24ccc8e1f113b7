/*
 * slot_view.h
 *		A copy of what shared memory knows of the workers, for monitoring.
 */
#ifndef PM_SLOT_VIEW_H
#define PM_SLOT_VIEW_H

#include "storage/proc.h"

#include "shmem/worker_now.h"

typedef struct WorkerView
{
	bool in_use;
	WorkerKind kind;
	Oid database;
	Oid role;
	pid_t pid; /* 0: it is being started */
	PGPROC *proc;
	TimestampTz started_at;
	bool serving;			   /* a dispatcher that has a share of its role's units */
	bool misses;			   /* it has work for which a standby must follow this server */
	TimestampTz careful_waits; /* since when it waits for its turn, 0: it does not */
	WorkerNow now;
} WorkerView;

/*
 * Copies all slots of workers, used or not, into the current memory context.
 * Returns how many there are: none when the library is not preloaded.
 */
extern int slot_view(WorkerView **workers);

/* Does the worker serve (database, role), or is it being started for it? */
extern bool slot_view_serves(const WorkerView *worker, WorkerKind kind, Oid database, Oid role);

#endif /* PM_SLOT_VIEW_H */
