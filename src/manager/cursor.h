/*
 * cursor.h
 *		Cursors: up to which position a unit has handled each of its logs.
 */
#ifndef PM_CURSOR_H
#define PM_CURSOR_H

#include "nodes/bitmapset.h"

#include "manager/registry.h"

typedef struct Cursor
{
	char *log;
	int which; /* number of the log in the registration's logs, -1: not there */
	int64 position;
	double rate; /* events a second, a moving average */
	TimestampTz moved_at;
	int parked; /* how many parked events of this log a batch has handled */
} Cursor;

/* The cursors of a unit, of Cursor: all, or those in some of pm->logs. */
extern List *cursor_list(ProcessManager *pm, int lane);
extern List *cursor_list_some(ProcessManager *pm, int lane, const Bitmapset *logs);

/* For a batch, which holds the lock of the unit. */
extern void cursor_move(ProcessManager *pm, int lane, Cursor *cursor, int64 position, int handled);
extern void cursor_count(ProcessManager *pm, int lane, Cursor *cursor);

#endif /* PM_CURSOR_H */
