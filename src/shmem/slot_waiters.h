/*
 * slot_waiters.h
 *		Wakes the processes that wait for the writers of a log.
 *
 * This header is private to src/shmem.
 */
#ifndef PM_SLOT_WAITERS_H
#define PM_SLOT_WAITERS_H

#include "shmem/slot_log_table.h"

/* Called when a writer has ended. */
extern void slot_waiters_wake(LogWaiters *waiters);

/* Wakes all of them; each must then ask again to be woken. */
extern void slot_waiters_dismiss(LogWaiters *waiters);

/* Wakes the consumers that wait in a room. */
extern void slot_waiters_wake_room(int room);

#endif /* PM_SLOT_WAITERS_H */
