/*
 * erase_kept.h
 *		What process managers have kept of erased events.
 */
#ifndef PM_ERASE_KEPT_H
#define PM_ERASE_KEPT_H

#include "manager/registry.h"

extern bool erase_follows(const ProcessManager *pm, const char *log);

/* Locks the units of those process managers that follow the log, until the transaction ends. */
extern void erase_lock_followers(const char *log, List *managers);

/* Replaces what these process managers have kept of the events. */
extern void erase_kept(List *managers, const char *log, Datum positions, Datum replacement);

#endif /* PM_ERASE_KEPT_H */
