/*
 * erase_kept.h
 *		What process managers have kept of erased events.
 */
#ifndef PM_ERASE_KEPT_H
#define PM_ERASE_KEPT_H

#include "manager/registry.h"

/* A process manager that has kept something of erased events. */
typedef struct EraseFound
{
	char *name;
	bool journal; /* in its journal, else in timers and what was sent to it */
} EraseFound;

extern bool erase_follows(const ProcessManager *pm, const char *log);

/* Replaces what these process managers have kept of the events. */
extern void erase_kept(List *managers, const char *log, Datum positions, Datum replacement);

/*
 * Which process managers have kept something, of EraseFound?  Only what a process manager
 * can have although it does not follow the log: journals from when it did, and what others
 * have sent to it or has resulted from that, as far as it is not replaced.
 */
extern List *erase_find(const char *log, Datum positions, Datum replacement);

#endif /* PM_ERASE_KEPT_H */
