/*
 * handler_watch.c
 *		Calls the functions of users, with a timeout.
 *
 * Each call has a timeout of pm's own, since a handler can SET
 * statement_timeout.  When the time is up, the statement is canceled.  A
 * handler can catch that: WHEN OTHERS of PL/pgSQL does not, but WHEN
 * query_canceled does.  So when the same call has run for twice the time, a
 * dispatcher ends its session, and the scheduler counts the attempt.  A session
 * that runs pm.catch_up is not ended.
 *
 * Setting a timer costs a system call, so pm does not set one for each call.
 * Instead one timer fires several times within a timeout, and each time checks
 * for how long the current call has run.
 */
#include "pm.h"

#include "commands/trigger.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "manager/handler_watch.h"
#include "shmem/slot_activity.h"

#define HANDLER_WATCH_TICKS 8 /* within a timeout */

/* The part of a wait event that is its class. */
#define HANDLER_WATCH_CLASS 0xFF000000U

static TimeoutId timeout_id = MAX_TIMEOUTS;
static bool may_end_session = false;

/* Shared with handler_watch_tick(), which runs in a signal handler. */
static volatile sig_atomic_t running = false;
static volatile sig_atomic_t timed_out = false;
static volatile sig_atomic_t locked_out =
	false;					 /* it was waiting for a lock when its time was up */
static bool overran = false; /* what handler_timed_out() has returned last */
static volatile TimestampTz started;
static volatile int64 limit_us;

void
handler_watch_may_end_session(void)
{
	may_end_session = true;
}

static void
handler_watch_tick(void)
{
	int64 ran;

	if (!running)
		return;
	ran = GetCurrentTimestamp() - started;
	if (ran < limit_us)
		return;
	if (!timed_out)
	{
		timed_out = true;
		locked_out = (MyProc->wait_event_info & HANDLER_WATCH_CLASS) == PG_WAIT_LOCK;
		QueryCancelPending = true;
	}
	else if (may_end_session && ran >= 2 * limit_us)
	{
		slot_activity_overdue();
		ProcDiePending = true;
	}
	else
		return;
	InterruptPending = true;
	SetLatch(MyLatch);
}

/*
 * From here to handler_watch_stop(), a user's function runs.
 */
static inline void
handler_watch_start(void)
{
	timed_out = false;
	started = GetCurrentTimestamp();
	slot_activity_called(started);
	running = true;
}

static inline void
handler_watch_stop(void)
{
	running = false;

	/*
	 * The call has returned although its time was up.  The cancel that is still
	 * pending must not hit the next call.
	 */
	if (timed_out)
	{
		QueryCancelPending = false;
		timed_out = false;
	}
}

/*
 * Reads the clock when a call has returned.  Its caller needs the time too, so this costs
 * nothing.  If the clock was set back, the call took no time.
 */
static inline void
handler_watch_time(CallTimes *times)
{
	times->ended = GetCurrentTimestamp();
	times->last = Max(times->ended - started, 0);
	times->total += times->last;
}

/*
 * PostgreSQL counts functions for pg_stat_user_functions where it calls them, if
 * track_functions says so.  So pm does the same.
 */
static Datum
handler_watch_call_counted(FunctionCallInfo fcinfo)
{
	PgStat_FunctionCallUsage usage;
	Datum result;

	pgstat_init_function_usage(fcinfo, &usage);
	result = FunctionCallInvoke(fcinfo);
	pgstat_end_function_usage(&usage, true);
	return result;
}

Datum
handler_watch_call(FunctionCallInfo fcinfo, CallTimes *times)
{
	Datum result;

	handler_watch_start();
	if (likely(pgstat_track_functions <= fcinfo->flinfo->fn_stats))
		result = FunctionCallInvoke(fcinfo);
	else
		result = handler_watch_call_counted(fcinfo);
	handler_watch_stop();
	if (times == NULL)
		return result;
	handler_watch_time(times);
	times->calls++;
	times->longest = Max(times->longest, times->last);
	return result;
}

/*
 * Fires the deferred triggers that the calls have left for the commit: they are
 * part of what a handler does.
 */
void
handler_fire_deferred(CallTimes *times)
{
	handler_watch_start();
	AfterTriggerFireDeferred();
	handler_watch_stop();
	handler_watch_time(times);
}

void
handler_watch_begin(int64 timeout_ms)
{
	int64 tick = Max(timeout_ms / HANDLER_WATCH_TICKS, 1);

	if (timeout_id == MAX_TIMEOUTS)
		timeout_id = RegisterTimeout(USER_TIMEOUT, handler_watch_tick);
	running = false;
	timed_out = false;
	limit_us = timeout_ms * 1000;
	enable_timeout_every(timeout_id, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), tick),
						 (int) Min(tick, PG_INT32_MAX));
}

/*
 * A call has ended with an error, but other calls will follow.
 */
void
handler_watch_interrupted(void)
{
	running = false;
	/* A cancel that the call has not noticed must not hit what is run next. */
	if (timed_out)
		QueryCancelPending = false;
}

void
handler_watch_end(void)
{
	running = false;
	if (timeout_id != MAX_TIMEOUTS)
		disable_timeout(timeout_id, false);
	/* A cancel that the call has not noticed must not hit what is run next. */
	if (timed_out)
		QueryCancelPending = false;
}

bool
handler_timed_out(void)
{
	overran = timed_out;
	timed_out = false;
	return overran;
}

bool
handler_overran(void)
{
	return overran;
}

bool
handler_locked_out(void)
{
	return overran && locked_out;
}
