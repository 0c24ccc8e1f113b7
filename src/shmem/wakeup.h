/*
 * wakeup.h
 *		Waking the workers when a transaction ends.
 */
#ifndef PM_WAKEUP_H
#define PM_WAKEUP_H

extern void wakeup_install(void);
extern void wakeup_log(Oid relid);
extern void wakeup_registry(void);
extern void wakeup_announce(void);
extern void wakeup_moved(void);
extern void wakeup_forget(Oid relid);

#endif /* PM_WAKEUP_H */
