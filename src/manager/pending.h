/*
 * pending.h
 *		The instances that a batch has changed and not written yet.
 */
#ifndef PM_PENDING_H
#define PM_PENDING_H

#include "base/key.h"
#include "manager/registry.h"

extern void pending_begin(ProcessManager *pm, Keys *keys);
extern void pending_end(void);
extern void pending_handled(Key *key);

#endif /* PM_PENDING_H */
