/*
 * fetch_key.c
 *		The keys of the events that a consumer fetches.
 *
 * They are found out for the whole batch at once, before anything is fetched.  correlate
 * is called in a subtransaction, so that its failure can be recorded, and the events
 * before it are fetched all the same.
 */
#include "pm.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "base/within.h"
#include "dispatch/as_owner.h"
#include "dispatch/blame.h"
#include "dispatch/fetch_key.h"
#include "dispatch/item_key.h"
#include "manager/association.h"
#include "manager/failure.h"
#include "manager/handler.h"
#include "manager/handler_watch.h"

/*
 * Asks the correlate function for the key of one event.
 */
static void
fetch_key_ask(Batch *batch, BatchItem *item, Handler *handler, MemoryContext per_event)
{
	MemoryContext caller = MemoryContextSwitchTo(per_event);
	NullableDatum key;

	/* No function can be called with an event that is too large: its key is its stream. */
	if (item->too_large > 0)
		key = item_key_stream(item);
	else
	{
		failure_begin();
		within_event(item->log_name, item->position, item->event, NULL);
		key.value = handler_call_correlate(handler, item->event, &key.isnull);
		if (handler->fans_out)
			item_key_check(item, key);
	}
	item_key_take(&batch->keys, item, key, handler->fans_out && item->too_large == 0);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(per_event);
}

/*
 * Asks for the keys of all events.  *known counts them, for the caller that catches an
 * error.
 */
static void
fetch_key_ask_all(Batch *batch, MemoryContext per_event, volatile int *known)
{
	ProcessManager *pm = batch->task->pm;
	Handler handler;
	AsOwner as;

	as_owner_begin(&as, pm);
	handler_open(&handler, pm, batch_log_any_shared(&batch->logs));
	PushActiveSnapshot(GetTransactionSnapshot());
	within_enter(pm->name, batch->task->lane, NIL);
	/* A process manager without a handler has no associations; it may ask nevertheless. */
	association_enter(pm, false);
	handler_watch_begin(handler.timeout);
	for (; *known < batch->count; (*known)++)
		fetch_key_ask(batch, batch->events[*known], &handler, per_event);
	handler_watch_end();
	within_leave();
	PopActiveSnapshot();
	as_owner_end(&as);
}

/*
 * The same in a subtransaction.
 */
static int
fetch_key_try(Batch *batch, ErrorData **error)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	MemoryContext per_event = AllocSetContextCreate(caller, "pm event", ALLOCSET_DEFAULT_SIZES);
	volatile int known = 0;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		fetch_key_ask_all(batch, per_event, &known);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		*error = CopyErrorData();
		FlushErrorState();
		/* The timeout must not interrupt the rollback. */
		handler_watch_end();
		within_leave();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	MemoryContextDelete(per_event);
	return known;
}

int
fetch_keys(Batch *batch, ErrorData **error)
{
	*error = NULL;
	if (batch->task->pm->correlate != NULL && batch->count > 0)
		return fetch_key_try(batch, error);
	for (int i = 0; i < batch->count; i++)
		item_key_take(&batch->keys, batch->events[i], item_key_stream(batch->events[i]), false);
	return batch->count;
}

/*
 * An error is not a failure of correlate if the caller's statement was canceled, or if a
 * conflict or a problem of the server has caused it.  A timeout is a failure.
 */
void
fetch_key_check(ProcessManager *pm, ErrorData *error)
{
	Handling what = {.correlating = true};

	if (!blame_timeout(error, pm, &what) &&
		(error->sqlerrcode == ERRCODE_QUERY_CANCELED || blame_conflicts(error->sqlerrcode) > 0 ||
		 blame_server(error->sqlerrcode)))
		ReThrowError(error);
}
