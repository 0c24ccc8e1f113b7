/*
 * cursor.h
 *		Up to where a unit has handled each of its logs, and its state.
 */
#ifndef PM_CURSOR_H
#define PM_CURSOR_H

#include "nodes/bitmapset.h"

#include "manager/registry.h"

typedef struct Cursor
{
	char *log;
	int which; /* of the registration's logs, -1: not known */
	int64 position;
	double rate;
	TimestampTz moved_at;
	int parked; /* parked events of this log that a batch has handled */
} Cursor;

extern List *cursor_list(ProcessManager *pm, int lane);
extern List *cursor_list_some(ProcessManager *pm, int lane, const Bitmapset *logs);
extern void cursor_move(ProcessManager *pm, int lane, Cursor *cursor, int64 position, int handled);
extern void cursor_count(ProcessManager *pm, int lane, Cursor *cursor);
extern bool cursor_level(ProcessManager *pm);
extern void cursor_repartition(ProcessManager *pm, int lanes);
extern void cursor_add(const char *manager, const char *log, int lanes, int64 position);
extern void cursor_remove(const char *manager, const char *log);
extern void cursor_seek(const char *manager, const char *log, int64 position);

#endif /* PM_CURSOR_H */
