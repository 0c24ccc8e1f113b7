/*
 * generations.h
 *		The generations of a log: which positions wait for which transactions.
 */
#ifndef PM_GENERATIONS_H
#define PM_GENERATIONS_H

#include "shmem/slot.h"

extern Generations *generations_local(Oid relid, uint64 incarnation, bool **seeded);
extern Generations *generations_spilled(Oid relid, uint64 incarnation);
extern void generations_forget(Generations *generations);
extern void generations_cut(Generations *generations, VirtualTransactionId *holders, int nholders);
extern bool generations_push(Generations *generations, int64 last, VirtualTransactionId *holders,
							 int nholders);
extern int64 generations_own_mark(Generations *generations);

#endif /* PM_GENERATIONS_H */
