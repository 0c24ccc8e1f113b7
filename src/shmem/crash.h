/*
 * crash.h
 *		What handlers had in hand when the server crashed.
 */
#ifndef PM_CRASH_H
#define PM_CRASH_H

#include "shmem/slot.h"

extern void crash_startup(void);
extern void crash_attach(void);
extern void crash_mark(const Handling *handling);
extern void crash_mark_position(int64 position);
extern bool crash_marks(void);
extern void crash_unmark(void);
extern int crash_next(Oid database, int from, Handling *handling);
extern void crash_forget(int entry);

#endif /* PM_CRASH_H */
