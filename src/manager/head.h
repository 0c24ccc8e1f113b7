/*
 * head.h
 *		Finds the first timer and the first parked events of a unit.
 */
#ifndef PM_HEAD_H
#define PM_HEAD_H

#include "access/htup.h"
#include "datatype/timestamp.h"

/* A point in the order of timers, or of retries. */
typedef struct HeadPoint
{
	TimestampTz time;
	int64 id;
} HeadPoint;

extern void head_install(void);

/* Look for the first rows, from the points on that are remembered. */

/* Is any event parked?  If so, one of them is the head of its key. */
extern bool head_parked(const char *manager, int lane);
/* When the first parked event is to be tried again; DT_NOEND if none is. */
extern TimestampTz head_retry(const char *manager, int lane, bool *deferred);
/* When the first timer is due; DT_NOEND if there is none. */
extern TimestampTz head_timer(const char *manager, int lane);

/* Is an instance of the process manager found by an association? */
extern bool head_association(const char *manager, int lane);

/* The points themselves: no row that counts is before them. */
/* At most this many keys have a parked event, by the last count; -1: unknown. */
extern int64 head_count(const char *manager, int lane);
extern void head_counted(const char *manager, int lane, int64 heads);

extern int64 head_parked_from(const char *manager, int lane);
/* Is it known that a key has no parked event?  And: this many keys had to be looked up. */
extern bool head_lacks_key(const char *manager, int lane, const char *key);
extern void head_asked(const char *manager, int lane, int count);
extern HeadPoint head_retry_from(const char *manager, int lane);
extern HeadPoint head_timer_from(const char *manager, int lane);

/* To be called when this backend has added a row, or made one due earlier. */
extern void head_add_timer(const char *manager, int lane, TimestampTz due, int64 id);
extern void head_add_parked(const char *manager, int lane, int64 id, TimestampTz retry_at);
extern void head_add_association(const char *manager, int lane);
extern void head_add_key(const char *manager, int lane, const char *key);
/* The same, if the backend does not know which rows these are. */
extern void head_forget(const char *manager, int lane);

/* To be called when this backend has read or written the lane's row. */
extern void head_lane_seen(const char *manager, int lane, HeapTuple tuple);
extern void head_lane_written(const char *manager, int lane, HeapTuple before, HeapTuple after);
/* Has this transaction written the lane's row? */
extern bool head_touched(const char *manager, int lane);

#endif /* PM_HEAD_H */
