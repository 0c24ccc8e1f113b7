/*
 * slot_sent.h
 *		Tells dispatchers that something was sent to instances.
 */
#ifndef PM_SLOT_SENT_H
#define PM_SLOT_SENT_H

/*
 * A number that changes when a transaction that has sent something to instances of the
 * process manager with this id commits or is prepared.  It may also change for no
 * reason.
 */
extern uint64 slot_sent_count(int manager);

/* Called when such a transaction commits or is prepared.  Wakes the dispatchers of the owner. */
extern void slot_sent(int manager, Oid owner);

#endif /* PM_SLOT_SENT_H */
