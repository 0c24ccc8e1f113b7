/*
 * registry_kept.c
 *		Keeps the process manager whose functions a session calls again and again.
 *
 * A consumer calls pm.fetch and pm.advance for each batch, which may be one event.  Loading
 * the registration each time would take as long as the rest of pm.advance.
 *
 * What is kept becomes outdated with registry_version(), and with each change of a role or
 * of a type: the owner and the consumers are roles, and the owner is that of the shell type.
 */
#include "pm.h"

#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "manager/registry_kept.h"

static MemoryContext context = NULL;
static ProcessManager *kept = NULL; /* in the context */
static bool outdated = false;

static void
registry_kept_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	outdated = true;
}

void
registry_kept_install(void)
{
	CacheRegisterSyscacheCallback(AUTHOID, registry_kept_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, registry_kept_callback, (Datum) 0);
}

static bool
registry_kept_is(const char *name)
{
	/* Former lanes are forgotten without a change of the registration. */
	return kept != NULL && !outdated && kept->version == registry_version() &&
		   kept->former_lanes == NIL && strcmp(kept->name, name) == 0;
}

ProcessManager *
registry_kept_get(const char *name)
{
	MemoryContext caller;

	/* What has been committed up to now counts. */
	AcceptInvalidationMessages();
	if (registry_kept_is(name))
		return kept;
	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "pm kept registration",
										ALLOCSET_SMALL_SIZES);
	kept = NULL;
	MemoryContextReset(context);
	/* First, so that a change while it is loaded makes it outdated. */
	outdated = false;
	caller = MemoryContextSwitchTo(context);
	kept = registry_get(name, false);
	MemoryContextSwitchTo(caller);
	return kept;
}
