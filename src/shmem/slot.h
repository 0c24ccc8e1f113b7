/*
 * slot.h
 *		The slots of the workers: how they are claimed, attached to and given up.
 */
#ifndef PM_SLOT_H
#define PM_SLOT_H

#include "shmem/worker_kind.h"

/* Why slot_claim() returned no slot. */
typedef enum SlotRefusal
{
	SLOT_NO_PLACE = -1,	   /* pm.max_workers dispatchers are running */
	SLOT_SHARE_TAKEN = -2, /* the role has all it may have in this database */
	SLOT_ROLE_FULL = -3	   /* the role has all it may have in the cluster */
} SlotRefusal;

/* Adds the parts of shared memory; called while the postmaster preloads. */
extern void slot_install(void);

/* Is the library preloaded, so that there is shared memory and workers can run? */
extern bool slot_preloaded(void);

/*
 * Claims a slot for a worker that is about to be started.  (database, role) will
 * have at most "colleagues" workers of this kind.  Returns the index of the slot,
 * or a SlotRefusal.
 */
extern int slot_claim(WorkerKind kind, Oid database, Oid role, int colleagues, uint32 *generation);

/* Gives up a claim whose worker has ended, unless the slot belongs to a later claim. */
extern void slot_unclaim(int index, uint32 generation);
extern void slot_unclaim_orphans(WorkerKind kind, Oid database);

/* Makes the argument of a new worker (bgw_main_arg), and attaches the worker with it. */
extern Datum slot_arg(int index, uint32 generation);
extern void slot_attach(Datum arg);

/* Adds a function that is called when a worker gives up its slot, at its exit. */
extern void slot_at_detach(void (*function)(void));

/* About this process, if it is a worker. */
extern bool slot_am_worker(void);
extern int slot_my_index(void);
extern Oid slot_my_database(void);
extern Oid slot_my_role(void);
extern uint32 slot_my_wakes(void);
extern bool slot_asked_to_leave(void);
extern bool slot_gives_way(void);
extern void slot_leaves(void);
extern void slot_leaves_unfinished(void);

/* About a worker that this process has started. */
extern bool slot_attached(int index);
extern bool slot_left(int index, uint32 generation);
extern bool slot_gave_way(int index, uint32 generation);
extern bool slot_unfinished(int index, uint32 generation);
extern bool slot_died(int index, uint32 generation);

/* About all workers. */
extern int slot_count(WorkerKind kind, Oid database, Oid role);
extern bool slot_any_starting(WorkerKind kind, int ms);
extern void slot_dismiss_all(void);
extern bool slot_dismiss_database(Oid database, bool insist, List **pids);

#endif /* PM_SLOT_H */
