/*
 * sent.h
 *		pm.send: events that are sent to instances.
 */
#ifndef PM_SENT_H
#define PM_SENT_H

#include "manager/registry.h"

/* Does the extension of this database have the queue? */
extern bool sent_known(void);

/*
 * Moves what was sent into the units, so that it is handled with the timers.  The caller holds
 * the lock of this unit.  Returns how many were moved.  If none was, *pending says whether a
 * transaction is open that has sent something.
 */
extern int sent_deliver(ProcessManager *pm, int lane, TimestampTz now, bool *pending);

/* Has anything been sent that no unit has yet?  *pending as above. */
extern bool sent_any(ProcessManager *pm, bool *pending);

#endif /* PM_SENT_H */
