/*
 * fetch_lane.c
 *		What a consumer fetches from one lane: from its logs and timers, or from its parked events.
 */
#include "pm.h"

#include "base/within.h"
#include "dispatch/fetch_lane.h"
#include "dispatch/fetch_logs.h"
#include "dispatch/fetch_parked.h"
#include "manager/cursor.h"
#include "manager/lane.h"
#include "manager/lease_expire.h"
#include "manager/lease_row.h"
#include "manager/manager_lock.h"
#include "manager/park_queue.h"
#include "manager/sent.h"

/*
 * May the lane be fetched from now?
 */
static bool
fetch_may(const ProcessManager *pm, const LaneState *state)
{
	return !pm->paused && state->status != LANE_HALTED &&
		   (state->status != LANE_RETRYING || lane_retry_due(state, within_time()));
}

/*
 * Fetches from the parked events and from the logs in turn.  Parked events have to wait
 * until everything that came before them has been advanced.
 */
static FetchOutcome
fetch_from(FetchCall *call, Lease *lease, LaneState *state, bool again)
{
	bool parked = lane_parked_due(state, within_time());
	FetchOutcome outcome;
	ListCell *lc;

	if (again)
		return lease->nparked > 0 ? fetch_parked(call, lease, true) :
									fetch_logs(call, lease, state, true);
	foreach(lc, lease->logs)
		parked &= ((Fetched *) lfirst(lc))->ntried == 0 && ((Fetched *) lfirst(lc))->npassed == 0;
	if (parked && !lease->parked_last)
	{
		outcome = fetch_parked(call, lease, false);
		if (outcome != FETCH_NOTHING)
			return outcome;
	}
	outcome = fetch_logs(call, lease, state, false);
	if (outcome == FETCH_NOTHING && parked && lease->parked_last)
		outcome = fetch_parked(call, lease, false);
	return outcome;
}

/*
 * Events that were parked after the cursor have been passed, and must not be fetched again
 * from the log.  If no such positions are kept for a log, as in a copy or after a change of
 * the number of lanes, they are found by reading the parked events.
 */
static void
fetch_recall_passed(Lease *lease)
{
	ListCell *lc;
	ListCell *position;

	foreach(lc, cursor_list(lease->pm, lease->lane))
	{
		Cursor *cursor = lfirst(lc);

		if (lease_fetched(lease, cursor->log, false) != NULL)
			continue;
		foreach(position, park_positions(lease->pm, lease->lane, cursor->log, cursor->position))
			lease_pass(lease, cursor->log, *(int64 *) lfirst(position));
	}
}

/*
 * Fetches from a lane whose lock is held.
 */
static FetchOutcome
fetch_locked(FetchCall *call, int lane)
{
	ProcessManager *pm = call->consumer->pm;
	Lease lease;
	LaneState state;
	bool held;
	bool mine;
	bool expired;
	bool pending;
	bool sent;
	FetchOutcome outcome;

	lane_state(pm, lane, &state);
	if (!fetch_may(pm, &state))
		return FETCH_NOTHING;
	lease_read(pm, lane, &lease);
	held = lease_is_held(&lease);
	mine = lease_is_of(&lease, call->consumer->consumer);
	if (held && !mine)
		return FETCH_NOTHING;
	if (state.has_parked)
		fetch_recall_passed(&lease);
	expired = !held && lease.consumer != NULL && lease_count(&lease) > 0;
	if (expired)
	{
		lease_expire(&lease, &state);
		/* A parked event may be due, or not be due any more. */
		lane_state(pm, lane, &state);
	}
	else if (!held)
		lease_give_up(&lease, 0);
	/* From here on, what was sent is among the timers. */
	sent = sent_known() && sent_deliver(pm, lane, within_time(), &pending) > 0;
	if (sent)
		lane_state(pm, lane, &state);
	outcome = fetch_from(call, &lease, &state, held && lease_count(&lease) > 0);
	if (outcome == FETCH_NOTHING && (expired || sent))
		outcome = FETCH_PASSED;
	if (outcome != FETCH_NOTHING)
		lease_write(&lease);
	return outcome;
}

FetchOutcome
fetch_lane(FetchCall *call, int lane)
{
	ConsumerCall *consumer = call->consumer;
	bool mine = manager_lock_is_mine(consumer->pm->id, lane);
	FetchOutcome outcome = FETCH_NOTHING;

	/* Another consumer is looking at the lane, or somebody changes the process manager. */
	if (!manager_lock_unit(consumer->pm->id, lane, true))
		return FETCH_NOTHING;
	if (registry_version() == consumer->pm->version)
		outcome = fetch_locked(call, lane);
	if (outcome == FETCH_NOTHING && !mine)
		manager_lock_release(consumer->pm->id, lane);
	return outcome;
}
