/*
 * slot_lost.h
 *		Records calls of handlers during which the dispatcher died.
 */
#ifndef PM_SLOT_LOST_H
#define PM_SLOT_LOST_H

#include "shmem/lost_call.h"
#include "shmem/worker_now.h"

/* Records that this process, a dispatcher of the role, dies while a handler runs. */
extern void slot_lost_add(Oid database, Oid role, const WorkerNow *now);

/* Does a unit have a lost call that is not counted yet? */
extern bool slot_lost_unit(int manager, int lane);

/* The first lost call of this database from an index on; returns its index, or -1. */
extern int slot_lost_next(int from, LostCall *call);

/*
 * Removes a call that has been counted.  If the entry is used by another call by now,
 * keeps that one.
 */
extern void slot_lost_forget(int index, uint64 number);

extern void slot_lost_forget_database(Oid database);

#endif /* PM_SLOT_LOST_H */
