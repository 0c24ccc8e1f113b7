/*
 * crash.h
 *		What handlers were called for when the server crashed.
 */
#ifndef PM_CRASH_H
#define PM_CRASH_H

#include "shmem/handling.h"
#include "shmem/worker_kind.h"

/* At most this many marks are kept that were found when the server started. */
#define CRASH_MAX_FOUND WORKER_MAX

/* Called while the postmaster preloads, after the slots' memory was added. */
extern void crash_install(void);

/* A worker that has its slot begins to mark what it does. */
extern void crash_attach(void);

/* Does this process mark anything? */
extern bool crash_marks(void);

/* A handler is about to be called for this, or pm itself works on it. */
extern void crash_mark(const Handling *handling);

/* If pm itself works on events of the log that is marked: it reads this one next. */
extern void crash_mark_position(int64 position);

/* Nothing is being handled any more. */
extern void crash_unmark(void);

/*
 * The first mark of a database that was found when the server started, from an entry
 * on; returns its entry, or -1.
 */
extern int crash_next(Oid database, int from, Handling *handling);

/* What follows from the mark is committed. */
extern void crash_forget(int entry);

#endif /* PM_CRASH_H */
