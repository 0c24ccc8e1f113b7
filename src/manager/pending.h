/*
 * pending.h
 *		Shows a handler, in pm.instance, the instances that its batch has not written
 *		yet.
 */
#ifndef PM_PENDING_H
#define PM_PENDING_H

#include "base/key.h"
#include "manager/registry.h"

/* From here to pending_end(), handlers see the instances of this batch. */
extern void pending_begin(ProcessManager *pm, Keys *keys);
extern void pending_end(void);
/* To be called after each call of a handler. */
extern void pending_handled(Key *key);
/* Has a handler of this batch read pm.instance?  Then instances are written after each call. */
extern bool pending_was_read(void);

#endif /* PM_PENDING_H */
