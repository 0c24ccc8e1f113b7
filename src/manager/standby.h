/*
 * standby.h
 *		Reports waits for synchronous standbys, with a hint, also to sessions that wait behind them.
 */
#ifndef PM_STANDBY_H
#define PM_STANDBY_H

#include "storage/lock.h"
#include "storage/proc.h"

/* Has the transaction of this process committed, and does it wait for a synchronous standby? */
extern bool standby_waits(PGPROC *proc);

/* What helps, as whole sentences. */
extern char *standby_hint(void);

/*
 * Takes a lock as LockAcquire() does, and waits for it.  If that takes a long time
 * because a transaction waits for a synchronous standby, the user gets a notice.
 */
extern void standby_lock(const LOCKTAG *tag, LOCKMODE mode);

#endif /* PM_STANDBY_H */
