/*
 * fetch_logs.c
 *		What a consumer fetches from the logs and timers of a lane.
 *
 * The logs and timers are read and merged as for a batch (batch.c).  What is fetched is
 * recorded with the lease; the cursors stay where they are until pm.advance moves them.
 * What is not for the consumer is passed: events of other lanes, those without a key, and
 * those of a key that has a queue, which join it.
 */
#include "pm.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "base/event.h"
#include "base/within.h"
#include "dispatch/as_owner.h"
#include "dispatch/blame.h"
#include "dispatch/fetch_aside.h"
#include "dispatch/fetch_key.h"
#include "dispatch/fetch_logs.h"
#include "dispatch/fetch_row.h"
#include "dispatch/reading.h"
#include "dispatch/tally.h"
#include "manager/failure.h"
#include "manager/instance.h"
#include "manager/lane_fail.h"
#include "manager/park_queue.h"
#include "manager/timer.h"

/* Batches that are read in one call, as long as they contain nothing for the consumer. */
#define FETCH_ROUNDS 10

/* ---------- one item ---------- */

/*
 * Is the item not to be fetched: not for this unit, set aside already, or not among those
 * that are to be fetched again?
 */
static bool
fetch_skips(FetchRun *run, const BatchItem *item)
{
	Lease *again = run->task.again;

	if (item->source == HANDLING_TIMER)
		return again != NULL && !lease_has(again->timers, again->ntimers, item->id);
	return item->passed ||
		   (item->nkeys == 0 && lease_has_passed(run->lease, item->log_name, item->position)) ||
		   (again != NULL && !lease_has_event(again, item->log_name, item->position));
}

/*
 * Does the timer still have an instance?  A timer that has none is removed.
 */
static bool
fetch_timer_lives(FetchRun *run, BatchItem *item)
{
	instance_load(run->pm, item->key);
	if (item->key->live || event_is_sent(item->event))
		return true;
	(void) timer_take(item->id);
	run->changed = true;
	return false;
}

static bool
fetch_is_dead(const FetchRun *run, const BatchItem *item)
{
	const Lease *lease = run->lease;

	if (lease->dead_position == 0)
		return false;
	if (item->source == HANDLING_TIMER)
		return lease->dead_log == NULL && lease->dead_position == item->id;
	return lease->dead_log != NULL && lease->dead_position == item->position &&
		   strcmp(lease->dead_log, item->log_name) == 0;
}

static void
fetch_give(FetchRun *run, BatchItem *item, int attempt)
{
	fetch_row(run->call->fcinfo, item->event, item->id, item->key, attempt, run->lane, run->until);
	run->rows++;
}

/*
 * Records whether an item was given.
 */
static void
fetch_taken(FetchRun *run, const BatchItem *item, bool given)
{
	if (given && item->source == HANDLING_TIMER)
		run->timers = lease_add(run->timers, &run->ntimers, item->id);
	else if (given)
		run->events[item->log] = lease_add(run->events[item->log], &run->nevents[item->log],
										   item->position);
	if (item->source == HANDLING_EVENT)
		tally_add(&run->tally, item, given ? 1 : 0);
}

/*
 * Has the event been parked for this one of its keys already?
 */
static bool
fetch_has_passed(FetchRun *run, const BatchItem *item)
{
	return item->nkeys > 0 && lease_has_passed(run->lease, item->log_name, item->position) &&
		   park_has_event(run->pm, item->log_name, item->position, item->key->name);
}

/*
 * The key of the item has a queue.  Does the item come before the queue?  That is so if the
 * item was fetched earlier, and a later one has failed since: what came after that one was
 * parked with it.
 */
static bool
fetch_is_before(FetchRun *run, const BatchItem *item)
{
	Lease *lease = run->task.again != NULL ? run->task.again : run->lease;

	if (item->source == HANDLING_TIMER)
		return lease_has(lease->timers, lease->ntimers, item->id) ||
			   lease_timer_tries(lease, item->id) > 0;
	return (lease_has_event(lease, item->log_name, item->position) ||
			lease_was_tried(lease, item->log_name, item->position)) &&
		   !park_precedes(run->pm, item->key->name, item->log_name, item->position);
}

/*
 * How often has a lease run out while the item was fetched?
 */
static int
fetch_tries(FetchRun *run, const BatchItem *item)
{
	return item->source == HANDLING_TIMER ?
			   lease_timer_tries(run->lease, item->id) :
			   lease_event_tries(run->lease, item->log_name, item->position);
}

/*
 * How often has the item failed?  With on_failure => 'halt', pm.fail leaves it in its place.
 */
static int
fetch_failures(FetchRun *run, const BatchItem *item)
{
	bool timer = item->source == HANDLING_TIMER;

	return fetch_tries(run, item) + lane_attempts(run->state, timer ? NULL : item->log_name,
												  timer ? item->id : item->position);
}

/*
 * Gives or parks an item for one key.  False if the lane halts before it.
 */
static bool
fetch_take_key(FetchRun *run, BatchItem *item, int failures, bool *given)
{
	if (fetch_has_passed(run, item))
		return true;
	if (run->state->has_parked && park_has(run->pm, run->lane, item->key) &&
		!fetch_is_before(run, item))
	{
		fetch_aside_behind(run, item);
		return true;
	}
	if (item->too_large > 0)
		return fetch_aside_too_large(run, item);
	if (fetch_is_dead(run, item))
		return fetch_aside_run_out(run, item, fetch_tries(run, item));
	fetch_give(run, item, failures + 1);
	*given = true;
	return true;
}

/*
 * Takes one item.  False if the batch ends before it.
 */
static bool
fetch_take(FetchRun *run, BatchItem *item)
{
	bool timer = item->source == HANDLING_TIMER;
	bool given = false;
	bool goes_on = true;
	int failures;

	if (fetch_skips(run, item) || (timer && !fetch_timer_lives(run, item)))
	{
		fetch_taken(run, item, false);
		return true;
	}
	failures = fetch_failures(run, item);
	run->alone = failures + 1 >= run->pm->max_attempts && !fetch_is_dead(run, item);
	if (run->alone && run->rows > 0)
		return false;
	/* The cursor cannot stop in the middle of an event, so it is given for all its keys. */
	for (int i = 0; goes_on && i < Max(item->nkeys, 1); i++)
	{
		if (item->nkeys > 0)
			item->key = item->keys[i];
		goes_on = fetch_take_key(run, item, failures, &given);
	}
	if (goes_on)
		fetch_taken(run, item, given);
	return goes_on && !(run->alone && given);
}

/* ---------- a batch ---------- */

/*
 * Returns the next item; NULL at the end of the batch, which is also before an event
 * whose key is not known.
 */
static BatchItem *
fetch_next(FetchRun *run)
{
	BatchTimers *timers = &run->batch.timers;
	BatchItem *item;

	if (run->rows >= run->call->max_count)
		return NULL;
	/* What is fetched stays in the table, so the next timers could not be read. */
	if (timers->more && timers->next >= list_length(timers->items))
		return NULL;
	item = batch_next(&run->batch);
	if (item != NULL && item->source == HANDLING_EVENT && run->taken++ >= run->known)
		return NULL;
	return item;
}

/*
 * Reads the batch, and the keys of its events.
 */
static bool
fetch_read(FetchRun *run)
{
	List *cursors = cursor_list(run->pm, run->lane);
	AsOwner as;
	bool now;

	as_owner_begin(&as, run->pm);
	now = batch_read(&run->batch, &run->task, cursors);
	as_owner_end(&as);
	if (!now)
		return false;
	tally_begin(&run->tally, &run->batch);
	run->events = palloc0(sizeof(int64 *) * Max(run->batch.logs.count, 1));
	run->nevents = palloc0(sizeof(int) * Max(run->batch.logs.count, 1));
	run->known = fetch_keys(&run->batch, &run->error);
	instance_prefetch(run->pm, &run->batch.keys);
	if (run->state->has_parked)
		park_prefetch(run->pm, run->lane, run->batch.keys.all);
	return true;
}

/*
 * Records with the lease what was fetched.
 */
static void
fetch_lease(FetchRun *run)
{
	Lease *lease = run->lease;
	ListCell *lc;
	bool more;

	foreach(lc, lease->logs)
	{
		/* Nothing is fetched from a log that was left out. */
		((Fetched *) lfirst(lc))->up_to = 0;
		((Fetched *) lfirst(lc))->nevents = 0;
	}
	for (int i = 0; i < run->batch.logs.count; i++)
	{
		BatchLog *b = &run->batch.logs.logs[i];
		Fetched *fetched;

		if (batch_log_left_out(b))
			continue;
		fetched = lease_fetched(lease, b->cursor->log, true);
		fetched->up_to = tally_reached(&run->tally, &run->batch, i, &more);
		fetched->events = run->events[i];
		fetched->nevents = run->nevents[i];
	}
	lease->timers = run->timers;
	lease->ntimers = run->ntimers;
	lease->nparked = 0;
	lease->parked_last = false;
	lease_take(lease, run->call->consumer->consumer, run->until);
}

/*
 * Moves the cursors past what is not for the consumer.
 */
static void
fetch_pass(FetchRun *run)
{
	bool more;

	for (int i = 0; i < run->batch.logs.count; i++)
	{
		BatchLog *b = &run->batch.logs.logs[i];
		int64 position;

		if (batch_log_left_out(b))
			continue;
		position = tally_reached(&run->tally, &run->batch, i, &more);
		if (position <= b->cursor->position)
			continue;
		cursor_move(run->pm, run->lane, b->cursor, position, 0);
		lease_forget_up_to(run->lease, b->cursor->log, position);
		run->changed = true;
	}
}

/*
 * correlate failed.  Errors that say nothing about the event go to the caller.
 */
static void
fetch_check_error(FetchRun *run, Handling *what)
{
	memset(what, 0, sizeof(*what));
	if (run->error == NULL)
		return;
	what->manager = run->pm->id;
	what->lane = run->lane;
	what->lanes = run->pm->lanes;
	what->correlating = true;
	batch_item_name(run->batch.events[run->known], what);
	fetch_key_check(run->pm, run->error);
	run->failure = failure_of(run->error);
}

/*
 * One batch of the logs and timers.
 */
static FetchOutcome
fetch_batch(FetchRun *run)
{
	BatchItem *item;
	Handling what;
	bool failed;

	if (!fetch_read(run))
		return FETCH_NOTHING;
	fetch_check_error(run, &what);
	while ((item = fetch_next(run)) != NULL && fetch_take(run, item))
		CHECK_FOR_INTERRUPTS();
	run->lease->dead_log = NULL;
	run->lease->dead_position = 0;
	if (run->rows > 0)
	{
		fetch_lease(run);
		return FETCH_ROWS;
	}
	failed = run->error != NULL && run->taken > run->known && !fetch_aside_keyless(run);
	fetch_pass(run);
	/* The events before this one are passed, so that it is the next. */
	if (failed)
	{
		(void) blame(run->pm, &what, run->error, BLAME_ERROR);
		run->changed = true;
	}
	return run->changed ? FETCH_PASSED : FETCH_NOTHING;
}

/*
 * Fetches from the logs and timers of a lane whose lock is held.
 */
FetchOutcome
fetch_logs(FetchCall *call, Lease *lease, LaneState *state, bool again)
{
	FetchOutcome outcome = FETCH_PASSED;
	bool passed = false;

	for (int round = 0; outcome == FETCH_PASSED && round < FETCH_ROUNDS; round++)
	{
		FetchRun run = {.call = call, .pm = lease->pm, .lane = lease->lane, .lease = lease};
		Lease before = *lease;

		/* The round before may have changed it. */
		if (round > 0)
			lane_state(lease->pm, lease->lane, state);
		if (state->status == LANE_HALTED)
			break;
		run.state = state;
		run.until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), lease->pm->lease);
		run.task = (BatchTask){.pm = lease->pm,
							   .lane = lease->lane,
							   .state = state,
							   .now = within_time(),
							   .limit = call->max_count,
							   .view = HIGHWATER_EVERYBODY,
							   .again = again ? &before : NULL};
		outcome = fetch_batch(&run);
		reading_forget();
		passed |= outcome == FETCH_PASSED;
		if (outcome == FETCH_PASSED && again)
		{
			/* What had been fetched has been parked or discarded since. */
			lease_give_up(lease, 0);
			again = false;
		}
	}
	return outcome == FETCH_NOTHING && passed ? FETCH_PASSED : outcome;
}
