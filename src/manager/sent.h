/*
 * sent.h
 *		pm.send: events that are sent to instances.
 */
#ifndef PM_SENT_H
#define PM_SENT_H

#include "manager/registry.h"

/* Does the extension of this database have the queue? */
extern bool sent_known(void);

/* Raises an error unless a type has a length that is allowed. */
extern void sent_check_type(Datum type);

/*
 * Sends an event to the instance of a key, which is given as it is stored, on behalf of
 * the current user.  The caller holds the lock of a sender (manager_lock.h).
 */
extern void sent_add(ProcessManager *pm, const char *key, Datum type, Datum data, Datum metadata);

/*
 * Moves what was sent to the timers of the units, with which it is handled.  The caller
 * holds the lock of this unit.  Returns how many were moved.  If none was, *pending says
 * whether a transaction is open that has sent something.
 */
extern int sent_deliver(ProcessManager *pm, int lane, TimestampTz now, bool *pending);

/*
 * Has anything been sent that is not among the timers of a unit yet?  *pending as
 * above.
 */
extern bool sent_any(ProcessManager *pm, bool *pending);

#endif /* PM_SENT_H */
