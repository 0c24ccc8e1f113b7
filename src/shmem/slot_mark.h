/*
 * slot_mark.h
 *		The mark of a log in shared memory.
 */
#ifndef PM_SLOT_MARK_H
#define PM_SLOT_MARK_H

#include "shmem/slot_generations.h"
#include "shmem/slot_ref.h"

/*
 * Reads the mark, and the highest last value that readers have seen, without a
 * lock.  Returns false if they are not known, or if the slot no longer belongs to
 * this log.
 */
extern bool slot_mark_read(const LogRef *ref, int64 *mark, int64 *reached);

/*
 * Locks the generations of a log.  Returns NULL, and takes no lock, if the slot no
 * longer belongs to this log.  The caller has checked with slot_mark_read() that
 * the mark is known.
 */
extern Generations *slot_mark_lock(const LogRef *ref);

/*
 * Publishes the new mark, and releases the lock.  Also pins the slot until the end
 * of the transaction, because the transaction may move a cursor to the mark.
 */
extern void slot_mark_unlock(LogSlot *slot);

/* Records that a reader has seen the sequence at "last".  The generations are locked. */
extern void slot_mark_reach(LogSlot *slot, int64 last);

/*
 * Initializes the mark of a slot that is not seeded: "cursor" is the furthest
 * cursor, and "moved" the furthest position to which a transaction, committed or
 * not, has moved one.
 */
extern void slot_mark_seed(LogSlot *slot, Oid relid, int64 cursor, int64 moved);

/* Records that the log is being read or written, so that its slot is in use. */
extern void slot_mark_used(LogSlot *slot);

#endif /* PM_SLOT_MARK_H */
