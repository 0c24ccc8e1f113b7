/*
 * slot_mark.h
 *		The mark of a log in shared memory.
 */
#ifndef PM_SLOT_MARK_H
#define PM_SLOT_MARK_H

#include "shmem/slot_generations.h"
#include "shmem/slot_ref.h"

/*
 * Reads the mark, and how far readers have looked, without a lock.  False if they
 * are not known, or the slot is no longer this log's.
 */
extern bool slot_mark_read(const LogRef *ref, int64 *mark, int64 *reached);

/*
 * Locks the generations of a log.  NULL, and no lock, if the slot is no longer this
 * log's.  Whether the mark is known was found out by slot_mark_read() before.
 */
extern Generations *slot_mark_lock(const LogRef *ref);

/*
 * Publishes what has become of the generations, pins the slot until the end of the
 * transaction, since it may move a cursor to the mark, and releases the lock.
 */
extern void slot_mark_unlock(LogSlot *slot);

/* A look has seen the sequence at "last".  The generations are locked. */
extern void slot_mark_reach(LogSlot *slot, int64 last);

/*
 * Tells a slot that is not seeded what the cursors know: the furthest one, and the
 * highest position that one was moved to by hand.
 */
extern void slot_mark_seed(LogSlot *slot, Oid relid, int64 cursor, int64 moved);

/* The log is read or written: its slot is in use. */
extern void slot_mark_used(LogSlot *slot);

#endif /* PM_SLOT_MARK_H */
