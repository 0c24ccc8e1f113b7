/*
 * blame.h
 *		Decides what an error of a handler means, and what happens next.
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
	BLAME_CRASH,   /* the server crashed with it */
	BLAME_FAILOVER /* a server was lost with it in hand, perhaps for the second time */
} BlameCause;

/*
 * Is it a conflict with another session (a lost race for a stream, a deadlock, a
 * serialization failure, a lock timeout), so that another try may well succeed?
 * Returns how many of them in a row do not count as attempts, 0 if it is none.
 */
extern int blame_conflicts(int sqlerrcode);

/*
 * Is it an error that a problem of the server causes (no space, no memory, no
 * connections, I/O errors)?  For some time it does not count as an attempt of the
 * handler.
 */
extern bool blame_server(int sqlerrcode);

/*
 * Was an error that dispatch_batch() has raised a cancel by handler_timeout?  If
 * so, changes its message to say that.
 */
extern bool blame_timeout(ErrorData *error, ProcessManager *pm, const Handling *what);

/* Writes to the server's log that an item has failed, if what follows is decided elsewhere. */
extern void blame_say(ProcessManager *pm, const Handling *what, ErrorData *error);

/*
 * Records that a unit waits, and why, unless that is recorded already.  "met"
 * is the item whose call met a problem of the server; NULL if no handler was
 * called.
 */
extern void blame_wait(ProcessManager *pm, int lane, LaneState *state, ErrorData *error,
					   const Handling *met);

/*
 * Called when the handler failed for an item, which was alone unless
 * what->several is set.  Records what happens next.  Returns when to run the unit
 * again: 0 at once, DT_NOEND if it has halted.
 */
extern TimestampTz blame(ProcessManager *pm, const Handling *what, ErrorData *error,
						 BlameCause cause);

#endif /* PM_BLAME_H */
