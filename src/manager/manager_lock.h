/*
 * manager_lock.h
 *		Locks one unit of a process manager, or all of its units.
 */
#ifndef PM_MANAGER_LOCK_H
#define PM_MANAGER_LOCK_H

#include "manager/registry.h"
#include "shmem/slot_view.h"

/* One unit, until the end of the transaction.  False: not available (nowait). */
extern bool manager_lock_unit(int id, int lane, bool nowait);

/*
 * For lanes that must not run at the same time.  Waits until that time at most, 0: not at all.
 * False: another lane holds the lock.
 */
extern bool manager_lock_alone(ProcessManager *pm, int lane, TimestampTz until);
extern bool manager_lock_any_alone(int id);

/* Is it this transaction that has locked the unit? */
extern bool manager_lock_is_mine(int id, int lane);

/*
 * Has a session locked one of the units, not a worker, which holds it only for one batch?  The
 * answer may be out of date.
 */
extern bool manager_lock_by_session(const ProcessManager *pm, const WorkerView *workers, int count);

/* Unlocks a unit under whose lock nothing was written. */
extern void manager_lock_release(int id, int lane);

/*
 * The lock of a session that sends something to an instance, until the end of its transaction.
 * Any number of sessions can hold it. manager_no_sender(): does no session hold it?
 */
extern void manager_lock_sender(int id);
extern bool manager_no_sender(int id);

/* Waits until no session holds that lock, and keeps others from taking it. */
extern void manager_lock_out_senders(int id);

/* To be called before waiting for a unit's lock while holding that of another unit. */
extern void manager_lock_queue(int id);

/* All units of a process manager that the caller may change; NULL: there is none. */
extern ProcessManager *manager_lock(const char *name, bool missing_ok);

/* The same, but gives up at the time "until", and then sets *locked to false. */
extern ProcessManager *manager_lock_until(const char *name, TimestampTz until, bool *locked);

/* The same without a check of rights, for changes that result from DDL on another object. */
extern ProcessManager *manager_lock_unchecked(const char *name);

/* The same without waiting.  The process manager may have changed since it was loaded. */
extern bool manager_lock_nowait(ProcessManager *pm);

/* Releases these locks, once, if nothing was written under them. */
extern void manager_unlock(const ProcessManager *pm);

/*
 * The unit of a key of a process manager that the caller may change, for an SQL function.  The
 * key is given by its stored name.
 */
extern ProcessManager *manager_lock_key(const char *function, const char *name, const char *key,
										int *lane);

/* The same for an SQL function that changes a process manager of this name. */
extern ProcessManager *manager_lock_for(const char *function, const char *name);

#endif /* PM_MANAGER_LOCK_H */
