/*
 * relcache.h
 *		Passes invalidations of the relation cache to all files that want them.
 */
#ifndef PM_RELCACHE_H
#define PM_RELCACHE_H

#include "utils/inval.h"

/* Calls the function for each invalidation from now on; relid InvalidOid means all relations. */
extern void relcache_watch(RelcacheCallbackFunction function);

#endif /* PM_RELCACHE_H */
