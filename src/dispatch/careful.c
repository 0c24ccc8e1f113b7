/*
 * careful.c
 *		After a promotion, calls a handler only for items that were noted before.
 *
 * lane_try.c says why.  A dispatcher's batch then handles one item.  If the item is not
 * the noted one, the batch notes it instead, and handles nothing.  The note is committed,
 * and a standby has it, before the next batch calls the handler.  The correlate function
 * has a note of its own, since nothing can be parked without it.
 *
 * As long as no standby follows this server, nothing is noted either: what is noted when a
 * server is lost counts as the cause, so a note must not be there for longer than the call.
 */
#include "pm.h"

#include "dispatch/blame.h"
#include "dispatch/call_correlate.h"
#include "dispatch/careful.h"
#include "manager/lane_try.h"
#include "shmem/standby.h"

static ErrorData *
careful_error(const Handling *what)
{
	ErrorData *error = palloc0(sizeof(ErrorData));

	error->sqlerrcode = ERRCODE_CRASH_SHUTDOWN;
	error->message = what->correlating ?
						 pstrdup("the primary ended while correlate ran, as the one before it may "
								 "have") :
						 pstrdup("the primary ended while the handler ran, as the one before it "
								 "may have");
	return error;
}

bool
careful_judge(ProcessManager *pm, int lane, const LaneState *state)
{
	Handling what;

	if (!lane_try_left(&state->tried, &what))
		return false;
	what.manager = pm->id;
	what.lane = lane;
	what.lanes = pm->lanes;
	/* Before the item is judged, since that writes the same row. */
	lane_try_forget(pm->name, lane);
	(void) blame(pm, &what, careful_error(&what), BLAME_FAILOVER);
	return true;
}

/*
 * Notes an item, unless a standby must come first.
 */
static void
careful_note(const BatchTask *task, Handling *what, bool correlating, Tally *tally)
{
	if (standby_missing())
	{
		tally->awaits = true;
		return;
	}
	what->lane = task->lane;
	what->correlating = correlating;
	lane_try_note(task->pm->name, what);
	tally->noted = true;
}

bool
careful_may(HandleRun *run, BatchItem *item)
{
	const BatchTask *task = run->task;
	bool correlates = run->calls.handler.correlates && item->source == HANDLING_EVENT;
	Handling what;

	memset(&what, 0, sizeof(what));
	batch_item_name(item, &what);
	if (!lane_try_is(&task->state->tried, &what))
	{
		careful_note(task, &what, correlates, &run->tally);
		return false;
	}
	if (!task->state->tried.correlating)
		return true;
	/* If the event is not for this unit, the handler is not called. */
	if (!call_correlate(&run->calls, item, run->tally.done + 1))
		return true;
	careful_note(task, &what, false, &run->tally);
	return false;
}

bool
careful_may_retry(const BatchTask *task, const Parked *head, Tally *tally)
{
	Handling what;

	memset(&what, 0, sizeof(what));
	what.source = HANDLING_PARKED;
	what.id = head->id;
	what.position = head->position;
	if (head->log != NULL)
		strlcpy(what.log, head->log, sizeof(what.log));
	if (lane_try_is(&task->state->tried, &what))
		return true;
	memset(tally, 0, sizeof(*tally));
	tally->due = DT_NOEND;
	careful_note(task, &what, false, tally);
	return false;
}

void
careful_passed(const BatchTask *task)
{
	lane_try_passed(task->pm->name, task->lane);
}
