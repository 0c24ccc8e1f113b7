/*
 * wakeup.h
 *		Wakes workers when a transaction ends.
 */
#ifndef PM_WAKEUP_H
#define PM_WAKEUP_H

extern void wakeup_install(void);

/* This transaction writes the log: its readers are woken at the end. */
extern void wakeup_log(Oid relid);

/* This transaction changes registrations: the workers are woken if it commits. */
extern void wakeup_registry(void);

/* If this transaction commits, the launcher looks at the database, or looks again. */
extern void wakeup_announce(void);

/* This transaction sends something to an instance: its dispatchers are woken if it commits. */
extern void wakeup_sent(int manager, Oid owner);

/* Has this transaction, or a subtransaction that was undone, sent something? */
extern bool wakeup_has_sent(int manager);

/* This transaction moves a cursor: sessions in pm.wait_for are woken if it commits. */
extern void wakeup_moved(void);

/*
 * If this transaction commits, sessions that wait in pm.fetch for the process manager
 * are woken.
 */
extern void wakeup_fetchers(int manager);

/* This transaction drops a log: if it commits, the log's slot is free. */
extern void wakeup_forget(Oid relid);

/* Counts commits that changed a registration. */
extern uint64 wakeup_registry_generation(void);

/*
 * For sessions that wait until a cursor has moved.  They prepare, check the cursor,
 * and then wait for at most "ms".  Waiting needs the preloaded library.  The session
 * ends the wait with ConditionVariableCancelSleep().
 */
extern void wakeup_prepare_to_wait(void);
extern void wakeup_wait_moved(long ms, uint32 wait_event);

#endif /* PM_WAKEUP_H */
