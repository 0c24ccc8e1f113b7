/*
 * instance.h
 *		The state that a process manager keeps for a key.
 */
#ifndef PM_INSTANCE_H
#define PM_INSTANCE_H

#include "base/key.h"
#include "manager/registry.h"

extern void instance_prefetch(ProcessManager *pm, Keys *keys);
extern void instance_load(ProcessManager *pm, Key *key);
extern bool instance_returned(Keys *keys, Key *key, ProcessManager *pm, Datum result, bool isnull);
extern void instance_save(ProcessManager *pm, Keys *keys);
extern void instance_flush(ProcessManager *pm, List *keys);

#endif /* PM_INSTANCE_H */
