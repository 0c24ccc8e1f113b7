/*
 * timer.h
 *		Events that an instance sends to itself at a due time.
 */
#ifndef PM_TIMER_H
#define PM_TIMER_H

#include "nodes/pg_list.h"

#include "manager/registry.h"

typedef struct Timer
{
	int64 id;
	char *key;
	char *type;
	TimestampTz due;
	Datum event; /* a pm.event */
} Timer;

extern List *timer_read(ProcessManager *pm, int lane, TimestampTz now, int limit);
extern Timer *timer_get(ProcessManager *pm, int64 id);
extern bool timer_take(int64 id);
extern void timer_end(ProcessManager *pm, int lane, const char *key);
extern bool timer_exists(ProcessManager *pm, const char *key);
extern void timer_begin(void);
extern bool timer_was_set(TimestampTz *earliest);
extern int timer_set_due(int64 **ids);

#endif /* PM_TIMER_H */
