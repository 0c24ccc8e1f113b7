/*
 * lane_share.h
 *		Tells which events of a log belong to a lane.
 */
#ifndef PM_LANE_SHARE_H
#define PM_LANE_SHARE_H

#include "manager/registry.h"

typedef struct LaneShare
{
	int lane;
	int lanes;	  /* of this many */
	List *former; /* of FormerLane: former lanes that have handled some of the following events */
} LaneShare;

/* The share that a lane has in a log after a position. */
extern LaneShare lane_share(ProcessManager *pm, int lane, const char *log, int64 after);

/* Does every event belong to the lane? */
extern bool lane_share_is_all(const LaneShare *share);

/* Does an event with this key, or this stream, belong to the lane? */
extern bool lane_share_has(const LaneShare *share, NullableDatum key, int64 position);

#endif /* PM_LANE_SHARE_H */
