/*
 * instance_save.h
 *		Writes the instances that a batch has changed.
 */
#ifndef PM_INSTANCE_SAVE_H
#define PM_INSTANCE_SAVE_H

#include "base/key.h"
#include "manager/registry.h"

/* Writes what the batch has changed, at its end. */
extern void instance_save(ProcessManager *pm, Keys *keys);
/* Writes what has changed of these keys in the middle of a batch. */
extern void instance_flush(ProcessManager *pm, List *keys);

#endif /* PM_INSTANCE_SAVE_H */
