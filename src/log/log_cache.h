/*
 * log_cache.h
 *		The logs that this backend has used.
 */
#ifndef PM_LOG_CACHE_H
#define PM_LOG_CACHE_H

#include "log/log.h"

/* Makes the cache; called once, when the library is loaded. */
extern void log_cache_install(void);
/*
 * The log of exactly that name, or NULL if there is none.  With nowait, also
 * returns NULL, and sets *locked, while another session has locked its table or
 * its sequence exclusively.
 */
extern PmLog *log_cache_load(const char *name, bool nowait, bool *locked);
/* The table of the log of exactly that name, which is not locked; InvalidOid if there is none. */
extern Oid log_cache_table(const char *name);

#endif /* PM_LOG_CACHE_H */
