/*
 * blame.c
 *		A handler has failed: what the error means, and what follows.
 *
 * Called by dispatchers, by pm.catch_up, and by the scheduler for those that
 * did not live to say it.  The caller holds the unit's lock, in a transaction
 * in which no user's code has run.
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

/* When a parked event that met trouble of the server is tried again, ms. */
#define BLAME_POSTPONE 5000

/* For how long trouble of the server is no attempt, ms.  (A handler can raise the same.) */
#define BLAME_PATIENCE (5 * 60 * 1000)

/* ---------- what errors mean ---------- */

/*
 * Errors that say nothing of the event: the same again may well succeed.
 */
bool
blame_nobody(int sqlerrcode)
{
	return ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_TRANSACTION_ROLLBACK ||
		   sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
}

/*
 * Errors that the server makes of its own trouble (no space, no memory, no
 * connections, input and output): no attempt of the handler at first, it waits
 * until they are over.
 */
bool
blame_server(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_DISK_FULL || sqlerrcode == ERRCODE_OUT_OF_MEMORY ||
		   sqlerrcode == ERRCODE_TOO_MANY_CONNECTIONS || sqlerrcode == ERRCODE_IO_ERROR;
}

/*
 * Was an error that dispatch_batch() has raised a cancel of our timeout?  Then
 * it says so from now on.
 */
bool
blame_timeout(ErrorData *error, ProcessManager *pm, const Handling *what)
{
	if (!handler_timed_out() || error->sqlerrcode != ERRCODE_QUERY_CANCELED)
		return false;
	error->message = psprintf("%s did not return within handler_timeout (%lld ms)",
							  what->correlating ? "correlate" : "the handler",
							  (long long) pm->handler_timeout);
	error->hint = pstrdup("Make it faster, or register with a longer handler_timeout.");
	return true;
}

/*
 * Which call failed, in words that all who may see the unit may read.
 */
static char *
blame_words(ProcessManager *pm, const Handling *what)
{
	Timer *timer;

	if (what->outside)
		return what->log[0] == '\0' ?
				   pstrdup("a timer could not be set aside") :
				   psprintf(
					   "the event at position %lld of log \"%s\" could not be read or set aside",
					   (long long) what->position, what->log);
	if (what->log[0] != '\0')
		return psprintf("%s failed at position %lld of log \"%s\"",
						what->correlating ? "correlate" : "the handler", (long long) what->position,
						what->log);
	timer = what->source == HANDLING_TIMER ? timer_get(pm, what->id) : NULL;
	if (timer == NULL)
		return pstrdup("the handler failed at a timer");
	return psprintf("the handler failed at a timer of type \"%s\"", timer->type);
}

/*
 * What helps, for a line of the log; NULL: nothing is known.  A hint of the
 * handler's own is not for it, but one of ours is.
 */
static const char *
blame_hint(ProcessManager *pm, ErrorData *error, bool called)
{
	char *advice = advice_for(pm->handler, pm->correlate, pm->owner, error->sqlerrcode, called);

	const char *hint = called ? NULL : report_cut(error->hint, REPORT_LOGGED);

	return hint == NULL ? advice : advice == NULL ? hint : psprintf("%s %s", hint, advice);
}

/*
 * Writes down that a unit waits, and why, unless that is known already.  What
 * was raised before a handler ran is ours, and may be told; else "met" says
 * which call met trouble of the server.  A parked event keeps nobody waiting.
 * After a while of that it is an attempt like any other.
 */
void
blame_wait(ProcessManager *pm, int lane, LaneState *state, ErrorData *error, const Handling *met)
{
	char *reason =
		met == NULL ?
			error->message :
			psprintf(ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_INSUFFICIENT_RESOURCES ?
						 "the server ran out of a resource in the handler (SQLSTATE %s)" :
						 "the handler met trouble of the server (SQLSTATE %s)",
					 unpack_sql_state(error->sqlerrcode));
	const char *hint = blame_hint(pm, error, met != NULL);

	if (state->status == LANE_HALTED)
		return;
	if (met != NULL && met->source == HANDLING_PARKED)
	{
		if (!park_postpone(pm, lane, met->id, within_later(BLAME_POSTPONE), BLAME_PATIENCE))
		{
			(void) blame(pm, met, error, BLAME_ERROR);
			return;
		}
		lane_error(pm->name, lane);
	}
	else if (state->reason != NULL && strcmp(state->reason, reason) == 0)
	{
		if (met != NULL &&
			TimestampDifferenceExceeds(state->since, GetCurrentTimestamp(), BLAME_PATIENCE))
			(void) blame(pm, met, error, BLAME_ERROR);
		return;
	}
	else
		lane_wait(pm->name, lane, state, reason,
				  met == NULL ? error->hint : "It is tried again. The server's log tells more.",
				  error);
	if (report_may(pm->owner, REPORT_FAILURE))
		ereport(LOG, (met == NULL ?
						  errmsg("process manager \"%s\" in database \"%s\" waits: %s", pm->name,
								 report_database(), report_cut(error->message, REPORT_LOGGED)) :
						  errmsg("process manager \"%s\" in database \"%s\" waits, since %s: %s",
								 pm->name, report_database(), blame_words(pm, met),
								 report_cut(error->message, REPORT_LOGGED)),
					  report_error(error), hint ? errhint("%s", hint) : 0));
}

/* ---------- what follows ---------- */

/*
 * A timer's handler failed: it is set aside, under its instance's key.
 */
static void
blame_timer(ProcessManager *pm, LaneState *state, const Handling *what, ErrorData *error,
			bool crash)
{
	Timer *timer = timer_get(pm, what->id);
	char *refused;

	if (timer == NULL)
		return;
	refused = crash ? NULL : park_refused(pm, state, what->lane);
	if (refused != NULL)
	{
		lane_halt(pm, what, refused, error, true);
		return;
	}
	(void) timer_take(timer->id);
	park_failed(pm, what->lane, timer->key, timer->event, 0, 1, crash ? 1 : 0, error);
	lane_error(pm->name, what->lane);
}

/*
 * Has it been got past meanwhile?  Between the death of a session and this,
 * another one may have had the unit.
 */
static bool
blame_too_late(ProcessManager *pm, List *cursors, const Handling *what)
{
	ListCell *lc;

	if (what->source == HANDLING_TIMER)
		return timer_get(pm, what->id) == NULL;
	if (what->source == HANDLING_PARKED)
		return false;
	foreach(lc, cursors)
	{
		Cursor *cursor = lfirst(lc);

		if (strcmp(cursor->log, what->log) == 0)
			return cursor->position >= what->position;
	}
	return true;
}

/*
 * The handler of a unit failed for this, alone, unless it was for several at
 * once.  Returns when the unit is worth another look: DT_NOEND when it has
 * halted.
 */
TimestampTz
blame(ProcessManager *pm, const Handling *what, ErrorData *error, BlameCause cause)
{
	bool crash = cause == BLAME_CRASH;
	char *words = blame_words(pm, what);
	const char *hint = blame_hint(pm, error, !what->outside);
	TimestampTz look_at = 0;
	LaneState state;
	List *cursors;

	lane_state(pm, what->lane, &state);
	cursors = cursor_list(pm, what->lane);
	if (state.status == LANE_HALTED)
		return DT_NOEND;
	if (blame_too_late(pm, cursors, what))
		return 0;

	/* Before what follows from it is logged. */
	if (report_may(pm->owner, REPORT_FAILURE))
		ereport(LOG, (errmsg("process manager \"%s\" in database \"%s\": %s: %s", pm->name,
							 report_database(), words, report_cut(error->message, REPORT_LOGGED)),
					  report_error(error), hint ? errhint("%s", hint) : 0));

	/* It is about to be tried again: the next crash must not undo this. */
	if (crash)
		ForceSyncCommit();
	if (what->source == HANDLING_PARKED)
	{
		/* Of a train it is the last: it is tried alone next time, which narrows the search. */
		if (park_failed_again(pm, what, error, crash))
			lane_error(pm->name, what->lane);
	}
	else if (what->several)
		lane_suspect(pm->name, what, error, crash);
	else if (what->correlating || what->outside || pm->halt_on_failure)
	{
		/* For what has no key, or cannot be set aside, there is no queue, nor another attempt. */
		int attempts = what->correlating || what->outside ? 1 : pm->max_attempts;

		/* What went before it was undone with the session, and is to be handled first. */
		if (cause == BLAME_SESSION)
			attempts = Max(attempts, 2);
		look_at = lane_fail(pm, &state, what, words, error, attempts, crash);
	}
	else if (what->source == HANDLING_TIMER)
		blame_timer(pm, &state, what, error, crash);
	else
		lane_decide_to_park(pm, &state, what, words, error, crash);
	return look_at;
}
