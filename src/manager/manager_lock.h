/*
 * manager_lock.h
 *		Locks of process managers: one unit, or all of them.
 */
#ifndef PM_MANAGER_LOCK_H
#define PM_MANAGER_LOCK_H

#include "manager/registry.h"

extern bool manager_lock_unit(int id, int lane, bool nowait);
extern void manager_lock_queue(int id);
extern ProcessManager *manager_lock_unchecked(const char *name);
extern ProcessManager *manager_lock(const char *name, bool missing_ok);
extern ProcessManager *manager_lock_until(const char *name, TimestampTz until, bool *taken);

#endif /* PM_MANAGER_LOCK_H */
