/*
 * fetch_aside.h
 *		What pm.fetch sets aside: parks it, or halts the lane before it.
 */
#ifndef PM_FETCH_ASIDE_H
#define PM_FETCH_ASIDE_H

#include "dispatch/fetch_run.h"

/* Parks an item whose key has a queue. */
extern void fetch_aside_behind(FetchRun *run, BatchItem *item);

/*
 * Sets aside an item that must not be fetched: it is too large, or the lease of its
 * consumer ran out while it was alone.  False if the lane halts before it instead.
 */
extern bool fetch_aside_too_large(FetchRun *run, BatchItem *item);
extern bool fetch_aside_run_out(FetchRun *run, BatchItem *item, int tries);

/*
 * Sets aside the event for which correlate has failed permanently.  False if the lane has to halt.
 */
extern bool fetch_aside_keyless(FetchRun *run);

#endif /* PM_FETCH_ASIDE_H */
