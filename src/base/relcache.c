/*
 * relcache.c
 *		Passes invalidations of the relation cache to all files that want them.
 *
 * PostgreSQL has room for ten callbacks in a session, its own and those of all libraries.  A worker
 * of logical replication, for example, needs several, and ends if there is no room.  So pm
 * registers only one.
 */
#include "pm.h"

#include "base/relcache.h"

#define RELCACHE_WATCHERS 16

static RelcacheCallbackFunction watchers[RELCACHE_WATCHERS];
static int count = 0;

static void
relcache_callback(Datum arg, Oid relid)
{
	for (int i = 0; i < count; i++)
		watchers[i](arg, relid);
}

void
relcache_watch(RelcacheCallbackFunction function)
{
	if (count == RELCACHE_WATCHERS)
		elog(ERROR, "too many functions watch the relation cache");
	if (count == 0)
		CacheRegisterRelcacheCallback(relcache_callback, (Datum) 0);
	watchers[count++] = function;
}
