/*
 * fetch_row.c
 *		A row of pm.fetch.
 */
#include "pm.h"

#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "base/event.h"
#include "dispatch/fetch_row.h"

/* The columns after those of the event. */
enum
{
	FETCH_ROW_KEY = EVENT_ATTRIBUTES,
	FETCH_ROW_ATTEMPT,
	FETCH_ROW_STATE,
	FETCH_ROW_LANE,
	FETCH_ROW_LEASE_UNTIL,
	FETCH_ROW_COLUMNS
};

void
fetch_row(FunctionCallInfo fcinfo, Datum event, int64 number, const Key *key, int attempt, int lane,
		  TimestampTz until)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum values[FETCH_ROW_COLUMNS];
	bool nulls[FETCH_ROW_COLUMNS] = {false};
	EventFields fields;

	event_deform(event, &fields);
	memcpy(values, fields.values, sizeof(fields.values));
	memcpy(nulls, fields.nulls, sizeof(fields.nulls));
	if (nulls[EVENT_LOG - 1])
	{
		values[EVENT_POSITION - 1] = Int64GetDatum(number);
		nulls[EVENT_POSITION - 1] = false;
	}
	values[FETCH_ROW_KEY] = CStringGetTextDatum(key->name);
	values[FETCH_ROW_ATTEMPT] = Int32GetDatum(attempt);
	values[FETCH_ROW_STATE] = key->live ? key->state : (Datum) 0;
	nulls[FETCH_ROW_STATE] = !key->live;
	values[FETCH_ROW_LANE] = Int32GetDatum(lane);
	values[FETCH_ROW_LEASE_UNTIL] = TimestampTzGetDatum(until);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}
