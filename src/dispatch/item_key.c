/*
 * item_key.c
 *		The keys of an event, from what correlate has returned or from its stream.
 *
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
#include "dispatch/item_key.h"

/*
 * Each key costs a call of the handler, in one transaction.  No retry can change that.
 */
void
item_key_check(const BatchItem *item, NullableDatum keys)
{
	ArrayType *array;
	int count;

	if (keys.isnull)
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

NullableDatum
item_key_stream(const BatchItem *item)
{
	EventFields fields;
	NullableDatum key;

	event_deform(item->event, &fields);
	key.isnull = false;
	key.value = fields.nulls[EVENT_STREAM - 1] ? CStringGetTextDatum("") :
												 fields.values[EVENT_STREAM - 1];
	return key;
}

bool
item_key_is_ours(const BatchItem *item, NullableDatum key)
{
	/* NULL means that the event is not for this process manager. */
	return !key.isnull && (item->share == NULL || lane_share_has(item->share, key, item->position));
}

/*
 * Takes the keys out of an array: each once, in the order in which correlate returned
 * them, and only those of this lane.
 */
static void
item_key_take_array(Keys *keys, BatchItem *item, Datum array)
{
	Key **taken;
	Datum *values;
	bool *nulls;
	int count;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls,
					  &count);
	taken = palloc(sizeof(Key *) * Max(count, 1));
	keys->asks++;
	for (int i = 0; i < count; i++)
	{
		NullableDatum key = {values[i], nulls[i]};
		Key *found;

		if (!item_key_is_ours(item, key))
			continue;
		found = key_get(keys, key.value);
		/* Two texts can have the same stored name. */
		if (found->asked == keys->asks)
			continue;
		found->asked = keys->asks;
		taken[item->nkeys++] = found;
	}
	if (item->nkeys > 0)
		item->key = taken[0];
	if (item->nkeys > 1)
	{
		item->keys = MemoryContextAlloc(keys->context, sizeof(Key *) * item->nkeys);
		memcpy(item->keys, taken, sizeof(Key *) * item->nkeys);
	}
	else
		item->nkeys = 0;
}

void
item_key_take(Keys *keys, BatchItem *item, NullableDatum key, bool array)
{
	if (array && !key.isnull)
		item_key_take_array(keys, item, key.value);
	else if (item_key_is_ours(item, key))
		item->key = key_get(keys, key.value);
	item->passed = item->key == NULL;
}
