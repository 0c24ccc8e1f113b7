/*
 * timer.h
 *		Timers: events that an instance sends to itself at a due time.
 */
#ifndef PM_TIMER_H
#define PM_TIMER_H

#include "nodes/pg_list.h"

#include "manager/registry.h"

/* A timer, as its handler gets it. */
typedef struct Timer
{
	int64 id;
	char *key;
	char *type;
	TimestampTz due;
	Datum event; /* a pm.event */
} Timer;

/* Timers that are due, the earliest first. */
extern List *timer_read(ProcessManager *pm, int lane, TimestampTz now, int limit);
/* The timer of this id, or NULL. */
extern Timer *timer_get(ProcessManager *pm, int64 id);
/* Deletes a timer in order to handle it.  False if it is gone. */
extern bool timer_take(int64 id);
/* Deletes the timers of an instance that has ended. */
extern void timer_end(ProcessManager *pm, int lane, const char *key);
/* Does the key have any timer? */
extern bool timer_exists(ProcessManager *pm, const char *key);

/* From here on, remembers the timers that handlers set. */
extern void timer_begin(void);
/* Has a handler set a timer?  It may have rolled that back to a savepoint since. */
extern bool timer_was_set(TimestampTz *earliest);
/* Those of them that were due when they were set, in the order of setting. */
extern int timer_set_due(int64 **ids);

#endif /* PM_TIMER_H */
