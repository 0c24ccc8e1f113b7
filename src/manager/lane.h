/*
 * lane.h
 *		The state of a unit: what keeps it from running, if anything does.
 */
#ifndef PM_LANE_H
#define PM_LANE_H

#include "utils/elog.h"

#include "manager/registry.h"
#include "shmem/handling.h"

/*
 * ok -> retrying: a handler failed, again after a while
 * retrying -> halted: it failed max_attempts times
 * ok -> parking: a handler failed, the next batch sets its event aside
 * parking -> ok, halted: it has; or too many have failed
 * any -> waiting: something outside is wrong (a right, a log); looked at again
 * any -> ok: a batch went through, or pm.resume
 */
typedef enum LaneStatus
{
	LANE_OK,
	LANE_RETRYING,
	LANE_PARKING,
	LANE_HALTED,
	LANE_WAITING
} LaneStatus;

/* As lane_state() finds it. */
typedef struct LaneState
{
	LaneStatus status;
	int attempts;
	int crashes;		  /* of these */
	int in_a_row;		  /* keys that failed since something was handled */
	TimestampTz retry_at; /* DT_NOBEGIN: at once */
	TimestampTz since;	  /* it is in this state, for this reason */
	char *reason;
	char *log;		 /* the event that failed; NULL: a timer, by its id */
	int64 position;	 /* 0: none */
	ErrorData error; /* how */
	bool has_parked;
	TimestampTz parked_due; /* the next retry, DT_NOEND: none */
	TimestampTz timer_due;	/* the next timer of instances, DT_NOEND: none */
} LaneState;

extern void lane_state(ProcessManager *pm, int lane, LaneState *state);
extern void lane_touch(const char *manager, int lane);
extern TimestampTz lane_retry_at(ProcessManager *pm, int attempts);
extern bool lane_is_due(TimestampTz at, TimestampTz now);
extern void lane_clear(const char *manager, int lane);
extern void lane_in_a_row(const char *manager, int lane, int keys, bool more);
extern void lane_error(const char *manager, int lane);
extern void lane_conflicts(const char *manager, int lane, int count);
extern void lane_wait(const char *manager, int lane, LaneState *state, const char *reason,
					  const char *hint, ErrorData *error);
extern void lane_suspect(const char *manager, const Handling *what, ErrorData *error, bool crash);
extern bool lane_is_about(LaneState *state, const Handling *what);
extern TimestampTz lane_fail(ProcessManager *pm, LaneState *state, const Handling *what,
							 const char *failed, ErrorData *error, int max_attempts, bool crash);
extern void lane_decide_to_park(ProcessManager *pm, LaneState *state, const Handling *what,
								const char *failed, ErrorData *error, bool crash);
extern void lane_halt(ProcessManager *pm, const Handling *what, const char *reason,
					  ErrorData *error, bool count);
extern void lane_add(const char *manager, int from, int lanes);
extern void lane_repartition(ProcessManager *pm, int lanes);

#endif /* PM_LANE_H */
