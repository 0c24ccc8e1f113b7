/*
 * slot_careful.h
 *		Whose turn it is, in the whole cluster, to make a call that is noted after a promotion.
 */
#ifndef PM_SLOT_CAREFUL_H
#define PM_SLOT_CAREFUL_H

/*
 * Takes the turn for an item.  If this worker has the turn already, it keeps it for this item.
 * False if the worker must wait; then it is woken when it has its turn.  *others says whether
 * others have not given up theirs.
 */
extern bool slot_careful_take(bool suspected, bool *others);

/* Shows in pm.status whether this worker has an item for which a standby must follow first. */
extern void slot_careful_misses(bool misses);

/* Would this worker get the turn?  If not, it is in the queue from now on. */
extern bool slot_careful_ask(void);

/* The note of its item is committed; it waits for a standby, but not for long. */
extern void slot_careful_awaits(void);

/* This wait is over.  False if the worker must not make its call now. */
extern bool slot_careful_noted(void);

/*
 * Gives up the turn, if this worker has it.  "more": it will want another one at once.  A later
 * call without "more" says that it does not want one after all.
 */
extern void slot_careful_release(bool more);

/*
 * The numbers of the turns that have lasted too long, in the database of this worker; at most
 * "room".  When their notes have been marked as shared, the workers that wait are told.
 */
extern int slot_careful_long(uint64 *turns, int room);
extern void slot_careful_shared(const uint64 *turns, int count);

#endif /* PM_SLOT_CAREFUL_H */
