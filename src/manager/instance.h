/*
 * instance.h
 *		The instances of a process manager: the state that it keeps for each key.
 */
#ifndef PM_INSTANCE_H
#define PM_INSTANCE_H

#include "base/key.h"
#include "manager/registry.h"

/* Read the instances of all keys that the batch has not read yet, or of one. */
extern void instance_prefetch(ProcessManager *pm, Keys *keys);
extern void instance_load(ProcessManager *pm, Key *key);
/*
 * Stores what the handler has returned.  Returns whether the instance has ended; then *result is
 * what the handler gave to pm.done().
 */
extern bool instance_returned(Keys *keys, Key *key, ProcessManager *pm, Datum returned, bool isnull,
							  NullableDatum *result);

#endif /* PM_INSTANCE_H */
