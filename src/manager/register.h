/*
 * register.h
 *		What pm.register checks and others check too.
 */
#ifndef PM_REGISTER_H
#define PM_REGISTER_H

#include "manager/registry.h"

extern bool register_in(List *names, const char *name);
extern void register_check_owner(Oid owner);
extern void register_require_owner(ProcessManager *pm);
extern void register_warn_unattended(const char *name);

#endif /* PM_REGISTER_H */
