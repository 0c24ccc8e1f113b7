/*
 * guard.h
 *		Restricts which positions a transaction may write into a log.
 */
#ifndef PM_GUARD_H
#define PM_GUARD_H

#include "utils/relcache.h"

/* A transaction with one of these flags writes no log: guard_enter() refuses it. */
#define GUARD_NEVER_WRITES (PROC_IS_AUTOVACUUM | PROC_IN_VACUUM | PROC_IN_SAFE_IC)

/* Makes the table of entries; called once, when the library is loaded. */
extern void guard_install(void);

/*
 * To be called before a position is drawn: takes this transaction's floor for the
 * log, unless it has one, publishes the hint, and arranges the wake-up.
 */
extern void guard_enter(Relation rel);
/* How often this backend has begun to write a log. */
extern uint64 guard_writes;
/* Checks a position that was drawn from the sequence after guard_enter(). */
extern void guard_drawn(Oid relid, int64 position);
/*
 * Checks the position of a row of a partition; root is the log's table.  False if this
 * transaction has no floor.
 */
extern bool guard_check_row(Oid root, int64 position);
/*
 * Records that this transaction has read its own events up to the mark, so it must
 * write none there any more.
 */
extern void guard_read_up_to(Oid relid, int64 mark);
/* The floor of this backend's own transaction; false if it has none. */
extern bool guard_own_floor(Oid relid, int64 *floor);

#endif /* PM_GUARD_H */
