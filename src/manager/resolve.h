/*
 * settle.h
 *		What a person does about parked events.
 */
#ifndef PM_SETTLE_H
#define PM_SETTLE_H

#include "manager/registry.h"

extern int64 settle_give_up(ProcessManager *pm, const char *log);

#endif							/* PM_SETTLE_H */
