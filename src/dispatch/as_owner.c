/*
 * as_owner.c
 *		Acts as the owner of a process manager, in the session of a consumer.
 *
 * That is needed to read the logs, for which the owner has the rights, and to call
 * correlate.  A consumer has fewer rights than the owner, or more.  So, as when
 * PostgreSQL calls the function of an index:
 *
 * - The current user is the owner, so that correlate gets no rights of the consumer.
 *
 * - It is a restricted operation, so that correlate can leave nothing behind in the
 *	 session that would run with the consumer's rights later, and cannot change the role.
 *
 * - The search_path is that of the owner's own sessions, with temporary tables last, so
 *	 that the consumer cannot put objects of its own before those that correlate means.
 */
#include "pm.h"

#include "miscadmin.h"
#include "utils/guc.h"

#include "dispatch/as_owner.h"
#include "manager/advice.h"

void
as_owner_begin(AsOwner *as, const ProcessManager *pm)
{
	const char *path;

	GetUserIdAndSecContext(&as->user, &as->sec_context);
	SetUserIdAndSecContext(pm->owner, as->sec_context | SECURITY_LOCAL_USERID_CHANGE |
										  SECURITY_RESTRICTED_OPERATION);
	/* Without correlate, no code of a user is called. */
	as->guc_level = pm->correlate != NULL ? NewGUCNestLevel() : 0;
	if (pm->correlate == NULL)
		return;
	path = advice_worker_path(pm->owner);
	(void) set_config_option("search_path",
							 *path == '\0' ? "pg_temp" : psprintf("%s, pg_temp", path), PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

void
as_owner_end(const AsOwner *as)
{
	if (as->guc_level != 0)
		AtEOXact_GUC(false, as->guc_level);
	SetUserIdAndSecContext(as->user, as->sec_context);
}
