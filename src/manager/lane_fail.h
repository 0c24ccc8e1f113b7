/*
 * lane_fail.h
 *		Decides on the next state of a unit after a failure.
 */
#ifndef PM_LANE_FAIL_H
#define PM_LANE_FAIL_H

#include "manager/lane.h"

/* When to try again what has failed this many times. */
extern TimestampTz lane_retry_at(ProcessManager *pm, int attempts);

/* Is it this event or timer that the state is about? */
extern bool lane_is_about(LaneState *state, const Handling *what);

/*
 * How often the event, or the timer with this id (log NULL), has failed in its place, if the
 * unit is to try it again.
 */
extern int lane_attempts(const LaneState *state, const char *log, int64 number);

/* The unit cannot run, for a reason other than an event. */
extern void lane_wait(const char *manager, int lane, LaneState *state, const char *reason,
					  const char *hint, ErrorData *error);

/* One of several events or timers has failed: they are tried one at a time. */
extern void lane_suspect(const char *manager, const Handling *what, ErrorData *error, bool crash);

/*
 * An event or timer has failed, and will be tried again before any other.  "crashes" is how
 * many crashes of servers that counts as.
 * Returns when, or DT_NOEND if the unit has halted.
 */
extern TimestampTz lane_fail(ProcessManager *pm, LaneState *state, const Handling *what,
							 const char *failed, ErrorData *error, int max_attempts, int crashes,
							 const Failure *failure);

/* An event has failed, and the next batch will park it. */
extern void lane_decide_to_park(ProcessManager *pm, LaneState *state, const Handling *what,
								const char *failed, ErrorData *error, int crashes,
								const Failure *failure);

/* The unit halts before an event or timer. */
extern void lane_halt(ProcessManager *pm, const Handling *what, const char *reason,
					  ErrorData *error, bool count);

#endif /* PM_LANE_FAIL_H */
