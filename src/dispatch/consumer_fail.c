/*
 * consumer_fail.c
 *		pm.fail: a consumer could not handle what it has fetched, or wants it later.
 *
 * An event that fails is parked at once, with what was fetched after it of the same key,
 * so that pm.advance can pass it by.  What comes after it, and which key it has, is found
 * out by reading it again (fetch_again.c).  With on_failure => 'halt', nothing is parked:
 * the lane tries the event again in its place, and what was fetched after it no longer
 * counts as fetched.
 */
#include "pm.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/argument.h"
#include "base/report.h"
#include "base/within.h"
#include "dispatch/fetch_again.h"
#include "dispatch/reading.h"
#include "manager/consumer.h"
#include "manager/cursor.h"
#include "manager/follow.h"
#include "manager/lane_fail.h"
#include "manager/lease_row.h"
#include "manager/park.h"
#include "manager/park_queue.h"
#include "manager/timer.h"

PG_FUNCTION_INFO_V1(pm_fail);

/* A call, and what has failed. */
typedef struct ConsumerFail
{
	ConsumerCall consumer;
	char *log;		/* NULL: a timer */
	int64 position; /* of the event, or the number with which a timer was fetched */
	char *key;		/* the only key for which it has failed; NULL: all of its keys */
	ErrorData error;
	Failure failure;
	int lane;
	Lease lease;
	LaneState state;
	FetchAgain again;
	List *keys; /* of Key: for which it has failed */
	bool found;
} ConsumerFail;

/* ---------- arguments ---------- */

/*
 * When to try again; 0: as the policy says.
 */
static TimestampTz
consumer_fail_until(FunctionCallInfo fcinfo)
{
	TimestampTz now = within_time();
	TimestampTz until;

	if (PG_ARGISNULL(5))
		return 0;
	until = DatumGetTimestampTz(
		DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(now), PG_GETARG_DATUM(5)));
	if (until < now || until >= END_TIMESTAMP)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("retry_in must not be negative or infinite")));
	return until;
}

static void
consumer_fail_args(FunctionCallInfo fcinfo, ConsumerFail *fail)
{
	bool permanent;

	argument_not_null(fcinfo, 3, "pos");
	argument_not_null(fcinfo, 6, "permanent");
	permanent = PG_GETARG_BOOL(6);
	if (!PG_ARGISNULL(2))
		fail->log = follow_name(fail->consumer.pm, text_to_cstring(PG_GETARG_TEXT_PP(2)));
	fail->position = PG_GETARG_INT64(3);
	fail->failure.until = consumer_fail_until(fcinfo);
	if (permanent)
		fail->failure.kind = FAILURE_PERMANENT;
	else if (PG_ARGISNULL(4))
		fail->failure.kind = FAILURE_DEFERRED;
	if (PG_ARGISNULL(4) && (permanent || fail->failure.until == 0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("error must not be null"),
						errhint("To get the event again later, set retry_in instead.")));
	fail->error.message = PG_ARGISNULL(4) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(4));
	fail->error.sqlerrcode = fail->failure.kind == FAILURE_PERMANENT ?
								 ERRCODE_PM_PERMANENT :
							 fail->failure.kind == FAILURE_DEFERRED ?
								 ERRCODE_PM_DEFERRED :
								 ERRCODE_EXTERNAL_ROUTINE_EXCEPTION;
	if (!PG_ARGISNULL(7))
		fail->key = key_stored_name(PG_GETARG_DATUM(7));
}

/* ---------- where it was fetched ---------- */

/*
 * Of the parked events and timers that were fetched, the one that the call means; NULL if
 * there is none.
 */
static Parked *
consumer_fail_parked(const ConsumerFail *fail)
{
	for (int i = 0; i < fail->lease.nparked; i++)
	{
		Parked *parked = park_get(fail->consumer.pm, fail->lease.parked[i]);

		if (parked == NULL || (parked->log == NULL) != (fail->log == NULL))
			continue;
		if (fail->log == NULL ?
				parked->id == fail->position :
				parked->position == fail->position && strcmp(parked->log, fail->log) == 0)
			return parked;
	}
	return NULL;
}

/*
 * Was it fetched under the lease?
 */
static bool
consumer_fail_has(ConsumerFail *fail)
{
	if (fail->lease.nparked > 0)
		return consumer_fail_parked(fail) != NULL;
	if (fail->log == NULL)
		return lease_has(fail->lease.timers, fail->lease.ntimers, fail->position);
	return lease_has_event(&fail->lease, fail->log, fail->position);
}

/*
 * Does the consumer hold the lane, and has it fetched the event there?  *held is set if
 * it holds the lane.
 */
static bool
consumer_fail_in(ConsumerFail *fail, int lane, bool *held)
{
	fail->lane = lane;
	lease_read(fail->consumer.pm, lane, &fail->lease);
	if (!lease_is_of(&fail->lease, fail->consumer.consumer))
		return false;
	*held = true;
	return consumer_fail_has(fail);
}

COMPAT_NORETURN static void
consumer_fail_refuse(const ConsumerFail *fail, bool held)
{
	const char *consumer = fail->consumer.consumer;

	ereport(ERROR,
			(errcode(held ? ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE : ERRCODE_PM_LEASE_LOST),
			 fail->log != NULL ? errmsg("consumer \"%s\" has not fetched the event at position "
										"%lld of log \"%s\"",
										consumer, (long long) fail->position, fail->log) :
								 errmsg("consumer \"%s\" has not fetched the timer with number "
										"%lld",
										consumer, (long long) fail->position),
			 held ? errhint("Name an event that it has fetched, and neither advanced nor failed.") :
					errhint("Roll back, and call pm.fetch. Events that were not advanced are "
							"fetched again.")));
}

static bool
consumer_fail_is_it(const ConsumerFail *fail, const BatchItem *item)
{
	if (item->source == HANDLING_TIMER)
		return fail->log == NULL && item->id == fail->position;
	return fail->log != NULL && item->position == fail->position &&
		   strcmp(item->log_name, fail->log) == 0;
}

/* ---------- parking ---------- */

/*
 * The item no longer counts as fetched: for any of its keys ("all"), or for the keys
 * for which it has failed.
 */
static void
consumer_fail_forget(ConsumerFail *fail, const BatchItem *item, bool all)
{
	Lease *lease = &fail->lease;
	Fetched *fetched;

	if (item->source == HANDLING_TIMER)
	{
		lease->ntimers = lease_without(lease->timers, lease->ntimers, item->id);
		return;
	}
	fetched = lease_fetched(lease, item->log_name, true);
	if (all)
		fetched->nevents = lease_without(fetched->events, fetched->nevents, item->position);
	if (!lease_has_passed(lease, item->log_name, item->position))
		lease_pass(lease, item->log_name, item->position);
}

/*
 * How often has a lease run out while it was fetched?  These are failed attempts, too.
 */
static int
consumer_fail_tries(ConsumerFail *fail)
{
	return fail->log == NULL ? lease_timer_tries(&fail->lease, fail->position) :
							   lease_event_tries(&fail->lease, fail->log, fail->position);
}

/*
 * Parks the failed item for one of its keys.
 */
static void
consumer_fail_park(ConsumerFail *fail, const BatchItem *item, Key *key)
{
	ProcessManager *pm = fail->consumer.pm;
	bool deferred = fail->failure.kind == FAILURE_DEFERRED;
	int tries = consumer_fail_tries(fail);
	char *refused = park_refused(pm, &fail->state, fail->lane, fail->failure.kind);
	Handling what;

	if (park_failed(park_rows_now(pm, fail->lane), key->name, item->event, item->too_large,
					tries + (deferred ? 0 : 1), 0, &fail->error, &fail->failure))
		lane_in_a_row(pm->name, fail->lane, 1, true);
	fail->keys = lappend(fail->keys, key);
	if (!deferred)
		lane_error(pm->name, fail->lane);
	if (refused == NULL)
		return;
	/* It is parked all the same: the consumer has passed it by. */
	memset(&what, 0, sizeof(what));
	what.lane = fail->lane;
	batch_item_name(item, &what);
	lane_halt(pm, &what, refused, &fail->error, false);
}

/*
 * Parks an item: the one that has failed ("first") for the keys for which it did, and a
 * later one for those of its keys that have a queue because of that.
 */
static void
consumer_fail_keys(ConsumerFail *fail, BatchItem *item, bool first)
{
	ProcessManager *pm = fail->consumer.pm;
	int count = Max(item->nkeys, 1);
	int parked = 0;

	for (int i = 0; i < count; i++)
	{
		Key *key = item->nkeys > 0 ? item->keys[i] : item->key;
		bool wanted = first ? fail->key == NULL || strcmp(key->name, fail->key) == 0 :
							  list_member_ptr(fail->keys, key);

		if (!wanted)
			continue;
		parked++;
		if (item->nkeys > 0 && park_has_event(pm, item->log_name, item->position, key->name))
			continue;
		if (first)
			consumer_fail_park(fail, item, key);
		else
			park_behind(park_rows_now(pm, fail->lane), key->name, item->event, item->too_large);
	}
	if (parked == 0)
		return;
	if (item->source == HANDLING_TIMER)
		(void) timer_take(item->id);
	consumer_fail_forget(fail, item, parked == count);
}

/*
 * Parks the item that has failed, and what was fetched after it of the same keys.
 */
static void
consumer_fail_park_all(ConsumerFail *fail)
{
	BatchItem *item;

	while ((item = fetch_again_next(&fail->again)) != NULL)
	{
		bool first = consumer_fail_is_it(fail, item);

		if (!fetch_again_has(&fail->again, item) || !(first || fail->found))
			continue;
		fail->found |= first;
		consumer_fail_keys(fail, item, first);
		if (first && fail->keys == NIL)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("the event at position %lld of log \"%s\" has no key \"%s\"",
								   (long long) fail->position, fail->log, fail->key),
							errhint("Pass a key that it was fetched with, or omit key.")));
	}
}

/* ---------- in its place ---------- */

/*
 * What was fetched, from the failed item on, no longer counts as fetched.
 */
static void
consumer_fail_cut(ConsumerFail *fail)
{
	Lease *lease = &fail->lease;
	BatchItem *item;

	while ((item = fetch_again_next(&fail->again)) != NULL)
	{
		Fetched *fetched;

		fail->found |= consumer_fail_is_it(fail, item);
		if (!fail->found)
			continue;
		if (item->source == HANDLING_TIMER)
		{
			lease->ntimers = lease_without(lease->timers, lease->ntimers, item->id);
			continue;
		}
		fetched = lease_fetched(lease, item->log_name, true);
		fetched->nevents = lease_without(fetched->events, fetched->nevents, item->position);
		fetched->up_to = Min(fetched->up_to, item->position - 1);
	}
}

static void
consumer_fail_in_place(ConsumerFail *fail, const char *reason)
{
	ProcessManager *pm = fail->consumer.pm;
	bool permanent = fail->failure.kind == FAILURE_PERMANENT;
	int left = Max(pm->max_attempts - consumer_fail_tries(fail), 1);
	Handling what;

	memset(&what, 0, sizeof(what));
	what.lane = fail->lane;
	what.source = fail->log != NULL ? HANDLING_EVENT : HANDLING_TIMER;
	what.position = fail->log != NULL ? fail->position : 0;
	what.id = fail->log != NULL ? 0 : fail->position;
	if (fail->log != NULL)
		strlcpy(what.log, fail->log, sizeof(what.log));
	consumer_fail_cut(fail);
	(void) lane_fail(pm, &fail->state, &what, reason, &fail->error, permanent ? 1 : left, false,
					 &fail->failure);
}

/* ---------- the function ---------- */

/*
 * A parked event has failed once more, or is deferred.
 */
static void
consumer_fail_again(ConsumerFail *fail)
{
	Parked *parked = consumer_fail_parked(fail);
	Handling what;

	memset(&what, 0, sizeof(what));
	what.source = HANDLING_PARKED;
	what.lane = fail->lane;
	what.id = parked->id;
	what.position = parked->position;
	if (parked->log != NULL)
		strlcpy(what.log, parked->log, sizeof(what.log));
	if (park_failed_again(fail->consumer.pm, &what, &fail->error, false, &fail->failure) &&
		fail->failure.kind != FAILURE_DEFERRED)
		lane_error(fail->consumer.pm->name, fail->lane);
	/* The others are behind it. */
	for (int i = 0; i < fail->lease.nparked; i++)
		if (fail->lease.parked[i] == parked->id)
			fail->lease.nparked = i;
	fail->found = true;
}

/*
 * Reports the failure in the server's log.
 */
static void
consumer_fail_say(const ConsumerFail *fail, const char *reason)
{
	ProcessManager *pm = fail->consumer.pm;

	/* These lines count against the consumer's limit, so that it cannot use up the owner's. */
	if (fail->failure.kind != FAILURE_DEFERRED && report_may(GetUserId(), REPORT_FAILURE))
		ereport(LOG, (errmsg("process manager \"%s\" in database \"%s\": %s: %s", pm->name,
							 report_database(), reason,
							 report_cut(fail->error.message, REPORT_LOGGED))));
}

/*
 * Records the failure in one lane.
 */
static void
consumer_fail_lane(ConsumerFail *fail)
{
	ProcessManager *pm = fail->consumer.pm;
	char *reason = fail->log != NULL ?
					   psprintf("its consumer failed at position %lld of log \"%s\"",
								(long long) fail->position, fail->log) :
					   pstrdup("its consumer failed at a timer");
	consumer_lock(&fail->consumer, fail->lane, &fail->lease);
	if (!consumer_fail_has(fail))
		consumer_fail_refuse(fail, true);
	lane_state(pm, fail->lane, &fail->state);
	fail->keys = NIL;
	consumer_fail_say(fail, reason);
	if (fail->lease.nparked > 0)
		consumer_fail_again(fail);
	else
	{
		fetch_again(&fail->again, &fail->lease, &fail->state);
		fetch_again_keys(&fail->again);
		if (pm->halt_on_failure)
			consumer_fail_in_place(fail, reason);
		else
			consumer_fail_park_all(fail);
		reading_forget();
	}
	if (!fail->found)
		consumer_fail_refuse(fail, true);
	lease_write(&fail->lease);
}

/*
 * pm.fail(name, consumer, log, pos, error, retry_in, permanent, key)
 */
Datum
pm_fail(PG_FUNCTION_ARGS)
{
	ConsumerFail fail = {0};
	bool held = false;
	bool failed = false;

	consumer_begin(&fail.consumer, fcinfo, "pm.fail", 0, 1);
	consumer_fail_args(fcinfo, &fail);
	/* An event that goes to several keys can have been fetched in several lanes. */
	for (int lane = 0; lane < fail.consumer.pm->lanes; lane++)
	{
		if (fail.key != NULL &&
			key_hash(fail.key, strlen(fail.key)) % fail.consumer.pm->lanes != lane)
			continue;
		if (!consumer_fail_in(&fail, lane, &held))
			continue;
		fail.found = false;
		consumer_fail_lane(&fail);
		failed = true;
	}
	if (!failed)
		consumer_fail_refuse(&fail, held);
	PG_RETURN_VOID();
}
