/*
 * within.c
 *		Whose handler runs in this backend, and at what time it lives.
 *
 * Set by dispatch.c and catch_up.c, asked by the functions that handlers call.
 */
#include "pm.h"

#include "access/xact.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "within.h"

static ProcessManager *current = NULL;
static const char *current_log;
static int64 current_position;
static Datum current_event;		/* a pm.event, 0 for an array of them */
static bool time_is_set = false;
static TimestampTz time_as_of;

PG_FUNCTION_INFO_V1(pm_now);

void
within_enter(ProcessManager *pm)
{
	Assert(current == NULL);
	current = pm;
	current_event = (Datum) 0;
}

/*
 * The event that the handler gets next.  Not called for an array of events:
 * which of them causes what is not known.
 */
void
within_event(const char *log, int64 position, Datum event)
{
	current_log = log;
	current_position = position;
	current_event = event;
}

void
within_leave(void)
{
	current = NULL;
}

/*
 * Does a handler run in this backend?
 */
bool
within_handler(void)
{
	return current != NULL;
}

/*
 * A handler may not change the process manager that it runs for: the batch has
 * its cursors in hand.
 */
void
within_refuse(const char *name)
{
	if (current != NULL && strcmp(current->name, name) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("process manager \"%s\" cannot be changed by its own handler", name)));
}

/*
 * The metadata of an event that a handler appends: adds which event caused it,
 * and passes that one's correlation on.  Outside of a handler, the metadata as
 * it is.
 */
Datum
within_cause(Datum metadata)
{
	bool		isnull;
	Datum		value;
	Jsonb	   *ours = DatumGetJsonbP(metadata);
	Jsonb	   *theirs = NULL;
	JsonbValue	found;
	StringInfoData add;

	if (current == NULL || current_event == (Datum) 0)
		return metadata;

	value = GetAttributeByName(DatumGetHeapTupleHeader(current_event), "metadata", &isnull);
	/* A plain INSERT may have stored anything as metadata. */
	if (!isnull && JB_ROOT_IS_OBJECT(DatumGetJsonbP(value)))
		theirs = DatumGetJsonbP(value);

	initStringInfo(&add);
	appendStringInfoString(&add, "{\"causation\": {\"log\": ");
	escape_json(&add, current_log);
	appendStringInfo(&add, ", \"position\": " INT64_FORMAT "}", current_position);
	if (theirs != NULL &&
		getKeyJsonValueFromContainer(&theirs->root, "correlation", 11, &found) != NULL &&
		getKeyJsonValueFromContainer(&ours->root, "correlation", 11, &found) == NULL)
	{
		Jsonb	   *correlation;

		getKeyJsonValueFromContainer(&theirs->root, "correlation", 11, &found);
		correlation = JsonbValueToJsonb(&found);
		appendStringInfo(&add, ", \"correlation\": %s",
						 JsonbToCString(NULL, &correlation->root, VARSIZE(correlation)));
	}
	appendStringInfoChar(&add, '}');
	return DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(ours),
							   DirectFunctionCall1(jsonb_in, CStringGetDatum(add.data)));
}

void
within_set_time(TimestampTz as_of)
{
	time_is_set = true;
	time_as_of = as_of;
}

void
within_clear_time(void)
{
	time_is_set = false;
}

/*
 * pm.now()
 */
Datum
pm_now(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(time_is_set ? time_as_of : GetCurrentTransactionStartTimestamp());
}
