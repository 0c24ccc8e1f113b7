/*
 * worker.h
 *		Starting workers and noticing their end.
 */
#ifndef PM_WORKER_H
#define PM_WORKER_H

#include "nodes/pg_list.h"
#include "postmaster/bgworker.h"

#include "shmem/worker_kind.h"


/* A worker that this process has started. */
typedef struct StartedWorker
{
	int slot;
	uint32 generation;
	Oid database;
	Oid role;
	TimestampTz started_at;
	BackgroundWorkerHandle *handle;
} StartedWorker;

typedef enum WorkerStart
{
	WORKER_START_STARTED,
	WORKER_START_NO_PLACE,	  /* pm.max_workers are at work */
	WORKER_START_SHARE_TAKEN, /* the role has all that it may have in this database */
	WORKER_START_ROLE_FULL,	  /* or in all of them together */
	WORKER_START_NO_SLOT	  /* max_worker_processes are taken */
} WorkerStart;

extern void worker_begin(void);
extern void worker_connect(Oid database, Oid role);
extern void worker_leave(void);
extern bool worker_left(StartedWorker *member);
extern void worker_transaction(void);
extern bool worker_extension(void);
extern bool worker_can_connect(Oid role);
extern bool worker_gave_way(StartedWorker *member);
extern bool worker_lost(StartedWorker *member);
extern void worker_begin_round(void);
extern void worker_nap(const char *wait_event, long ms, List *workers);
extern WorkerStart worker_start(List **workers, WorkerKind kind, Oid database, Oid role,
								int colleagues);
extern int worker_count(List *workers, Oid role);
extern StartedWorker *worker_gone(List **workers);

#endif /* PM_WORKER_H */
