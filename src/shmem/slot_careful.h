/*
 * slot_careful.h
 *		Turns of the calls that are noted after a promotion, over the whole cluster.
 */
#ifndef PM_SLOT_CAREFUL_H
#define PM_SLOT_CAREFUL_H

/*
 * Takes the turn for an item, or keeps it, if this worker has it, for another item.  False
 * if it must wait; then it is woken when it has its turn.  *others says that others have not
 * given up theirs.
 */
extern bool slot_careful_take(bool suspected, bool *others);

/* Shows in pm.status whether it has an item for which a standby must come first. */
extern void slot_careful_misses(bool misses);

/* Would it get the turn?  If not, it waits from now on, too. */
extern bool slot_careful_ask(void);

/* The note of its item is committed, and waits for a standby for a limited time. */
extern void slot_careful_awaits(void);

/* It does not wait any more.  False if it must not make its call now. */
extern bool slot_careful_noted(void);

/*
 * Gives up the turn, if this worker has it.  "more": it will want another one at once; called
 * without it, it does not, after all.
 */
extern void slot_careful_release(bool more);

/*
 * The numbers of the turns that have lasted too long, in the database of this worker; at most
 * "room".  When their notes have been marked as shared, the workers that wait are told.
 */
extern int slot_careful_long(uint64 *turns, int room);
extern void slot_careful_shared(const uint64 *turns, int count);

#endif /* PM_SLOT_CAREFUL_H */
