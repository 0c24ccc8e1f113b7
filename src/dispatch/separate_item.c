/*
 * separate_item.c
 *		Handles items in a subtransaction, and parks the one that fails.
 *
 * If an item fails, its subtransaction is undone, with the items before it that share it.
 * What the batch keeps in memory is then set back: the keys with the states of their
 * instances, and the journal.  A subtransaction must end after an item whose effects on the
 * batch cannot be set back in this way: it has set a timer that is due, which is now among
 * the items of the batch, or its handler has read pm.instance, so that instances have been
 * written (pending.c).
 */
#include "pm.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "dispatch/aside.h"
#include "dispatch/blame.h"
#include "dispatch/separate.h"
#include "dispatch/separate_item.h"
#include "manager/instance.h"
#include "manager/journal.h"
#include "manager/pending.h"
#include "shmem/slot.h"

/* A subtransaction ends after this time, in ms, so that not much is repeated after a failure. */
#define SEPARATE_LASTS 2

/* The calls in one subtransaction. */
typedef struct SeparateRun
{
	HandleRun *run;
	SeparateCall *calls;
	int count;
	SeparateAct act;
	int done;	  /* how many of them have returned */
	bool calling; /* the next one is being called */
} SeparateRun;

bool
separate_batch_ends(HandleRun *run, TimestampTz now)
{
	return now >= run->calls.deadline || slot_asked_to_leave() || separate_is_full(&run->ids);
}

/*
 * Must the subtransaction end here?
 */
static bool
separate_ends(HandleRun *run, TimestampTz began)
{
	TimestampTz now = GetCurrentTimestamp();

	return run->timer_came || pending_was_read() ||
		   TimestampDifferenceExceeds(began, now, SEPARATE_LASTS) || separate_batch_ends(run, now);
}

static void
separate_call(SeparateRun *separate, SeparateCall *call)
{
	BatchItem *item = call->item;
	Key *key = item->key;

	if (item->passed)
		return;
	if (aside_has_queue(separate->run, key))
	{
		call->behind = true;
		return;
	}
	/* Restored if the call is undone. */
	call->before = *key;
	call->called = true;
	key->keep_state = true;
	separate->act(separate->run, item);
	key->keep_state = false;
	call->replaced = call->before.live && key->state != call->before.state;
}

static void
separate_act(void *arg)
{
	SeparateRun *separate = arg;
	TimestampTz began = GetCurrentTimestamp();

	while (separate->done < separate->count)
	{
		CHECK_FOR_INTERRUPTS();
		separate->run->ahead = separate->done;
		separate->calling = true;
		separate_call(separate, &separate->calls[separate->done]);
		separate->calling = false;
		separate->done++;
		if (separate_ends(separate->run, began))
			break;
	}
}

/*
 * Is the error that of the item, so that the batch can continue?  If the extension
 * failed after the call, what it has in memory may be wrong.  A cancel that is not that
 * of handler_timeout, and the end of the session, are for the batch as a whole.
 */
static bool
separate_is_own(HandleRun *run, ErrorData *error)
{
	const Progress *progress = run->calls.progress;

	if (progress->stage != PROGRESS_HANDLE)
		return false;
	if (blame_timeout(error, run->task->pm, &progress->handling))
		return true;
	return ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_OPERATOR_INTERVENTION;
}

/*
 * The subtransaction was committed: frees the states that have been replaced.
 */
static void
separate_handled(HandleRun *run, const SeparateCall *calls, int count)
{
	for (int i = 0; i < count; i++)
	{
		if (calls[i].called)
			run->in_a_row = 0;
		if (calls[i].replaced)
			pfree(DatumGetPointer(calls[i].before.state));
	}
	journal_save_full(&run->calls.journal);
}

int
separate_calls(HandleRun *run, SeparateCall *calls, int count, SeparateAct act,
			   SeparateFailure *failed)
{
	SeparateRun separate = {run, calls, count, act, 0, false};
	JournalMark mark = journal_mark(&run->calls.journal);
	CallTimes times = run->calls.handler.times;
	ErrorData *error;

	for (int i = 0; i < count; i++)
	{
		calls[i].called = calls[i].behind = calls[i].replaced = false;
		/*
		 * The lock that this takes must outlive the subtransaction, until the instance
		 * is written.
		 */
		if (run->calls.handler.kind == HANDLER_INSTANCE && calls[i].item->key != NULL)
			instance_load(run->task->pm, calls[i].item->key);
	}
	run->timer_came = false;
	failed->error = NULL;
	error = separate_try(&run->calls, separate_act, &separate);
	run->ahead = 0;
	if (error == NULL)
	{
		separate_handled(run, calls, separate.done);
		return separate.done;
	}
	if (!separate_is_own(run, error))
		ReThrowError(error);
	failed->error = error;
	failed->outside = !separate.calling;
	failed->failure = failure_of(error);
	failed->what.log[0] = failed->what.key[0] = '\0';
	handling_copy(&failed->what, &run->calls.progress->handling);
	/* Backwards, so that a key that occurs twice is set back to before its first call. */
	for (int i = count - 1; i >= 0; i--)
		if (calls[i].called)
			*calls[i].item->key = calls[i].before;
	journal_undo(&run->calls.journal, mark);
	/* What is undone does not count. */
	run->calls.handler.times = times;
	call_resume(&run->calls);
	return separate.done;
}

/*
 * Does the error count as a failure of the item at once?  What to do after a conflict, or
 * a problem of the server, is decided when the item has been tried alone.
 */
static bool
separate_counts(const ErrorData *error)
{
	return blame_conflicts(error->sqlerrcode) == 0 && !blame_server(error->sqlerrcode);
}

/*
 * Leaves an item for a batch of its own.  A timer has been taken already, and an event
 * that goes to several keys has been handled for some of them, so these are parked.
 */
static void
separate_leave(HandleRun *run, BatchItem *item, const ErrorData *error)
{
	if (blame_conflicts(error->sqlerrcode) > 0)
		lane_conflicts(run->task->pm->name, run->task->lane, 1);
	if (item->source == HANDLING_TIMER || item->nkeys > 0)
		aside_untried(run, item);
	else
		run->tally.left = true;
}

void
separate_settle(HandleRun *run, BatchItem *item, const SeparateFailure *failed)
{
	/* Items before it have been handled since it failed. */
	handling_copy(&run->calls.progress->handling, &failed->what);
	run->calls.progress->handling.correlating = false;
	if (separate_counts(failed->error))
		aside_failed(run, item, failed->error, &failed->failure);
	else
		separate_leave(run, item, failed->error);
}

bool
separate_item(HandleRun *run, BatchItem *item, SeparateAct act)
{
	SeparateCall call = {.item = item};
	SeparateFailure failed;

	(void) separate_calls(run, &call, 1, act, &failed);
	if (failed.error != NULL)
		separate_settle(run, item, &failed);
	return failed.error == NULL;
}
