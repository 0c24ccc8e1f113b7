/*
 * lease_expire.c
 *		What happens to what was fetched when a lease has run out.
 *
 * A consumer that dies may have died because of one of the events that it has fetched,
 * and it is not known which.  So a try is counted for all of them.  After some tries
 * they are fetched one at a time (dispatch/fetch_lane.c), and the one that was alone
 * when the lease ran out once more is dead.
 *
 * This is done when a consumer looks at the lane again, since no process watches for leases
 * that run out.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/exec.h"
#include "manager/lane_fail.h"
#include "manager/lease_expire.h"
#include "manager/park.h"
#include "manager/park_queue.h"

/*
 * Counts a try of each timer that was fetched.  The tries of other timers are not needed
 * any more: a timer that is still there is fetched before later ones.
 */
static void
lease_expire_timers(Lease *lease)
{
	int32 *tries = palloc(sizeof(int32) * Max(lease->ntimers, 1));

	for (int i = 0; i < lease->ntimers; i++)
		tries[i] = lease_timer_tries(lease, lease->timers[i]) + 1;
	lease->tried_timers = lease->timers;
	lease->ntried_timers = lease->ntimers;
	lease->timer_tries = tries;
	lease->timers = NULL;
	lease->ntimers = 0;
}

/*
 * A parked event that has failed before is fetched alone.
 */
static void
lease_expire_one_parked(Lease *lease)
{
	ErrorData error =
		{.sqlerrcode = ERRCODE_PM_LEASE_LOST,
		 .message = psprintf("consumer \"%s\" fetched it, and its lease ran out before "
							 "it was advanced",
							 lease->run_out)};
	Failure failure = {FAILURE_ORDINARY, 0};
	Parked *parked = park_get(lease->pm, lease->parked[0]);
	Handling what = {.source = HANDLING_PARKED, .lane = lease->lane, .id = lease->parked[0]};

	/* It may have been discarded. */
	if (parked == NULL)
		return;
	what.position = parked->position;
	if (parked->log != NULL)
		strlcpy(what.log, parked->log, sizeof(what.log));
	(void) park_failed_again(lease->pm, &what, &error, false, &failure);
}

/*
 * If several parked events were fetched, none of them gets its last attempt from this.
 */
static void
lease_expire_several_parked(Lease *lease)
{
	static ExecStatement count_attempt = {
		NULL,
		"UPDATE pm_catalog.parked SET attempts = least(attempts OPERATOR(pg_catalog.+) 1, "
		"greatest(attempts, $2 OPERATOR(pg_catalog.-) 1)) "
		"WHERE id OPERATOR(pg_catalog.=) ANY ($1)",
		2,
		{INT8ARRAYOID, INT4OID},
	};
	Datum *ids = palloc(sizeof(Datum) * lease->nparked);
	Datum values[2];

	for (int i = 0; i < lease->nparked; i++)
		ids[i] = Int64GetDatum(lease->parked[i]);
	values[0] = PointerGetDatum(construct_array(ids, lease->nparked, INT8OID, sizeof(int64),
												FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[1] = Int32GetDatum(lease->pm->max_attempts);
	(void) exec_as_owner(&count_attempt, values, NULL);
}

/*
 * Notes the event or timer that was alone, and has no try left.
 */
static void
lease_expire_alone(Lease *lease, const LaneState *state)
{
	ListCell *lc;

	lease->dead_log = NULL;
	lease->dead_position = 0;
	if (lease->ntimers == 1)
	{
		if (lease_timer_tries(lease, lease->timers[0]) +
				lane_attempts(state, NULL, lease->timers[0]) + 1 >=
			lease->pm->max_attempts)
			lease->dead_position = lease->timers[0];
		return;
	}
	foreach(lc, lease->logs)
	{
		Fetched *fetched = lfirst(lc);

		if (fetched->nevents == 0 ||
			lease_event_tries(lease, fetched->log, fetched->events[0]) +
					lane_attempts(state, fetched->log, fetched->events[0]) + 1 <
				lease->pm->max_attempts)
			continue;
		lease->dead_log = fetched->log;
		lease->dead_position = fetched->events[0];
	}
}

void
lease_expire(Lease *lease, const LaneState *state)
{
	lease->run_out = lease->consumer;
	if (lease_count(lease) == 1 && lease->nparked == 0)
		lease_expire_alone(lease, state);
	if (lease->nparked == 1)
		lease_expire_one_parked(lease);
	else if (lease->nparked > 1)
		lease_expire_several_parked(lease);
	if (lease->ntimers > 0)
		lease_expire_timers(lease);
	lease_give_up(lease, 1);
}
