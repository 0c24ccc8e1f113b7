/*
 * fetch_wait.h
 *		Waits, in pm.fetch, until there is something to fetch.
 */
#ifndef PM_FETCH_WAIT_H
#define PM_FETCH_WAIT_H

#include "dispatch/fetch_call.h"

/* How long the argument says, in ms. */
extern long fetch_wait_argument(FunctionCallInfo fcinfo, int arg);

/* Calls "attempt" until it has fetched or passed something, or the time is up. */
extern void fetch_wait(FetchCall *call, long ms, FetchOutcome (*attempt)(FetchCall *call));

#endif /* PM_FETCH_WAIT_H */
