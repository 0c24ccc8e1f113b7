/*
 * careful.c
 *		After a promotion, calls a handler only for items that were noted before.
 *
 * note.c says why.  A dispatcher's batch then handles one item.  If the item is not the
 * noted one, the batch notes it instead, and handles nothing.  The note is committed, and a
 * standby has it, before the next batch calls the handler (run.c).  The correlate function
 * has a note of its own, since nothing can be parked without it.
 *
 * All dispatchers of the cluster take turns (slot_careful.c), from before the note until
 * the call's transaction has ended.  So if the server is lost, one note is left.
 *
 * What was parked before the unit has passed what was in hand is tried again later, and may
 * have crashed a server before.  So each attempt of such an item is noted, if its handler has
 * failed.  What was only deferred, or waits behind another item, was in hand only if it was
 * due, and then the unit has not passed it.
 *
 * As long as no standby follows this server, nothing is noted either: what is noted when a
 * server is lost counts as the cause, so a note must not be there for longer than the call.
 */
#include "pm.h"

#include "access/xact.h"

#include "dispatch/blame.h"
#include "dispatch/call_correlate.h"
#include "dispatch/careful.h"
#include "manager/note.h"
#include "manager/park.h"
#include "shmem/slot_careful.h"
#include "shmem/standby.h"

static ErrorData *
careful_error(const Note *note)
{
	ErrorData *error = palloc0(sizeof(ErrorData));
	const char *message;

	if (note->shared && note->what.correlating)
		message = "the primary ended while correlate ran, and other functions beside it";
	else if (note->shared)
		message = "the primary ended while the handler ran, and other functions beside it";
	else if (note->what.correlating)
		message = "the primary ended while correlate ran, as the one before it may have";
	else
		message = "the primary ended while the handler ran, as the one before it may have";
	error->sqlerrcode = ERRCODE_CRASH_SHUTDOWN;
	error->message = pstrdup(message);
	return error;
}

bool
careful_judge(ProcessManager *pm, int lane)
{
	Note note;

	if (!note_get(pm, lane, &note))
		return false;
	note_forget(pm->name, lane);
	/* This server has crashed and restarted since.  Its crash mark says what was the cause. */
	if (!note.left)
		return false;
	(void) blame(pm, &note.what, careful_error(&note), note.shared ? BLAME_CRASH : BLAME_FAILOVER);
	return true;
}

/*
 * Notes an item, unless a standby must follow this server first, or it is not our turn.
 * "suspected": it may have crashed a server, so it is handled while nothing else is.
 */
static void
careful_note(const BatchTask *task, Handling *what, bool correlating, bool suspected, Tally *tally)
{
	bool others;

	if (standby_missing() || !slot_careful_take(suspected, &others))
	{
		tally->awaits = true;
		return;
	}
	what->lane = task->lane;
	what->correlating = correlating;
	note_set(task->pm, what, others);
	/*
	 * The note must reach the disk even if the role's commits need not, because a standby gets
	 * only what is on disk.
	 */
	ForceSyncCommit();
	task->note->what = *what;
	tally->noted = true;
}

/*
 * May the item that has failed have crashed a server when it was tried last?  If it has been
 * tried alone since, and has only failed, it need not be alone again.
 */
static bool
careful_suspects(const LaneState *state)
{
	return state->crashes > 0 && state->error.sqlerrcode == ERRCODE_CRASH_SHUTDOWN;
}

bool
careful_may(HandleRun *run, BatchItem *item, bool failed)
{
	const BatchTask *task = run->task;
	bool correlates = run->calls.handler.correlates && item->source == HANDLING_EVENT;
	bool suspected = failed && careful_suspects(task->state);
	Handling what;

	memset(&what, 0, sizeof(what));
	batch_item_name(item, &what);
	if (!task->note->committed || !note_is(&task->note->what, &what))
	{
		careful_note(task, &what, correlates, suspected, &run->tally);
		return false;
	}
	if (!task->note->what.correlating)
		return true;
	/* If the event is not for this unit, the handler is not called. */
	if (!call_correlate(&run->calls, item, run->tally.done + 1))
		return true;
	careful_note(task, &what, false, suspected, &run->tally);
	return false;
}

bool
careful_wants(const BatchTask *task, const Parked *head)
{
	return task->note != NULL && head->failed && head->id <= task->state->careful_to;
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
	if (task->note->committed && note_is(&task->note->what, &what))
		return true;
	memset(tally, 0, sizeof(*tally));
	tally->due = DT_NOEND;
	careful_note(task, &what, false, park_crashed(task->pm, head->id), tally);
	return false;
}
