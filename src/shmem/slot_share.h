/*
 * slot_share.h
 *		How the dispatchers of a role share its units.
 */
#ifndef PM_SLOT_SHARE_H
#define PM_SLOT_SHARE_H

#include "shmem/worker_kind.h"

/* This dispatcher is ready to run its share of its role's units. */
extern void slot_share_begin(void);

/* The number of this dispatcher among those of its role, and how many dispatchers the role has. */
extern int slot_share_rank(int *count);

/*
 * Counts dispatchers that started or ended.  While the count is the same, the shares
 * are the same.
 */
extern uint64 slot_share_generation(void);

/* Called when a worker has started or ended. */
extern void slot_share_changed(WorkerKind kind, Oid database, Oid role);

#endif /* PM_SLOT_SHARE_H */
