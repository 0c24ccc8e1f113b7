/*
 * consumer_role.h
 *		Dependencies on the roles that may be consumers.
 */
#ifndef PM_CONSUMER_ROLE_H
#define PM_CONSUMER_ROLE_H

#include "nodes/parsenodes.h"

#include "manager/registry.h"

/*
 * Records which roles may be consumers of a process manager, so that none of them can
 * be dropped.
 */
extern void consumer_role_record(const char *manager);

/* Called when a copy is adopted: the roles are those with the same names here. */
extern void consumer_role_adopt(const ProcessManager *pm);

/* Called after DROP OWNED: its roles may not be consumers any more. */
extern void consumer_role_dropped(DropOwnedStmt *drop);

#endif /* PM_CONSUMER_ROLE_H */
