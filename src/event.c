/*
 * event.c
 *		The composite type pm.event, made and taken apart.
 */
#include "pm.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "event.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

/*
 * The OID of pm.event.
 */
Oid
event_type(void)
{
	Oid			type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("event"),
									   ObjectIdGetDatum(get_namespace_oid("pm", false)));

	if (!OidIsValid(type))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("type pm.event does not exist")));
	return type;
}

/*
 * The values point into the event.
 */
void
event_deform(Datum event, EventFields *fields)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(event);
	TupleDesc	desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header), HeapTupleHeaderGetTypMod(header));
	HeapTupleData tuple;

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	Assert(desc->natts == EVENT_ATTRIBUTES);
	heap_deform_tuple(&tuple, desc, fields->values, fields->nulls);
	ReleaseTupleDesc(desc);
}

/*
 * In the caller's memory context.
 */
Datum
event_form(EventFields *fields)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(event_type(), -1);
	Datum		event;

	Assert(desc->natts == EVENT_ATTRIBUTES);
	event = heap_copy_tuple_as_datum(heap_form_tuple(desc, fields->values, fields->nulls), desc);
	ReleaseTupleDesc(desc);
	return event;
}
