/*
 * head.h
 *		The first timer and the first parked events of a unit.
 */
#ifndef PM_HEAD_H
#define PM_HEAD_H

#include "access/htup.h"
#include "datatype/timestamp.h"

/* A place in the order of timers, or of retries. */
typedef struct HeadPoint
{
	TimestampTz time;
	int64 id;
} HeadPoint;

extern void head_install(void);

extern bool head_parked(const char *manager, int lane);
extern TimestampTz head_retry(const char *manager, int lane);
extern TimestampTz head_timer(const char *manager, int lane);

extern int64 head_parked_from(const char *manager, int lane);
extern HeadPoint head_retry_from(const char *manager, int lane);
extern HeadPoint head_timer_from(const char *manager, int lane);

extern void head_add_timer(const char *manager, int lane, TimestampTz due, int64 id);
extern void head_add_parked(const char *manager, int lane, int64 id, TimestampTz retry_at);
extern void head_forget(const char *manager, int lane);

extern void head_lane_seen(const char *manager, int lane, HeapTuple tuple);
extern void head_lane_written(const char *manager, int lane, HeapTuple before, HeapTuple after);
extern bool head_touched(const char *manager, int lane);

#endif /* PM_HEAD_H */
