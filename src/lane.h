/*
 * lane.h
 *		The state of a unit: what keeps it from running, if anything does.
 */
#ifndef PM_LANE_H
#define PM_LANE_H

#include "registry.h"
#include "utils/elog.h"

/*
 * ok -> retrying: a handler failed, again after a while
 * retrying -> halted: it failed max_attempts times
 * any -> waiting: something outside is wrong (a right, a log); looked at again
 * any -> ok: a batch went through, or pm.resume
 */
typedef enum LaneStatus
{
	LANE_OK,
	LANE_RETRYING,
	LANE_HALTED,
	LANE_WAITING
} LaneStatus;

typedef struct LaneState
{
	LaneStatus	status;
	int			attempts;
	TimestampTz retry_at;
	char	   *reason;
	char	   *log;			/* the event that failed */
	int64		position;
} LaneState;

extern LaneStatus lane_status(const char *text);
extern void lane_clear(const char *manager, int lane);
extern void lane_wait(const char *manager, int lane, const char *reason, const char *hint, ErrorData *error);
extern void lane_suspect(const char *manager, int lane, const char *log, int64 position, ErrorData *error);
extern TimestampTz lane_fail(ProcessManager *pm, int lane, LaneState *state, const char *log, int64 position,
							 ErrorData *error);
extern void lane_add(const char *manager, int lanes);

#endif							/* PM_LANE_H */
