/*
 * fetch_lane.h
 *		What a consumer fetches from one lane.
 */
#ifndef PM_FETCH_LANE_H
#define PM_FETCH_LANE_H

#include "dispatch/fetch_call.h"

/* Fetches from a lane, if it is free or the consumer's. */
extern FetchOutcome fetch_lane(FetchCall *call, int lane);

#endif /* PM_FETCH_LANE_H */
