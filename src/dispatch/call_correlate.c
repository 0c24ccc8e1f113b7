/*
 * call_correlate.c
 *		Finds out the keys of the events in a batch.
 *
 * The key of an event is what the user's function correlate returns, or its stream
 * (item_key.c).
 */
#include "pm.h"

#include "utils/memutils.h"

#include "base/within.h"
#include "dispatch/call_correlate.h"
#include "dispatch/item_key.h"
#include "shmem/crash.h"

/*
 * Calls the correlate function.  The result is in the memory context of this
 * event.
 */
static NullableDatum
call_correlate_ask(Calls *calls, const BatchItem *item, int nth)
{
	MemoryContext caller;
	NullableDatum key;

	call_start(calls, item, nth, true, false);
	within_event(item->log_name, item->position, item->event, NULL);
	caller = MemoryContextSwitchTo(calls->per_event);
	key.value = handler_call_correlate(&calls->handler, item->event, &key.isnull);
	if (calls->handler.fans_out)
		item_key_check(item, key);
	MemoryContextSwitchTo(caller);
	call_stop(calls);
	return key;
}

bool
call_correlate_by_stream(const BatchItem *item)
{
	return item_key_is_ours(item, item_key_stream(item));
}

bool
call_correlate(Calls *calls, BatchItem *item, int nth)
{
	MemoryContext caller;
	NullableDatum key;
	bool asked;

	if (item->key != NULL)
		return true;
	if (item->passed)
		return false;
	/* No function can be called with an event that is too large: its key is its stream. */
	asked = calls->handler.correlates && item->too_large == 0;
	if (asked)
	{
		key = call_correlate_ask(calls, item, nth);
		batch_item_crash_mark(calls->task, item);
	}
	else
	{
		batch_item_crash_mark(calls->task, item);
		key = item_key_stream(item);
	}
	caller = MemoryContextSwitchTo(calls->per_event);
	item_key_take(calls->keys, item, key, asked && calls->handler.fans_out);
	MemoryContextSwitchTo(caller);
	crash_unmark();
	MemoryContextReset(calls->per_event);
	return !item->passed;
}
