/*
 * owner.h
 *		The owner of a process manager: pm.set_owner, REASSIGN OWNED.
 */
#ifndef PM_OWNER_H
#define PM_OWNER_H

#include "nodes/parsenodes.h"

/* What is to be done before and after REASSIGN OWNED (utility.c). */
extern void owner_reassigning(void);
extern void owner_reassigned(ReassignOwnedStmt *reassign);

#endif /* PM_OWNER_H */
