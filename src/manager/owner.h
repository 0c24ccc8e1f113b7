/*
 * owner.h
 *		The owners of process managers, as PostgreSQL knows them.
 */
#ifndef PM_OWNER_H
#define PM_OWNER_H

#include "nodes/parsenodes.h"

#include "manager/registry.h"

extern void owner_record(const char *manager, Oid role);
extern void owner_forget(const char *manager);
extern void owner_follow(const char *manager, Oid relid);
extern void owner_unfollow(const char *manager, Oid relid);
extern void owner_follow_all(const char *manager);
extern void owner_reassigning(void);
extern void owner_reassigned(ReassignOwnedStmt *reassign);

#endif /* PM_OWNER_H */
