/*
 * highwater_ask.h
 *		Gets the high-water mark for functions that read up to it.
 */
#ifndef PM_HIGHWATER_ASK_H
#define PM_HIGHWATER_ASK_H

#include "log/highwater.h"
#include "log/log.h"

/* The mark now, without waiting, for a caller that reads up to it. */
extern Highwater highwater_now(Oid relid, Oid seqid, HighwaterView view);
/* The same, but waits while another session has locked the sequence exclusively. */
extern Highwater highwater_known(Oid relid, Oid seqid, HighwaterView view, const char *log);
/* The same, for a caller that asks only once: without shared memory, also waits for writers. */
extern Highwater highwater_await(Oid relid, Oid seqid, HighwaterView view, const char *log);
/* Raises an error unless events up to this position may have been handled. */
extern void highwater_require_position(const PmLog *log, int64 position);

/*
 * Raises an error where the function could not use a mark: with an old snapshot, or
 * during recovery.
 */
extern void highwater_require_fresh_snapshots(const char *function);

#endif /* PM_HIGHWATER_ASK_H */
