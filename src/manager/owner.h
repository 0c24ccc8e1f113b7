/*
 * owner.h
 *		Changes the owner of a process manager.
 */
#ifndef PM_OWNER_H
#define PM_OWNER_H

#include "nodes/parsenodes.h"

/* Called before and after REASSIGN OWNED (utility.c). */
extern void owner_reassigning(void);
extern void owner_reassigned(ReassignOwnedStmt *reassign);

#endif /* PM_OWNER_H */
