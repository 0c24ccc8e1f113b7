/*
 * cursor_change.h
 *		Adds and removes cursors, and sets them.
 *
 * The caller of each function holds the locks of all units of the process manager.
 */
#ifndef PM_CURSOR_CHANGE_H
#define PM_CURSOR_CHANGE_H

#include "manager/registry.h"

/* Adds cursors in logs, for each lane at the position of the log, and removes those in a log. */
extern void cursor_add(const char *manager, List *logs, const int64 *positions, int lanes);
extern void cursor_remove(const char *manager, const char *log);

/* Sets the cursors in a log, or changes the number of lanes. */
extern void cursor_seek(const char *manager, const char *log, int64 position);
extern void cursor_repartition(ProcessManager *pm, int lanes);

/* Are all lanes at the same position, in each log? */
extern bool cursor_level(ProcessManager *pm);

#endif /* PM_CURSOR_CHANGE_H */
