/*
 * standby.h
 *		Waits, after a promotion, until a standby follows this server.
 */
#ifndef PM_SHMEM_STANDBY_H
#define PM_SHMEM_STANDBY_H

#include "access/xlogdefs.h"

/* Called by the launcher: from now on this server is a primary that runs workers. */
extern void standby_begin(void);

/* Is no standby connected, and may one still come? */
extern bool standby_missing(void);

/* Waits until a standby has this WAL, but not for long, since the standby may be gone. */
extern void standby_await(XLogRecPtr end);

#endif /* PM_SHMEM_STANDBY_H */
