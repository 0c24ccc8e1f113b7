/*
 * unregister.h
 *		Deletes a process manager.
 */
#ifndef PM_UNREGISTER_H
#define PM_UNREGISTER_H

#include "manager/registry.h"

/* Deletes a process manager with all that it keeps.  The caller holds the locks of all units. */
extern void unregister(ProcessManager *pm);

#endif /* PM_UNREGISTER_H */
