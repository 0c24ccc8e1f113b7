/*
 * association.h
 *		Finds instances by something other than their keys.
 */
#ifndef PM_ASSOCIATION_H
#define PM_ASSOCIATION_H

#include "manager/registry.h"

/*
 * Handlers of a process manager are called from here on.  "foretold" says that the keys
 * of a batch are computed before its handlers run.
 */
extern void association_enter(ProcessManager *pm, bool foretold);

/* Has the handler called pm.associate since association_begin()? */
extern void association_begin(void);
extern bool association_was_made(void);

/* Does the instance of a key have any association? */
extern bool association_exists(ProcessManager *pm, const char *key);

/* Deletes the associations of an instance that has ended. */
extern void association_end(ProcessManager *pm, int lane, const char *key);

#endif /* PM_ASSOCIATION_H */
