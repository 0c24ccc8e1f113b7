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
 * The process managers that have kept something, as a list of EraseFound.  Only data that
 * a process manager can have without following the log counts: journals from the time when
 * it did follow the log, events that others have sent to it, and what has resulted from
 * these.  Data that was replaced already does not count.
 */
extern List *erase_find(const char *log, Datum positions, Datum replacement);

#endif /* PM_ERASE_KEPT_H */
