/*
 * slot_fetch.h
 *		Consumers that wait in pm.fetch.
 */
#ifndef PM_SLOT_FETCH_H
#define PM_SLOT_FETCH_H

#include "shmem/slot_ref.h"

/*
 * How often the sessions that wait for the process manager were woken.  Called before
 * they look.
 */
extern uint32 slot_fetch_wakes(int manager);

/* Begins to wait, after the session has looked.  False if it has been woken since. */
extern bool slot_fetch_prepare(int manager, uint32 wakes);

/* Asks that the session be woken when a writer of the log ends. */
extern void slot_fetch_ask(int manager, Oid relid, LogRef *ref);

/* Waits for at most "ms".  True if the session was woken. */
extern bool slot_fetch_wait(int manager, long ms, uint32 wait_event);

/* Wakes the sessions that wait for a process manager; 0: for any. */
extern void slot_fetch_wake(int manager);

#endif /* PM_SLOT_FETCH_H */
