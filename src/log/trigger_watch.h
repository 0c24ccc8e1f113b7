/*
 * trigger_watch.h
 *		Notices commands on the extension's triggers.
 */
#ifndef PM_TRIGGER_WATCH_H
#define PM_TRIGGER_WATCH_H

extern void trigger_watch_install(void);

#endif /* PM_TRIGGER_WATCH_H */
