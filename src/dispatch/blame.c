/*
 * blame.c
 *		Decides what an error of a handler means, and what happens next.
 *
 * Called by dispatchers, by pm.catch_up, and by the scheduler for dispatchers that
 * ended before they could record the failure.  The caller holds the unit's lock, in a
 * transaction in which no user's code has run.
 *
 * After the batch has been undone, a failure passes through these files:
 *
 *	progress.c			what the batch was handling: one event, or several
 *	failed.c			in a dispatcher: begins another transaction
 *	catch_up_unit.c		in pm.catch_up: continues after the subtransaction
 *	dead_worker.c		in the scheduler: the dispatcher died in a call (slot_lost.c),
 *						or the server crashed (crash.c)
 *	  isolate.c			of several events, finds the one that fails
 *	  blame.c			says what the error means:
 *		lane_fail.c		  the event is tried again in its place, or the unit halts
 *		park.c			  the event is set aside, and the later ones of its key behind it
 *	retry.c				later, in another batch: the queue of that key (park_queue.c)
 */
#include "pm.h"

#include "access/xact.h"
#include "utils/timestamp.h"

#include "base/report.h"
#include "base/within.h"
#include "dispatch/blame.h"
#include "manager/advice.h"
#include "manager/cursor.h"
#include "manager/handler_watch.h"
#include "manager/lane_fail.h"
#include "manager/park.h"
#include "manager/timer.h"
#include "shmem/handling.h"

/* A parked event that met a problem of the server is tried again after this time, ms. */
#define BLAME_POSTPONE 5000

/*
 * For this long, problems of the server do not count as attempts, ms.  There must
 * be a limit, because a handler can raise the same errors.
 */
#define BLAME_PATIENCE (5 * 60 * 1000)

/*
 * How many deadlocks and similar errors in a row, of an item that runs alone, do not count
 * as attempts; and how many lost races for a stream, which cost less time.  There must be
 * a limit, because a handler can cause them on purpose.
 */
#define BLAME_CONFLICTS 10
#define BLAME_RACES		50

/* ---------- what errors mean ---------- */

int
blame_conflicts(int sqlerrcode)
{
	if (sqlerrcode == ERRCODE_PM_VERSION_CONFLICT)
		return BLAME_RACES;
	if (ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_TRANSACTION_ROLLBACK ||
		sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		return BLAME_CONFLICTS;
	return 0;
}

bool
blame_server(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_DISK_FULL || sqlerrcode == ERRCODE_OUT_OF_MEMORY ||
		   sqlerrcode == ERRCODE_TOO_MANY_CONNECTIONS || sqlerrcode == ERRCODE_IO_ERROR;
}

bool
blame_timeout(ErrorData *error, ProcessManager *pm, const Handling *what)
{
	if (!handler_timed_out() || error->sqlerrcode != ERRCODE_QUERY_CANCELED)
		return false;
	if (handler_locked_out())
	{
		/* The handler may be right, and another session the cause. */
		error
			->message = psprintf(what->correlating ?
									 "correlate did not return within handler_timeout (%lld ms): "
									 "it was waiting for a lock" :
									 "the handler did not return within handler_timeout (%lld ms): "
									 "it was waiting for a lock",
								 (long long) pm->handler_timeout);
		error->hint = pstrdup("Find out which session holds the lock: pm.blocker and pg_locks name "
							  "it while the handler waits.");
		return true;
	}
	error->message = psprintf(what->correlating ?
								  "correlate did not return within handler_timeout (%lld ms)" :
								  "the handler did not return within handler_timeout (%lld ms)",
							  (long long) pm->handler_timeout);
	error->hint = pstrdup("Make it faster, or register with a longer handler_timeout.");
	return true;
}

/* ---------- what is said of it ---------- */

/*
 * The type of the timer that was being handled; NULL if it was not a timer, or
 * is gone.
 */
static const char *
blame_timer_type(ProcessManager *pm, const Handling *what)
{
	Timer *timer;

	if (what->outside || what->log[0] != '\0' || what->source != HANDLING_TIMER)
		return NULL;
	timer = timer_get(pm, what->id);
	return timer == NULL ? NULL : timer->type;
}

/*
 * Says which call failed, in a text that every role that may see the unit may read.
 */
static char *
blame_reason(const Handling *what, const char *timer_type, FailureKind kind)
{
	if (kind == FAILURE_DEFERRED && what->log[0] != '\0')
		return psprintf("the handler has deferred the event at position %lld of log \"%s\"",
						(long long) what->position, what->log);
	if (kind == FAILURE_DEFERRED)
		return pstrdup("the handler has deferred a timer");
	if (what->outside && what->log[0] == '\0')
		return pstrdup("a timer could not be set aside");
	if (what->outside)
		return psprintf("the event at position %lld of log \"%s\" could not be read or set aside",
						(long long) what->position, what->log);
	if (what->log[0] == '\0' && timer_type == NULL)
		return pstrdup("the handler failed at a timer");
	if (what->log[0] == '\0')
		return psprintf("the handler failed at a timer of type \"%s\"", timer_type);
	if (what->correlating)
		return psprintf("correlate failed at position %lld of log \"%s\"",
						(long long) what->position, what->log);
	return psprintf("the handler failed at position %lld of log \"%s\"", (long long) what->position,
					what->log);
}

/*
 * Says the same in the server's log, with the error.  To be used among the
 * arguments of ereport().
 */
static int
blame_errmsg(ProcessManager *pm, const Handling *what, const char *timer_type, const char *error)
{
	const char *name = pm->name;
	const char *database = report_database();
	long long position = (long long) what->position;

	if (what->outside && what->log[0] == '\0')
		return errmsg("process manager \"%s\" in database \"%s\": "
					  "a timer could not be set aside: %s",
					  name, database, error);
	if (what->outside)
		return errmsg("process manager \"%s\" in database \"%s\": the event at position %lld of "
					  "log \"%s\" could not be read or set aside: %s",
					  name, database, position, what->log, error);
	if (what->log[0] == '\0' && timer_type == NULL)
		return errmsg("process manager \"%s\" in database \"%s\": "
					  "the handler failed at a timer: %s",
					  name, database, error);
	if (what->log[0] == '\0')
		return errmsg("process manager \"%s\" in database \"%s\": "
					  "the handler failed at a timer of type \"%s\": %s",
					  name, database, timer_type, error);
	if (what->correlating)
		return errmsg("process manager \"%s\" in database \"%s\": "
					  "correlate failed at position %lld of log \"%s\": %s",
					  name, database, position, what->log, error);
	return errmsg("process manager \"%s\" in database \"%s\": "
				  "the handler failed at position %lld of log \"%s\": %s",
				  name, database, position, what->log, error);
}

/*
 * Returns a hint for a line of the server's log, or NULL if there is none.
 * This is a hint of this extension, not one that the handler raised.
 */
static const char *
blame_hint(ProcessManager *pm, ErrorData *error, bool called)
{
	char *advice = advice_for(pm->handler, pm->correlate, pm->owner, error->sqlerrcode,
							  error->message, called);
	const char *hint = called ? NULL : report_cut(error->hint, REPORT_LOGGED);

	return hint == NULL ? advice : advice == NULL ? hint : psprintf("%s %s", hint, advice);
}

static void
blame_say_failed(ProcessManager *pm, const Handling *what, const char *timer_type, ErrorData *error)
{
	const char *hint;

	/* The hint costs more than the rest. */
	if (!report_may(pm->owner, REPORT_FAILURE))
		return;
	hint = blame_hint(pm, error, !what->outside);
	ereport(LOG, (blame_errmsg(pm, what, timer_type, report_cut(error->message, REPORT_LOGGED)),
				  report_error(error), hint ? errhint("%s", hint) : 0));
}

void
blame_say(ProcessManager *pm, const Handling *what, ErrorData *error)
{
	blame_say_failed(pm, what, blame_timer_type(pm, what), error);
}

static void
blame_say_waits(ProcessManager *pm, ErrorData *error, bool called)
{
	const char *hint = blame_hint(pm, error, called);
	const char *message = report_cut(error->message, REPORT_LOGGED);

	if (report_may(pm->owner, REPORT_FAILURE))
		ereport(LOG,
				(called ? errmsg("process manager \"%s\" in database \"%s\" waits, because its "
								 "handler met a problem of the server: %s",
								 pm->name, report_database(), message) :
						  errmsg("process manager \"%s\" in database \"%s\" waits: %s", pm->name,
								 report_database(), message),
				 report_error(error), hint ? errhint("%s", hint) : 0));
}

/* ---------- waiting ---------- */

/*
 * Why a unit waits.  A message that was raised before a handler ran is the
 * extension's own, and may be shown.  What a handler has raised is only for its
 * owner.
 */
static char *
blame_wait_reason(ErrorData *error, bool called)
{
	if (!called)
		return error->message;
	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_INSUFFICIENT_RESOURCES)
		return psprintf("the server ran out of a resource in the handler (SQLSTATE %s)",
						unpack_sql_state(error->sqlerrcode));
	return psprintf("the handler met a problem of the server (SQLSTATE %s)",
					unpack_sql_state(error->sqlerrcode));
}

/*
 * Postpones a parked event.  No other event waits for it.
 */
static void
blame_wait_parked(ProcessManager *pm, int lane, ErrorData *error, const Handling *met)
{
	if (!park_postpone(pm, lane, met->id, within_later(BLAME_POSTPONE), BLAME_PATIENCE))
	{
		(void) blame(pm, met, error, BLAME_ERROR);
		return;
	}
	lane_error(pm->name, lane);
	blame_say_waits(pm, error, true);
}

void
blame_wait(ProcessManager *pm, int lane, LaneState *state, ErrorData *error, const Handling *met)
{
	char *reason = blame_wait_reason(error, met != NULL);

	if (state->status == LANE_HALTED)
		return;
	if (met != NULL && met->source == HANDLING_PARKED)
	{
		blame_wait_parked(pm, lane, error, met);
		return;
	}
	if (state->reason != NULL && strcmp(state->reason, reason) == 0)
	{
		/*
		 * The wait is recorded already.  After some time it counts as an attempt like
		 * any other.
		 */
		if (met != NULL &&
			TimestampDifferenceExceeds(state->since, GetCurrentTimestamp(), BLAME_PATIENCE))
			(void) blame(pm, met, error, BLAME_ERROR);
		return;
	}
	lane_wait(pm->name, lane, state, reason,
			  met == NULL ? error->hint : "It is tried again. The server's log says more.", error);
	blame_say_waits(pm, error, met != NULL);
}

/* ---------- what follows ---------- */

/*
 * The handler failed at a timer, which is parked under its instance's key.
 */
static void
blame_timer(ProcessManager *pm, LaneState *state, const Handling *what, ErrorData *error,
			int crashes, const Failure *failure)
{
	bool deferred = failure->kind == FAILURE_DEFERRED;
	Timer *timer = timer_get(pm, what->id);
	char *refused;

	if (timer == NULL)
		return;
	/* After a crash the timer must be parked, however many have been parked already. */
	refused = crashes > 0 ? NULL : park_refused(pm, state, what->lane, failure->kind);
	if (refused != NULL)
	{
		lane_halt(pm, what, refused, error, true);
		return;
	}
	(void) timer_take(timer->id);
	park_failed_timer(pm, what->lane, timer->key, timer->event, deferred ? 0 : 1, crashes, error,
					  failure);
	if (!deferred)
		lane_error(pm->name, what->lane);
}

/*
 * Has the item been handled or parked meanwhile?  After the session that was
 * handling it died, another session may have run the unit.
 */
static bool
blame_too_late(ProcessManager *pm, List *cursors, const Handling *what)
{
	ListCell *lc;

	if (what->source == HANDLING_TIMER)
		return timer_get(pm, what->id) == NULL;
	/* park_failed_again() checks whether it is still there. */
	if (what->source == HANDLING_PARKED)
		return false;
	foreach(lc, cursors)
	{
		Cursor *cursor = lfirst(lc);

		if (strcmp(cursor->log, what->log) == 0)
			return cursor->position >= what->position;
	}
	/* The log is not followed any more. */
	return true;
}

/*
 * Can the item be parked, if that is the policy?  If correlate has said that it can never
 * tell the key, or not yet, no other event waits for this one.  Otherwise only its key
 * tells which ones must wait.
 */
static bool
blame_may_park(const Handling *what, const Failure *failure)
{
	if (what->outside)
		return false;
	return !what->correlating || (failure->kind != FAILURE_ORDINARY && park_may_without_key());
}

/*
 * Makes the unit retry the item before any other, or halt.  Returns when to run
 * the unit again.
 */
static TimestampTz
blame_in_place(ProcessManager *pm, LaneState *state, const Handling *what, const char *reason,
			   ErrorData *error, BlameCause cause, int crashes, const Failure *failure)
{
	int attempts = pm->max_attempts;

	/* An item that has no key, or cannot be parked, has no queue and gets no further attempt. */
	if (what->correlating || what->outside || failure->kind == FAILURE_PERMANENT)
		attempts = 1;
	/* The items before it were undone with the session, and must be handled first. */
	if (cause == BLAME_SESSION)
		attempts = Max(attempts, 2);
	return lane_fail(pm, state, what, reason, error, attempts, crashes, failure);
}

TimestampTz
blame(ProcessManager *pm, const Handling *what, ErrorData *error, BlameCause cause)
{
	Failure failure = {FAILURE_ORDINARY, 0};
	const char *timer_type = blame_timer_type(pm, what);
	char *reason;
	LaneState state;
	List *cursors;
	int crashes = cause == BLAME_FAILOVER ? 2 : cause == BLAME_CRASH ? 1 : 0;

	lane_state(pm, what->lane, &state);
	cursors = cursor_list(pm, what->lane);
	if (state.status == LANE_HALTED)
		return DT_NOEND;
	if (blame_too_late(pm, cursors, what))
		return 0;

	if (cause == BLAME_ERROR)
		failure = failure_of(error);
	reason = blame_reason(what, timer_type, failure.kind);
	/* Log this before its consequences are logged. */
	if (failure.kind != FAILURE_DEFERRED)
		blame_say_failed(pm, what, timer_type, error);
	/* The item will be tried again.  If that crashes the server once more, this must be on disk. */
	if (crashes > 0)
		ForceSyncCommit();
	if (what->source == HANDLING_PARKED)
	{
		/*
		 * If there were several, this is the last one.  Next time it is tried alone,
		 * which narrows the search.
		 */
		if (park_failed_again(pm, what, error, crashes, &failure) &&
			failure.kind != FAILURE_DEFERRED)
			lane_error(pm->name, what->lane);
	}
	else if (what->several)
		lane_suspect(pm->name, what, error, crashes > 0);
	else if (pm->halt_on_failure || !blame_may_park(what, &failure))
		return blame_in_place(pm, &state, what, reason, error, cause, crashes, &failure);
	else if (what->source == HANDLING_TIMER)
		blame_timer(pm, &state, what, error, crashes, &failure);
	else
		lane_decide_to_park(pm, &state, what, reason, error, crashes, &failure);
	return 0;
}
