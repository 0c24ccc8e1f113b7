/*
 * slot_share.h
 *		How the dispatchers of a role share its units.
 */
#ifndef PM_SLOT_SHARE_H
#define PM_SLOT_SHARE_H

#include "shmem/worker_kind.h"

/* This dispatcher is ready to run its share of its role's units. */
extern void slot_share_begin(void);

/* The number of this dispatcher among those of its role, and how many these are. */
extern int slot_share_rank(int *count);

/* Counts dispatchers that came or went: while it is the same, so are the shares. */
extern uint64 slot_share_generation(void);

/* A worker has come or gone. */
extern void slot_share_changed(WorkerKind kind, Oid database, Oid role);

#endif /* PM_SLOT_SHARE_H */
