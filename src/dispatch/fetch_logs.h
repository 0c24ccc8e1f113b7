/*
 * fetch_logs.h
 *		What a consumer fetches from the logs and timers of a lane.
 */
#ifndef PM_FETCH_LOGS_H
#define PM_FETCH_LOGS_H

#include "dispatch/fetch_call.h"
#include "manager/lane.h"

/*
 * Fetches from a lane whose lock is held, or fetches the same again.  Changes the lease,
 * which the caller writes.
 */
extern FetchOutcome fetch_logs(FetchCall *call, Lease *lease, LaneState *state, bool again);

#endif /* PM_FETCH_LOGS_H */
