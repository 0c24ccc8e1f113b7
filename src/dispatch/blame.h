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

/* Does the error say nothing of the item?  The same again may well succeed. */
extern bool blame_nobody(int sqlerrcode);

/*
 * Is it an error that the server makes of its own trouble (no space, no memory, no
 * connections, input and output)?  At first it is no attempt of the handler.
 */
extern bool blame_server(int sqlerrcode);

/*
 * Was an error that dispatch_batch() has raised a cancel by handler_timeout?  Then
 * its message says so from now on.
 */
extern bool blame_timeout(ErrorData *error, ProcessManager *pm, const Handling *what);

/*
 * Writes down that a unit waits, and why, unless that is known already.  "met":
 * the item whose call met trouble of the server; NULL: no handler was called.
 */
extern void blame_wait(ProcessManager *pm, int lane, LaneState *state, ErrorData *error,
					   const Handling *met);

/*
 * The handler failed for an item, alone unless that says several.  Writes down
 * what follows.  Returns when the unit is worth another look: 0 at once, DT_NOEND
 * when it has halted.
 */
extern TimestampTz blame(ProcessManager *pm, const Handling *what, ErrorData *error,
						 BlameCause cause);

#endif /* PM_BLAME_H */
