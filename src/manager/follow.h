/*
 * follow.h
 *		Makes a process manager follow a log, or stop following it.
 */
#ifndef PM_FOLLOW_H
#define PM_FOLLOW_H

#include "manager/registry.h"

/* Is the log among these names? */
extern bool follow_has(List *logs, const char *log);

/* The logs that are named, by their names in the catalog, each once. */
extern List *follow_find(List *given);

/* The name under which the process manager follows a log, or an error. */
extern char *follow_name(ProcessManager *pm, char *given);

/* Begins to follow those of the logs that are not among the old ones, in all lanes. */
extern void follow_begin(const char *manager, Oid owner, List *old, List *logs, int lanes,
						 const char *start_at);

/* Stops following a log.  Returns how many parked events were discarded. */
extern int64 follow_end(ProcessManager *pm, const char *log);

#endif /* PM_FOLLOW_H */
