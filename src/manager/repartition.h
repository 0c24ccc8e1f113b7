/*
 * repartition.h
 *		Changes the number of a process manager's lanes.
 */
#ifndef PM_REPARTITION_H
#define PM_REPARTITION_H

#include "manager/registry.h"

/* Changes the number of lanes.  The caller holds the locks of all units. */
extern void repartition(ProcessManager *pm, int lanes);

/* Has one of these former lanes handled the event of a key with this hash? */
extern bool repartition_handled(List *former_lanes, uint32 hash, int64 position);

/* Deletes the former lanes of a process manager that are no longer needed. */
extern void repartition_drop_passed(ProcessManager *pm);

/* Deletes all of them, in one log or in all (NULL). */
extern void repartition_forget(const char *manager, const char *log);

#endif /* PM_REPARTITION_H */
