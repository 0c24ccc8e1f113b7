/*
 * repartition.h
 *		Changing the number of a process manager's lanes.
 */
#ifndef PM_REPARTITION_H
#define PM_REPARTITION_H

#include "manager/registry.h"

extern bool repartition_handled(List *repartitions, uint32 hash, int64 position);
extern void repartition(ProcessManager *pm, int lanes);
extern void repartition_drop_passed(ProcessManager *pm);
extern void repartition_forget(const char *manager, const char *log);

#endif /* PM_REPARTITION_H */
