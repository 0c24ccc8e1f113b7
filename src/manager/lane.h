/*
 * lane.h
 *		The state of a unit: what keeps it from running, if anything does.
 */
#ifndef PM_LANE_H
#define PM_LANE_H

#include "utils/elog.h"

#include "manager/failure.h"
#include "manager/registry.h"
#include "shmem/handling.h"

/* The longest time between two attempts, in ms. */
#define LANE_MAX_BACKOFF (INT64CONST(3600) * 1000)

/*
 * ok -> retrying: a handler failed, and is called again after a delay
 * retrying -> halted: it failed max_attempts times
 * ok -> parking: a handler failed, and the next batch parks the event
 * parking -> ok, halted: the event is parked; or too many keys have failed
 * any -> waiting: something else is wrong (a right, a log); tried again later
 * any -> ok: a batch has succeeded, or pm.resume was called
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
	int crashes;		  /* how many of the attempts ended with a crash */
	int in_a_row;		  /* keys that failed since something was handled */
	TimestampTz retry_at; /* DT_NOBEGIN: at once */
	TimestampTz since;	  /* when it entered this state, for this reason */
	char *reason;
	char *log;				/* the event that failed; NULL: a timer, by its id */
	int64 position;			/* 0: none */
	char *key;				/* the key for which it failed, of several; else NULL */
	ErrorData error;		/* how it failed */
	bool has_parked;		/* are there parked events? */
	TimestampTz parked_due; /* the next retry of one, DT_NOEND: none */
	bool parked_deferred;	/* what ends then is a deferral */
	TimestampTz timer_due;	/* the next timer of instances, DT_NOEND: none */
	bool careful;			/* it has not passed what was in hand at the last promotion (note.c) */
	int64 careful_to;		/* parked events up to this id were in hand then; 0: none */
} LaneState;

/* What lane_change() writes; all zero: nothing is wrong. */
typedef struct LaneChange
{
	LaneStatus status;
	const char *reason;
	const char *hint;
	int attempts;
	int crashes;
	TimestampTz retry_at; /* 0: at once, or never */
	const Handling *what; /* what has failed; NULL: what the three fields below say */
	const char *log;	  /* as in LaneState */
	int64 position;
	const char *key;
	ErrorData *error;
	bool count; /* does the error count? */
} LaneChange;

/* Reads the state of a unit. */
extern void lane_state(ProcessManager *pm, int lane, LaneState *state);

/* Is a retry, or the end of a deferral, at this time due? */
extern bool lane_is_due(TimestampTz at, bool deferred, TimestampTz now);

/* Is a unit's retry due, or the next one of its parked events? */
extern bool lane_retry_due(const LaneState *state, TimestampTz now);
extern bool lane_parked_due(const LaneState *state, TimestampTz now);

/* What the failure that the state is about says of itself. */
extern Failure lane_failure(const LaneState *state);

/* Write the state, or that nothing is wrong any more. */
extern void lane_change(const char *manager, int lane, const LaneChange *change);
extern void lane_passed(const char *manager, int lane);
extern void lane_clear(const char *manager, int lane);

/* Tells other backends that timers or parked events have been added or moved. */
extern void lane_touch(const char *manager, int lane);

/* Keep count of failures. */
extern void lane_in_a_row(const char *manager, int lane, int keys, bool more);
extern void lane_error(const char *manager, int lane);
extern void lane_count_failures(const char *manager, int lane, int errors, int in_a_row);
extern void lane_conflicts(const char *manager, int lane, int count);

/* Add lanes, or change their number.  The caller holds the locks of all units. */
extern void lane_add(const char *manager, int from, int lanes);
extern void lane_repartition(ProcessManager *pm, int lanes);

#endif /* PM_LANE_H */
