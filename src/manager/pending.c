/*
 * pending.c
 *		The instances that a batch has changed and not written yet.
 *
 * A batch writes its instances once, at its end.  A handler that reads
 * pm.instance is to see what the handlers before it have returned, wherever
 * batches end.  So the view leaves out the rows that are to be changed, and takes
 * what they will be from memory.  Once it has been read, the batch writes each
 * instance after its call, so that what is in memory stays little.  For whoever
 * does not read the view nothing of this is done.
 */
#include "pm.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "manager/instance.h"
#include "manager/pending.h"

PG_FUNCTION_INFO_V1(pm_pending);
PG_FUNCTION_INFO_V1(pm_pending_instances);

/* The batch that calls handlers in this backend, NULL: none does. */
static ProcessManager *current = NULL;
static Keys *current_keys;
static bool was_read; /* in this batch */
static bool flushing; /* it has written what there was */

void
pending_begin(ProcessManager *pm, Keys *keys)
{
	current = pm;
	current_keys = keys;
	was_read = flushing = false;
}

void
pending_end(void)
{
	current = NULL;
}

/*
 * A handler has been called for the key.
 */
void
pending_handled(Key *key)
{
	if (!was_read)
		return;
	instance_flush(current, flushing ? list_make1(key) : current_keys->all);
	flushing = true;
}

/*
 * May the caller know of the batch?  A function that is called by somebody's
 * index is not the handler.
 */
static bool
pending_may_see(void)
{
	return current != NULL && has_privs_of_role(GetUserId(), current->owner);
}

/*
 * pm_catalog.pending(process_manager, key): is the row not as it is to be?
 */
Datum
pm_pending(PG_FUNCTION_ARGS)
{
	Key *key;

	if (!pending_may_see() || strcmp(text_to_cstring(PG_GETARG_TEXT_PP(0)), current->name) != 0)
		PG_RETURN_BOOL(false);
	key = key_find(current_keys, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	PG_RETURN_BOOL(key != NULL && key->changed);
}

/*
 * pm_catalog.pending_instances(): the rows as they are to be
 */
Datum
pm_pending_instances(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell *lc;

	InitMaterializedSRF(fcinfo, 0);
	if (!pending_may_see())
		return (Datum) 0;
	was_read = true;
	foreach(lc, current_keys->all)
	{
		Key *key = lfirst(lc);
		Datum values[5];
		bool nulls[5] = {false};

		if (!key->changed || !key->live)
			continue;
		values[0] = CStringGetTextDatum(current->name);
		values[1] = CStringGetTextDatum(key->name);
		values[2] = key->state;
		values[3] = TimestampTzGetDatum(key->started_at);
		values[4] = TimestampTzGetDatum(key->updated_at);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
