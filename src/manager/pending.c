/*
 * pending.c
 *		Shows a handler, in pm.instance, the instances that its batch has not written
 *		yet.
 *
 * A batch writes its instances at its end.  A handler that reads pm.instance
 * must see what the handlers before it have returned, whether they ran in the
 * same batch or not.  So the view leaves out the rows that the batch is going to
 * change, and takes what they will contain from memory.
 *
 * Once a handler has read the view, the batch writes each instance after its call, so
 * that only a few must be shown from memory.  This costs nothing if the handlers of a
 * batch do not read the view.
 */
#include "pm.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "manager/instance_save.h"
#include "manager/pending.h"

PG_FUNCTION_INFO_V1(pm_pending);
PG_FUNCTION_INFO_V1(pm_pending_instances);

/* The process manager whose batch calls handlers in this backend, or NULL. */
static ProcessManager *current = NULL;
static Keys *current_keys; /* of the batch */
static bool was_read;	   /* a handler of the batch has read the view */
static bool flushing;	   /* what had changed before that has been written */

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

void
pending_handled(Key *key)
{
	if (!was_read)
		return;
	/* The first time, also write what earlier calls have changed. */
	instance_flush(current, flushing ? list_make1(key) : current_keys->all);
	flushing = true;
}

bool
pending_was_read(void)
{
	return was_read;
}

/*
 * May the caller see the batch's instances?  While a handler runs, a function
 * that belongs to another role may run, too: that of an index, for example.
 */
static bool
pending_may_see(void)
{
	return current != NULL && has_privs_of_role(GetUserId(), current->owner);
}

/*
 * pm_catalog.pending(process_manager, key): is the batch going to change the row?
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
 * pm_catalog.pending_instances(): these rows as they will be
 */
Datum
pm_pending_instances(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell *lc;

	InitMaterializedSRF(fcinfo, 0);
	if (!pending_may_see())
		return (Datum) 0;
	/* From now on write each instance after its call. */
	was_read = true;
	foreach(lc, current_keys->all)
	{
		Key *key = lfirst(lc);
		Datum values[5];
		bool nulls[5] = {false};

		/* An ended instance has no row any more, and an unchanged one is shown from the table. */
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
