/*
 * registry_kept.h
 *		Keeps the process manager whose functions a session calls again and again.
 */
#ifndef PM_REGISTRY_KEPT_H
#define PM_REGISTRY_KEPT_H

#include "manager/registry.h"

extern void registry_kept_install(void);

/* A process manager by name.  It is valid until this is called again. */
extern ProcessManager *registry_kept_get(const char *name);

#endif /* PM_REGISTRY_KEPT_H */
