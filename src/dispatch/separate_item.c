/*
 * separate_item.c
 *		Handles an item in a subtransaction of its own, and parks it if it fails.
 */
#include "pm.h"

#include "dispatch/aside.h"
#include "dispatch/blame.h"
#include "dispatch/separate.h"
#include "dispatch/separate_item.h"
#include "manager/instance.h"
#include "shmem/handling.h"

typedef struct SeparateItem
{
	HandleRun *run;
	BatchItem *item;
	void (*act)(HandleRun *, BatchItem *);
} SeparateItem;

static void
separate_act(void *arg)
{
	SeparateItem *separate = arg;

	separate->act(separate->run, separate->item);
}

/*
 * Is the error that of the item, so that the batch can go on?  If the extension failed
 * after the call, what it has in memory may be wrong.  A cancel that is not that of
 * handler_timeout, and the end of the session, are for the batch as a whole.
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

bool
separate_item(HandleRun *run, BatchItem *item, void (*act)(HandleRun *, BatchItem *))
{
	SeparateItem separate = {run, item, act};
	Key *key = item->key;
	Key before;
	ErrorData *error;
	Failure failure;

	if (run->calls.handler.kind == HANDLER_INSTANCE)
		instance_load(run->task->pm, key);
	/* If the call is undone, what is known of the instance is what was known before. */
	before = *key;
	key->keep_state = true;
	error = separate_try(&run->calls, separate_act, &separate);
	key->keep_state = false;
	if (error == NULL)
	{
		run->in_a_row = 0;
		if (before.live && key->state != before.state)
			pfree(DatumGetPointer(before.state));
		return true;
	}
	if (!separate_is_own(run, error))
		ReThrowError(error);
	failure = failure_of(error);
	*key = before;
	call_resume(&run->calls);
	if (separate_counts(error))
		aside_failed(run, item, error, &failure);
	else
		separate_leave(run, item, error);
	return false;
}
