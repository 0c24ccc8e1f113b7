/*
 * resolve.h
 *		pm.retry and pm.discard, with which a person decides about parked events.
 */
#ifndef PM_RESOLVE_H
#define PM_RESOLVE_H

#include "manager/registry.h"

/*
 * Discards all parked events of a log that is not followed any more; the other
 * events of their keys are then handled.  Returns how many were discarded.
 */
extern int64 resolve_give_up(ProcessManager *pm, const char *log);

#endif /* PM_RESOLVE_H */
