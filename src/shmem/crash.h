/*
 * crash.h
 *		Finds out which event a handler was called for when the server crashed.
 */
#ifndef PM_CRASH_H
#define PM_CRASH_H

#include "shmem/handling.h"
#include "shmem/worker_kind.h"

/* How many of the marks that were found at server start are kept, at most. */
#define CRASH_MAX_FOUND WORKER_MAX

/* Called while the postmaster preloads, after the slots' memory was added. */
extern void crash_install(void);

/* Gives this worker, which has attached to its slot, an entry for its marks. */
extern void crash_attach(void);

/* Does this process mark anything? */
extern bool crash_marks(void);

/* Marks that a handler is about to be called for this item, or that pm itself works on it. */
extern void crash_mark(const Handling *handling);

/* If pm itself works on events of the log that is marked: marks that it reads this one next. */
extern void crash_mark_position(int64 position);

/* Clears the mark: nothing is being handled any more. */
extern void crash_unmark(void);

/*
 * The first mark of a database, from an entry on, among those that were found when
 * the server started. Returns its entry, or -1.
 */
extern int crash_next(Oid database, int from, Handling *handling);

/* Removes a mark, after the attempt that it stands for has been counted and committed. */
extern void crash_forget(int entry);

#endif /* PM_CRASH_H */
