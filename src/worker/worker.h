/*
 * worker.h
 *		Functions that all workers share, and functions that start workers.
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

/* The result of starting a worker. */
typedef enum WorkerStart
{
	WORKER_START_STARTED,
	WORKER_START_NO_PLACE,	  /* pm.max_workers dispatchers are running */
	WORKER_START_SHARE_TAKEN, /* the role has all it may have in this database */
	WORKER_START_ROLE_FULL,	  /* the role has all it may have in the cluster */
	WORKER_START_NO_SLOT	  /* all slots of max_worker_processes are taken */
} WorkerStart;

/* The beginning and the end of a worker's process. */
extern void worker_begin(void);
extern void worker_connect(Oid database, Oid role);
extern void worker_show_name(void);
COMPAT_NORETURN extern void worker_leave(void);

/* In a worker's loop. */
extern void worker_begin_round(void);
extern void worker_transaction(void);
/* In a transaction that writes only what may be lost: its commit waits for nothing. */
extern void worker_commit_later(void);
/* In PG_CATCH(): rolls back, and returns to the caller's memory context. */
extern void worker_recover(MemoryContext caller, bool report);
extern bool worker_extension(void);
extern bool worker_extension_dropped(void);
extern bool worker_can_connect(Oid role);
extern void worker_nap(const char *wait_event, long ms, List *workers);

/* Waits until no worker uses the extension, and keeps them off until the transaction ends. */
extern void worker_hold_off(Oid extension);

/*
 * Starts a worker for (database, role), unless there are "colleagues" of them already,
 * and adds it to the list.
 */
extern WorkerStart worker_start(List **workers, WorkerKind kind, Oid database, Oid role,
								int colleagues);
extern void worker_describe(BackgroundWorker *worker, WorkerKind kind);

/* The workers that this process has started, and how they ended. */
extern int worker_count(List *workers, Oid role);
extern StartedWorker *worker_gone(List **workers);
extern bool worker_left(StartedWorker *worker);
extern bool worker_gave_way(StartedWorker *worker);
extern bool worker_unfinished(StartedWorker *worker);
extern bool worker_lost(StartedWorker *worker);

#endif /* PM_WORKER_H */
