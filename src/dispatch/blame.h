/*
 * blame.h
 *		A handler has failed: what the error means, and what follows.
 */
#ifndef PM_BLAME_H
#define PM_BLAME_H

#include "utils/elog.h"

#include "manager/lane.h"
#include "shmem/handling.h"

typedef enum BlameCause
{
	BLAME_ERROR,   /* it raised an error */
	BLAME_SESSION, /* its session ended */
	BLAME_CRASH	   /* the server crashed with it */
} BlameCause;

extern bool blame_nobody(int sqlerrcode);
extern bool blame_server(int sqlerrcode);
extern bool blame_timeout(ErrorData *error, ProcessManager *pm, const Handling *what);
extern void blame_wait(ProcessManager *pm, int lane, LaneState *state, ErrorData *error,
					   const Handling *met);
extern TimestampTz blame(ProcessManager *pm, const Handling *what, ErrorData *error,
						 BlameCause cause);

#endif /* PM_BLAME_H */
