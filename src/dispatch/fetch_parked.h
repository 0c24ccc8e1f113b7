/*
 * fetch_parked.h
 *		Parked events that a consumer fetches.
 */
#ifndef PM_FETCH_PARKED_H
#define PM_FETCH_PARKED_H

#include "dispatch/fetch_call.h"

/* Fetches a parked event that is due, or those that were fetched under the lease again. */
extern FetchOutcome fetch_parked(FetchCall *call, Lease *lease, bool again);

#endif /* PM_FETCH_PARKED_H */
