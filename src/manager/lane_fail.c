/*
 * lane_fail.c
 *		Decides on the next state of a unit after a failure.
 *
 * Assumes that the caller holds the lock of the unit, and that the failed
 * transaction has been rolled back, so that the changes made here commit.
 */
#include "pm.h"

#include "common/pg_prng.h"
#include "utils/builtins.h"

#include "base/report.h"
#include "base/within.h"
#include "manager/handler_watch.h"
#include "manager/lane_fail.h"

/* A unit that waits is tried again after this time, in ms. */
#define LANE_WAIT 5000

/*
 * The delay doubles with each attempt.  A random tenth is added, so that units
 * that failed together are not tried together each time.
 */
TimestampTz
lane_retry_at(ProcessManager *pm, int attempts)
{
	int64 delay = Max(pm->backoff, 1);

	for (int i = 1; i < attempts && delay < LANE_MAX_BACKOFF; i++)
		delay *= 2;
	delay = Min(delay, LANE_MAX_BACKOFF);
	delay += (int64) (delay * 0.1 * pg_prng_double(&pg_global_prng_state));
	return within_later(delay);
}

bool
lane_is_about(LaneState *state, const Handling *what)
{
	if (what->source == HANDLING_TIMER)
		return state->log == NULL && state->position != 0 && state->position == what->id;
	return state->log != NULL && state->position == what->position &&
		   strcmp(state->log, what->log) == 0;
}

int
lane_attempts(const LaneState *state, const char *log, int64 number)
{
	if (state->status != LANE_RETRYING || state->position != number ||
		(state->log == NULL) != (log == NULL) || (log != NULL && strcmp(state->log, log) != 0))
		return 0;
	return state->attempts;
}

/*
 * The unit cannot run, for a reason other than an event.  Every role that may
 * see the unit sees the reason, but not the message of the error, which may
 * come from a handler.
 */
void
lane_wait(const char *manager, int lane, LaneState *state, const char *reason, const char *hint,
		  ErrorData *error)
{
	bool failed = state->status == LANE_RETRYING || state->status == LANE_PARKING;
	LaneChange change = {.status = failed ? state->status : LANE_WAITING,
						 .reason = reason,
						 .hint = hint,
						 .error = error,
						 .count = true};

	/* Keep what has failed before, and how often. */
	if (failed)
	{
		change.error = &state->error;
		change.attempts = state->attempts;
		change.crashes = state->crashes;
		change.log = state->log;
		change.position = state->position;
		change.key = state->key;
	}
	change.retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LANE_WAIT);
	lane_change(manager, lane, &change);
}

/*
 * Several events, or timers, failed in a way that does not tell which of them
 * caused the failure.  So far none of them is counted as failed.
 */
void
lane_suspect(const char *manager, const Handling *what, ErrorData *error, bool crash)
{
	LaneChange change = {.status = LANE_RETRYING,
						 .hint = "They are tried one at a time.",
						 .what = what,
						 .crashes = crash ? 1 : 0,
						 .error = error,
						 .count = true};

	if (what->log[0] == '\0')
		change.reason = "the handler failed for several timers";
	else
		change.reason = psprintf("the handler failed for several events "
								 "up to position %lld of log \"%s\"",
								 (long long) what->position, what->log);
	lane_change(manager, what->lane, &change);
}

/*
 * A hint that says how to end the halt of a process manager for consumers.
 */
static char *
lane_halt_hint_consumer(ProcessManager *pm, const Handling *what, const ErrorData *error)
{
	const char *name = quote_literal_cstr(pm->name);
	bool seconds = pm->lease % 1000 == 0;

	/* What it has to do is added by advice_for(). */
	if (error != NULL && error->sqlerrcode == ERRCODE_PM_LEASE_LOST)
		return psprintf("Correct the consumer, whose lease lasts %lld %s, "
						"then SELECT pm.resume(%s).",
						(long long) (seconds ? pm->lease / 1000 : pm->lease), seconds ? "s" : "ms",
						name);
	if (what->log[0] == '\0')
		return psprintf("Correct the consumer, then SELECT pm.resume(%s).", name);
	return psprintf("Correct the consumer, or the event in the log, then SELECT pm.resume(%s).",
					name);
}

/*
 * A hint that says how to end a halt, which depends on the cause of the last failure.
 */
static char *
lane_halt_hint(ProcessManager *pm, const Handling *what, const ErrorData *error)
{
	const char *name = quote_literal_cstr(pm->name);
	int code = error == NULL ? 0 : error->sqlerrcode;

	if (what->outside && what->log[0] != '\0')
		return psprintf("Correct the data, then SELECT pm.resume(%s). "
						"To skip the event, SELECT pm.seek(%s, %s, %lld).",
						name, name, quote_literal_cstr(what->log), (long long) what->position);
	if (what->correlating)
		return psprintf("Correct the correlate function, or the event in the log, "
						"then SELECT pm.resume(%s).",
						name);
	if (pm->handler == NULL)
		return lane_halt_hint_consumer(pm, what, error);
	if (code == ERRCODE_LOCK_NOT_AVAILABLE ||
		(code == ERRCODE_QUERY_CANCELED && handler_locked_out()))
		return psprintf("While a handler waits for a lock, SELECT * FROM pm.blocker shows which "
						"session holds it. Have that session end its transaction, "
						"then SELECT pm.resume(%s).",
						name);
	if (code == ERRCODE_QUERY_CANCELED && handler_overran())
		return psprintf("Make the handler faster, or give it more time with "
						"pm.alter(%s, handler_timeout => ...), then SELECT pm.resume(%s).",
						name, name);
	if (code == ERRCODE_INSUFFICIENT_PRIVILEGE)
		return psprintf("Grant the missing right, or correct the handler, "
						"then SELECT pm.resume(%s).",
						name);
	if (what->log[0] == '\0')
		return psprintf("Correct the handler, then SELECT pm.resume(%s).", name);
	return psprintf("Correct the handler, or the event in the log, then SELECT pm.resume(%s).",
					name);
}

/*
 * Writes to the server's log, once for each halt, that a unit has halted.
 */
static void
lane_log_halt(ProcessManager *pm, const char *reason)
{
	/* The number of lines that a role may cause is limited. */
	if (report_may(pm->owner, REPORT_OUTCOME))
		ereport(LOG, (errmsg("process manager \"%s\" in database \"%s\" has halted: %s", pm->name,
							 report_database(), report_cut(reason, REPORT_LOGGED))));
}

/*
 * The handler has deferred an event, or timer, that is not parked.  The unit waits for it.
 */
static TimestampTz
lane_defer(ProcessManager *pm, LaneState *state, LaneChange *change, TimestampTz until)
{
	const Handling *what = change->what;

	/* It keeps the attempts that it has had. */
	if (lane_is_about(state, what))
	{
		change->attempts = state->attempts;
		change->crashes = state->crashes;
	}
	change->count = false;
	change->retry_at = until;
	if (what->source != HANDLING_TIMER)
		change->hint = psprintf("It is handled again at retry_at. "
								"To skip the event, SELECT pm.seek(%s, %s, %lld).",
								quote_literal_cstr(pm->name), quote_literal_cstr(what->log),
								(long long) what->position);
	else
		change->hint = "It is handled again at retry_at.";
	lane_change(pm->name, what->lane, change);
	return until;
}

/*
 * The handler has failed for an event, or timer, alone; "failed" is a text that says
 * so.  It is tried again in its place until it has failed max_attempts times.
 */
TimestampTz
lane_fail(ProcessManager *pm, LaneState *state, const Handling *what, const char *failed,
		  ErrorData *error, int max_attempts, int crashes, const Failure *failure)
{
	LaneChange change = {.status = LANE_RETRYING,
						 .reason = failed,
						 .what = what,
						 .error = error,
						 .count = true};
	bool again = lane_is_about(state, what);

	if (failure->kind == FAILURE_DEFERRED)
		return lane_defer(pm, state, &change, failure->until);
	change.attempts = again ? state->attempts + 1 : 1;
	change.crashes = (again ? state->crashes : 0) + crashes;

	/*
	 * The first crash may not be the handler's fault, because a person may have
	 * killed its dispatcher.  The second one halts the unit, whatever
	 * max_attempts is.
	 */
	if (crashes > 0)
		max_attempts = change.crashes < 2 ? change.attempts + 1 : change.attempts;
	if (change.attempts >= max_attempts)
	{
		change.status = LANE_HALTED;
		change.hint = lane_halt_hint(pm, what, error);
		lane_change(pm->name, what->lane, &change);
		lane_log_halt(pm, failed);
		return DT_NOEND;
	}
	change.retry_at = crashes > 0 ? 0 : lane_retry_at(pm, change.attempts);
	if (what->source == HANDLING_TIMER)
		change.hint = psprintf("It is tried again until it has failed %d times.", max_attempts);
	else
		change.hint = psprintf("It is tried again until it has failed %d times. "
							   "To skip the event, SELECT pm.seek(%s, %s, %lld).",
							   max_attempts, quote_literal_cstr(pm->name),
							   quote_literal_cstr(what->log), (long long) what->position);
	lane_change(pm->name, what->lane, &change);
	return change.retry_at;
}

/*
 * The next batch parks this event, since only the owner's session may ask for
 * its key.
 */
void
lane_decide_to_park(ProcessManager *pm, LaneState *state, const Handling *what, const char *failed,
					ErrorData *error, int crashes, const Failure *failure)
{
	bool deferred = failure->kind == FAILURE_DEFERRED;
	LaneChange change = {.status = LANE_PARKING,
						 .reason = failed,
						 .hint = "The event is about to be parked.",
						 .attempts = deferred ? 0 : 1,
						 .retry_at = deferred ? failure->until : 0,
						 .what = what,
						 .error = error,
						 .count = !deferred};

	/* If the server has crashed before while it handled the event, that still counts. */
	if (state->attempts > 0 && lane_is_about(state, what))
		change.crashes = state->crashes;
	change.crashes += crashes;
	lane_change(pm->name, what->lane, &change);
}

/*
 * The unit halts before an event or timer, until pm.resume.  The error may have
 * been counted already.
 */
void
lane_halt(ProcessManager *pm, const Handling *what, const char *reason, ErrorData *error,
		  bool count)
{
	LaneChange change = {.status = LANE_HALTED,
						 .reason = reason,
						 .hint = lane_halt_hint(pm, what, error),
						 .what = what,
						 .error = error,
						 .count = count};

	lane_change(pm->name, what->lane, &change);
	lane_log_halt(pm, reason);
}
