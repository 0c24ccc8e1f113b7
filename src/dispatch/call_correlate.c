/*
 * call_correlate.c
 *		Finds out the keys of the events in a batch.
 *
 * The key of an event is what the user's function correlate returns, or its stream.
 * If correlate returns an array, the event goes to each of these keys.  Keys that
 * belong to other lanes are left out here, so the rest of a batch handles only those
 * of its own lane.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/event.h"
#include "base/within.h"
#include "dispatch/call_correlate.h"
#include "shmem/crash.h"

/*
 * Refuses an array with more keys than an event may have: each of them costs a call of
 * the handler, in one transaction.  No retry can change that.
 */
static void
call_correlate_check(const Calls *calls, const BatchItem *item, NullableDatum keys)
{
	ArrayType *array;
	int count;

	if (!calls->handler.fans_out || keys.isnull)
		return;
	array = DatumGetArrayTypeP(keys.value);
	count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	if (count > KEY_FAN_OUT)
		ereport(ERROR, (errcode(ERRCODE_PM_PERMANENT),
						errmsg("correlate returned %d keys for the event at position %lld of log "
							   "\"%s\"",
							   count, (long long) item->position, item->log_name),
						errdetail("An event can go to %d keys at most.", KEY_FAN_OUT)));
}

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
	call_correlate_check(calls, item, key);
	MemoryContextSwitchTo(caller);
	call_stop(calls);
	return key;
}

/*
 * Uses the stream as the key.
 */
static NullableDatum
call_correlate_stream(const BatchItem *item)
{
	EventFields fields;
	NullableDatum key;

	event_deform(item->event, &fields);
	key.isnull = false;
	key.value = fields.nulls[EVENT_STREAM - 1] ? CStringGetTextDatum("") :
												 fields.values[EVENT_STREAM - 1];
	return key;
}

static bool
call_correlate_is_ours(const BatchItem *item, NullableDatum key)
{
	/* NULL means that the event is not for this process manager. */
	return !key.isnull && (item->share == NULL || lane_share_has(item->share, key, item->position));
}

bool
call_correlate_by_stream(const BatchItem *item)
{
	return call_correlate_is_ours(item, call_correlate_stream(item));
}

/*
 * Takes the keys out of an array: each once, in the order in which correlate returned
 * them, and only those of this lane.
 */
static void
call_correlate_take(Calls *calls, BatchItem *item, Datum array)
{
	MemoryContext caller = MemoryContextSwitchTo(calls->per_event);
	Key **keys;
	Datum *values;
	bool *nulls;
	int count;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls,
					  &count);
	keys = palloc(sizeof(Key *) * Max(count, 1));
	calls->keys->asks++;
	for (int i = 0; i < count; i++)
	{
		NullableDatum key = {values[i], nulls[i]};
		Key *found;

		if (!call_correlate_is_ours(item, key))
			continue;
		found = key_get(calls->keys, key.value);
		/* Two texts can have the same stored name. */
		if (found->asked == calls->keys->asks)
			continue;
		found->asked = calls->keys->asks;
		keys[item->nkeys++] = found;
	}
	if (item->nkeys > 0)
		item->key = keys[0];
	if (item->nkeys > 1)
	{
		item->keys = MemoryContextAlloc(calls->keys->context, sizeof(Key *) * item->nkeys);
		memcpy(item->keys, keys, sizeof(Key *) * item->nkeys);
	}
	else
		item->nkeys = 0;
	MemoryContextSwitchTo(caller);
}

bool
call_correlate(Calls *calls, BatchItem *item, int nth)
{
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
		key = call_correlate_stream(item);
	}
	if (asked && calls->handler.fans_out && !key.isnull)
		call_correlate_take(calls, item, key.value);
	else if (call_correlate_is_ours(item, key))
		item->key = key_get(calls->keys, key.value);
	item->passed = item->key == NULL;
	crash_unmark();
	MemoryContextReset(calls->per_event);
	return !item->passed;
}
