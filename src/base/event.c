/*
 * event.c
 *		Builds values of the composite type pm.event, and takes them apart.
 */
#include "pm.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "base/event.h"
#include "base/extension.h"

Oid
event_type(void)
{
	Oid type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("event"),
							   ObjectIdGetDatum(extension_schema("pm")));

	if (!OidIsValid(type))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("type pm.event does not exist")));
	return type;
}

void
event_deform(Datum event, EventFields *fields)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(event);
	TupleDesc desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header),
											HeapTupleHeaderGetTypMod(header));
	HeapTupleData tuple;

	/* A composite value is a row that is in no table. */
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	Assert(desc->natts == EVENT_ATTRIBUTES);
	heap_deform_tuple(&tuple, desc, fields->values, fields->nulls);
	ReleaseTupleDesc(desc);
}

Datum
event_form(EventFields *fields)
{
	TupleDesc desc = lookup_rowtype_tupdesc(event_type(), -1);
	Datum event;

	Assert(desc->natts == EVENT_ATTRIBUTES);
	/*
	 * This fetches columns that are stored out of line, because a composite value must
	 * contain them.
	 */
	event = heap_copy_tuple_as_datum(heap_form_tuple(desc, fields->values, fields->nulls), desc);
	ReleaseTupleDesc(desc);
	return event;
}

Datum
event_causation(const char *log, int64 position, bool correlates)
{
	StringInfoData metadata;
	StringInfoData event;

	initStringInfo(&event);
	appendStringInfoString(&event, "{\"log\": ");
	escape_json(&event, log);
	appendStringInfo(&event, ", \"position\": " INT64_FORMAT "}", position);
	initStringInfo(&metadata);
	appendStringInfo(&metadata, "{\"causation\": %s", event.data);
	if (correlates)
		appendStringInfo(&metadata, ", \"correlation\": %s", event.data);
	appendStringInfoChar(&metadata, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(metadata.data));
}

bool
event_is_sent(Datum event)
{
	EventFields fields;

	event_deform(event, &fields);
	return fields.nulls[EVENT_LOG - 1] && !fields.nulls[EVENT_VERSION - 1];
}

/* ---------- events that are too large for one value ---------- */

/*
 * An allowance for the columns of fixed length; each other column of a stub may use a
 * quarter of it.
 */
#define EVENT_ROOM (64 * 1024)

static const int event_texts[] = {EVENT_STREAM, EVENT_TYPE, EVENT_DATA, EVENT_METADATA};

/*
 * Large columns of a row are stored out of line, but a pm.event contains them.  So a
 * row of a log can hold an event that is too large for one value of type pm.event.
 */
int64
event_excess(const EventFields *fields)
{
	int64 size = 0;
	bool outside = false;

	for (int i = 0; i < lengthof(event_texts); i++)
	{
		struct varlena *value = (struct varlena *) DatumGetPointer(
			fields->values[event_texts[i] - 1]);

		outside |= !fields->nulls[event_texts[i] - 1] &&
				   (VARATT_IS_EXTERNAL(value) || VARATT_IS_COMPRESSED(value));
	}
	/* If all columns are stored in the row itself, they also fit into a value. */
	if (!outside)
		return 0;
	for (int i = 0; i < lengthof(event_texts); i++)
		if (!fields->nulls[event_texts[i] - 1])
			size += toast_raw_datum_size(fields->values[event_texts[i] - 1]);
	return size > (int64) MaxAllocSize - EVENT_ROOM ? size : 0;
}

/*
 * Nothing in the stub marks it as a stub, because a user's event could contain the
 * same mark.  Instead the caller keeps the event's size next to the stub, and never
 * calls a handler with an event that has such a size.
 */
Datum
event_form_stub(EventFields *fields)
{
	EventFields stub = *fields;

	for (int i = 0; i < lengthof(event_texts); i++)
	{
		int column = event_texts[i] - 1;

		if (!stub.nulls[column] && toast_raw_datum_size(stub.values[column]) > EVENT_ROOM / 4)
			stub.nulls[column] = true;
	}
	return event_form(&stub);
}
