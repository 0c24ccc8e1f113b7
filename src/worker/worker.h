/*
 * crew.h
 *		Starting workers and noticing their end.
 */
#ifndef PM_CREW_H
#define PM_CREW_H

#include "nodes/pg_list.h"
#include "postmaster/bgworker.h"
#include "shmem/slot.h"

/* A worker that this process has started. */
typedef struct CrewMember
{
	int			slot;
	uint32		generation;
	Oid			database;
	Oid			role;
	TimestampTz started_at;
	BackgroundWorkerHandle *handle;
} CrewMember;

typedef enum CrewStart
{
	CREW_STARTED,
	CREW_NO_PLACE,				/* pm.max_workers are at work */
	CREW_SHARE_TAKEN,			/* the role has all that it may have in this database */
	CREW_ROLE_FULL,				/* or in all of them together */
	CREW_NO_SLOT				/* max_worker_processes are taken */
} CrewStart;

extern void crew_begin(void);
extern void crew_connect(Oid database, Oid role);
extern void crew_leave(void);
extern bool crew_left(CrewMember *member);
extern void crew_transaction(void);
extern bool crew_extension(void);
extern bool crew_can_connect(Oid role);
extern bool crew_gave_way(CrewMember *member);
extern bool crew_lost(CrewMember *member);
extern void crew_begin_round(void);
extern void crew_nap(long ms, List *crew);
extern CrewStart crew_start(List **crew, WorkerKind kind, Oid database, Oid role, int colleagues);
extern int	crew_count(List *crew, Oid role);
extern CrewMember *crew_gone(List **crew);

#endif							/* PM_CREW_H */
