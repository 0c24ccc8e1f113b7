/*
 * recut.h
 *		Changing the number of a process manager's lanes.
 */
#ifndef PM_RECUT_H
#define PM_RECUT_H

#include "manager/registry.h"

extern void recut_load(List *managers, const char *name);
extern bool recut_handled(List *recuts, uint32 hash, int64 position);
extern void recut(ProcessManager *pm, int lanes);
extern void recut_drop_passed(ProcessManager *pm);
extern void recut_forget(const char *manager, const char *log);

#endif							/* PM_RECUT_H */
