/*
 * owner_check.h
 *		Checks whether a role can own a process manager.
 */
#ifndef PM_OWNER_CHECK_H
#define PM_OWNER_CHECK_H

#include "manager/registry.h"

/* Refuses a role that cannot own a process manager in this database. */
extern void owner_check_role(Oid role);

/* Refuses a process manager whose owner is gone, or cannot own it any more. */
extern void owner_check(ProcessManager *pm);

#endif /* PM_OWNER_CHECK_H */
