/*
 * as_owner.h
 *		Acts as the owner of a process manager, in the session of a consumer.
 */
#ifndef PM_AS_OWNER_H
#define PM_AS_OWNER_H

#include "manager/registry.h"

typedef struct AsOwner
{
	Oid user;
	int sec_context;
	int guc_level;
} AsOwner;

/*
 * From here to as_owner_end(), the current user is the owner.  After an error, the abort
 * of the (sub)transaction ends it.
 */
extern void as_owner_begin(AsOwner *as, const ProcessManager *pm);
extern void as_owner_end(const AsOwner *as);

#endif /* PM_AS_OWNER_H */
