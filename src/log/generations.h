/*
 * generations.h
 *		The generations of a log: which positions wait for which transactions.
 */
#ifndef PM_GENERATIONS_H
#define PM_GENERATIONS_H

#include "shmem/slot_generations.h"


/*
 * The generations that this backend keeps itself: those of a log without a slot
 * (incarnation 0), or those for which the slot of this incarnation had no room.
 * *seeded then points to the flag that tells whether their mark has been seeded
 * (seed.c).
 */
extern Generations *generations_local(Oid relid, uint64 incarnation, bool **seeded);
/* The same, or NULL if none of them is pending. */
extern Generations *generations_spilled(Oid relid, uint64 incarnation);

/* Forgets all pending generations: nothing is settled by the end of their members. */
extern void generations_forget(Generations *generations);
/*
 * Reduces the generations to these holders, and settles those that have become empty.  The holders
 * were read when this many generations had been pushed.
 */
extern void generations_cut(Generations *generations, VirtualTransactionId *holders, int nholders,
							uint64 pushes);
/* Adds the generation (last, holders).  False if there is no room for the holders. */
extern bool generations_push(Generations *generations, int64 last, VirtualTransactionId *holders,
							 int nholders);
/* The mark if generations that wait only for this transaction count as settled. */
extern int64 generations_own_mark(Generations *generations);

#endif /* PM_GENERATIONS_H */
