/*
 * fetch_aside.c
 *		What pm.fetch sets aside: parks it, or halts the lane before it.
 */
#include "pm.h"

#include "dispatch/fetch_aside.h"
#include "dispatch/item_key.h"
#include "manager/lane_fail.h"
#include "manager/park.h"
#include "manager/park_queue.h"
#include "manager/timer.h"

/*
 * The item's key has a queue now.
 */
static void
fetch_aside_parked(FetchRun *run, BatchItem *item)
{
	item->key->parked = item->key->parked_known = true;
	run->state->has_parked = run->changed = true;
	if (item->source == HANDLING_EVENT &&
		!lease_has_passed(run->lease, item->log_name, item->position))
		lease_pass(run->lease, item->log_name, item->position);
}

void
fetch_aside_behind(FetchRun *run, BatchItem *item)
{
	if (item->source == HANDLING_TIMER && !timer_take(item->id))
		return;
	park_behind(park_rows_now(run->pm, run->lane), item->key->name, item->event, item->too_large);
	fetch_aside_parked(run, item);
}

/*
 * Sets aside an item that must not be fetched.  False if the lane halts before it
 * instead.
 */
static bool
fetch_aside_dead(FetchRun *run, BatchItem *item, ErrorData *error)
{
	ProcessManager *pm = run->pm;
	Failure failure = {FAILURE_ORDINARY, 0};
	char *refused = park_refused(pm, run->state, run->lane, failure.kind);
	Handling what;

	memset(&what, 0, sizeof(what));
	what.lane = run->lane;
	batch_item_name(item, &what);
	run->changed = true;
	if (pm->halt_on_failure)
	{
		lane_halt(pm, &what, error->message, error, true);
		return false;
	}
	if (item->source == HANDLING_TIMER && !timer_take(item->id))
		return true;
	if (park_failed(park_rows_now(pm, run->lane), item->key->name, item->event, item->too_large,
					pm->max_attempts, 0, error, &failure))
		lane_in_a_row(pm->name, run->lane, 1, true);
	lane_error(pm->name, run->lane);
	fetch_aside_parked(run, item);
	if (refused == NULL)
		return true;
	lane_halt(pm, &what, refused, error, false);
	return false;
}

static char *
fetch_aside_name(const BatchItem *item)
{
	if (item->source == HANDLING_TIMER)
		return pstrdup("a timer");
	return psprintf("the event at position %lld of log \"%s\"", (long long) item->position,
					item->log_name);
}

bool
fetch_aside_too_large(FetchRun *run, BatchItem *item)
{
	ErrorData error = {.sqlerrcode = ERRCODE_PROGRAM_LIMIT_EXCEEDED};

	error.message = psprintf("%s is too large to be fetched: %lld bytes", fetch_aside_name(item),
							 (long long) item->too_large);
	return fetch_aside_dead(run, item, &error);
}

/*
 * The consumer was given the item alone, and its lease ran out.
 */
bool
fetch_aside_run_out(FetchRun *run, BatchItem *item, int tries)
{
	ErrorData error = {.sqlerrcode = ERRCODE_PM_LEASE_LOST};
	const char *last = run->lease->run_out;
	char *by = last == NULL ? "" : psprintf(" by consumer \"%s\",", last);

	if (tries == 1)
		error.message = psprintf("%s was fetched once,%s and the lease ran out before it was "
								 "advanced",
								 fetch_aside_name(item), by);
	else
		error.message = psprintf("%s was fetched %d times,%s%s and each time the lease ran out "
								 "before it was advanced",
								 fetch_aside_name(item), tries, last == NULL ? "" : " last", by);
	return fetch_aside_dead(run, item, &error);
}

/*
 * correlate failed in a way that no retry can correct, or defers the event: sets the event aside
 * without a key, in the lane of its stream, and passes it.  False if the lane has to halt before
 * it.
 */
bool
fetch_aside_keyless(FetchRun *run)
{
	BatchItem *item = run->batch.events[run->known];

	if (run->failure.kind == FAILURE_ORDINARY || run->pm->halt_on_failure ||
		!park_may_without_key())
		return false;
	if (item_key_is_ours(item, item_key_stream(item)))
	{
		(void) park_failed(park_rows_now(run->pm, run->lane), NULL, item->event, item->too_large, 1,
						   0, run->error, &run->failure);
		if (run->failure.kind != FAILURE_DEFERRED)
			lane_error(run->pm->name, run->lane);
	}
	tally_add(&run->tally, item, 0);
	return true;
}
