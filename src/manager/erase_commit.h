/*
 * erase_commit.h
 *		Erases what process managers of other roles have kept, at commit.
 */
#ifndef PM_ERASE_COMMIT_H
#define PM_ERASE_COMMIT_H

#include "nodes/pg_list.h"

/*
 * The current role has replaced the data of these events.  It is done in the process managers
 * with these ids, which stay locked.
 */
extern void erase_commit_later(const char *log, Datum positions, Datum replacement, List *done);

/* Called when the library is loaded. */
extern void erase_commit_install(void);

#endif /* PM_ERASE_COMMIT_H */
