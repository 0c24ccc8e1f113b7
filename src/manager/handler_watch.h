/*
 * handler_watch.h
 *		Calls the functions of users, with a timeout.
 */
#ifndef PM_HANDLER_WATCH_H
#define PM_HANDLER_WATCH_H

#include "datatype/timestamp.h"
#include "fmgr.h"

/* How long the calls of a batch took, in microseconds. */
typedef struct CallTimes
{
	int64 calls;
	int64 total; /* deferred triggers included */
	int64 longest;
	int64 last;
	TimestampTz ended; /* when the last one returned; 0: it has been asked for */
} CallTimes;

/* Lets a call that ignores its timeout end this session.  For dispatchers. */
extern void handler_watch_may_end_session(void);

/* Watches the calls from here to handler_watch_end(). */
extern void handler_watch_begin(int64 timeout_ms);
/* Calls a function; its time is added to *times, unless that is NULL. */
extern Datum handler_watch_call(FunctionCallInfo fcinfo, CallTimes *times);
extern void handler_fire_deferred(CallTimes *times);
/* Also to be called after an error, before anything else is run. */
extern void handler_watch_end(void);

/* To be called instead when a call has ended with an error, and the batch continues. */
extern void handler_watch_interrupted(void);
/* Was the error that has just been caught caused by this timeout?  Resets the flag. */
extern bool handler_timed_out(void);

/* What did handler_timed_out() return last? */
extern bool handler_overran(void);

/* And was the call waiting for a lock when its time was up? */
extern bool handler_locked_out(void);

#endif /* PM_HANDLER_WATCH_H */
