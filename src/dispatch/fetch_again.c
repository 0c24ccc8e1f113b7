/*
 * fetch_again.c
 *		Reads again what a consumer has fetched from the logs and timers of a lane.
 *
 * Only the positions of what was fetched are kept.  pm.fail and the journal need the events
 * and their keys, so these are read and determined again, in the same way as by pm.fetch.
 */
#include "pm.h"

#include "base/within.h"
#include "dispatch/as_owner.h"
#include "dispatch/fetch_again.h"
#include "dispatch/fetch_call.h"
#include "dispatch/fetch_key.h"
#include "manager/cursor.h"

void
fetch_again(FetchAgain *again, Lease *lease, LaneState *state)
{
	ProcessManager *pm = lease->pm;
	AsOwner as;
	bool now;

	again->lease = lease;
	again->task = (BatchTask){.pm = pm,
							  .lane = lease->lane,
							  .state = state,
							  .now = within_time(),
							  .limit = FETCH_MAX_COUNT,
							  .view = HIGHWATER_EVERYBODY,
							  .again = lease,
							  .raise = true};
	as_owner_begin(&as, pm);
	now = batch_read(&again->batch, &again->task, cursor_list(pm, lease->lane));
	as_owner_end(&as);
	if (!now)
		ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
						errmsg("the logs of process manager \"%s\" cannot be read now", pm->name),
						errhint("Try again.")));
}

void
fetch_again_keys(FetchAgain *again)
{
	ErrorData *error;

	(void) fetch_keys(&again->batch, &error);
	if (error != NULL)
		ReThrowError(error);
}

BatchItem *
fetch_again_next(FetchAgain *again)
{
	BatchTimers *timers = &again->batch.timers;

	if (timers->more && timers->next >= list_length(timers->items))
		return NULL;
	return batch_next(&again->batch);
}

bool
fetch_again_has(const FetchAgain *again, const BatchItem *item)
{
	if (item->source == HANDLING_TIMER)
		return lease_has(again->lease->timers, again->lease->ntimers, item->id);
	return !item->passed && lease_has_event(again->lease, item->log_name, item->position);
}
