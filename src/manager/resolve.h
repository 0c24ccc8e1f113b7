/*
 * resolve.h
 *		What a person does about parked events.
 */
#ifndef PM_RESOLVE_H
#define PM_RESOLVE_H

#include "manager/registry.h"

extern int64 resolve_give_up(ProcessManager *pm, const char *log);

#endif /* PM_RESOLVE_H */
