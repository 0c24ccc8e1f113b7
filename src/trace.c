/*
 * trace.c
 *		pm.trace: the tree of what one event caused.
 *
 * pm.append in a handler writes into the new event's metadata which event
 * caused it.  This follows these notes downwards, a generation at a time, in
 * all logs that the caller may read.
 */
#include "pm.h"

#include <ctype.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "log_index.h"
#include "nodes/pg_list.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/tuplestore.h"

#define TRACE_COLUMNS	8

PG_FUNCTION_INFO_V1(pm_trace);

typedef struct TraceKey
{
	int64		position;
	Oid			relid;
	uint32		padding;
} TraceKey;

/* One generation: the notes that its children carry. */
typedef struct Trace
{
	ReturnSetInfo *rsinfo;
	List	   *logs;			/* of PmLog, those that may be read */
	HTAB	   *seen;			/* events put out: metadata can be forged into a circle */
	int			depth;
	List	   *notes;			/* of Datum, jsonb */
	MemoryContext context;
} Trace;

/*
 * {"causation": {"log": ..., "position": ...}}
 */
static Datum
trace_note(const char *log, int64 position)
{
	StringInfoData note;

	initStringInfo(&note);
	appendStringInfoString(&note, "{\"causation\": {\"log\": ");
	escape_json(&note, log);
	appendStringInfo(&note, ", \"position\": " INT64_FORMAT "}}", position);
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(note.data));
}

/*
 * What the event says caused it: a field of that, or NULL.
 */
static char *
trace_cause(EventFields *event, const char *field)
{
	LOCAL_FCINFO(fcinfo, 2);
	Datum		path[2] = {CStringGetTextDatum("causation"), CStringGetTextDatum(field)};
	Datum		result;

	if (event->nulls[EVENT_METADATA - 1])
		return NULL;
	InitFunctionCallInfoData(*fcinfo, NULL, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = event->values[EVENT_METADATA - 1];
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = PointerGetDatum(construct_array(path, 2, TEXTOID, -1, false, TYPALIGN_INT));
	fcinfo->args[1].isnull = false;
	result = jsonb_extract_path_text(fcinfo);
	return fcinfo->isnull ? NULL : TextDatumGetCString(result);
}

/*
 * Puts out an event, and notes it as a parent of the next generation.
 */
static void
trace_put(Trace *trace, PmLog *log, EventFields *event)
{
	static const int columns[] = {EVENT_POSITION, EVENT_STREAM, EVENT_TYPE, EVENT_RECORDED_AT};
	Datum		values[TRACE_COLUMNS];
	bool		nulls[TRACE_COLUMNS];
	char	   *cause_log = trace_cause(event, "log");
	char	   *cause_position = trace_cause(event, "position");
	int64		position = 0;
	char	   *end = NULL;
	MemoryContext caller;
	TraceKey	key = {0};
	bool		found;

	key.relid = log->relid;
	key.position = DatumGetInt64(event->values[EVENT_POSITION - 1]);
	(void) hash_search(trace->seen, &key, HASH_ENTER, &found);
	if (found)
		return;

	values[0] = Int32GetDatum(trace->depth);
	values[1] = CStringGetTextDatum(log->name);
	nulls[0] = nulls[1] = false;
	for (int i = 0; i < lengthof(columns); i++)
	{
		values[i + 2] = event->values[columns[i] - 1];
		nulls[i + 2] = event->nulls[columns[i] - 1];
	}
	nulls[6] = cause_log == NULL;
	values[6] = cause_log ? CStringGetTextDatum(cause_log) : (Datum) 0;
	/* Metadata can be anything. */
	errno = 0;
	if (cause_position != NULL && isdigit((unsigned char) cause_position[0]))
		position = strtoll(cause_position, &end, 10);
	nulls[7] = end == NULL || *end != '\0' || errno != 0;
	values[7] = Int64GetDatum(position);
	tuplestore_putvalues(trace->rsinfo->setResult, trace->rsinfo->setDesc, values, nulls);

	caller = MemoryContextSwitchTo(trace->context);
	trace->notes = lappend(trace->notes, DatumGetPointer(trace_note(log->name, key.position)));
	MemoryContextSwitchTo(caller);
}

/* What of a log is looked for, where no query does that. */
typedef struct TraceWanted
{
	Trace	   *trace;
	PmLog	   *log;
	List	   *notes;			/* with one of these; NIL: any event */
	MemoryContext context;		/* reset for each event */
} TraceWanted;

static bool
trace_take(void *arg, EventFields *event)
{
	TraceWanted *wanted = arg;
	MemoryContext caller = MemoryContextSwitchTo(wanted->context);
	bool		found = wanted->notes == NIL;
	ListCell   *lc;

	foreach(lc, wanted->notes)
	{
		if (found || event->nulls[EVENT_METADATA - 1])
			break;
		found = DatumGetBool(DirectFunctionCall2(jsonb_contains, event->values[EVENT_METADATA - 1], PointerGetDatum(lfirst(lc))));
	}
	if (found)
		trace_put(wanted->trace, wanted->log, event);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(wanted->context);
	return true;
}

/*
 * Reads the events of a log whose metadata has one of the notes, or, without
 * notes, the one at a position.
 *
 * A query would find an index of the metadata.  But everybody's logs are read:
 * where planning a query can run code of the table's owner, which could keep
 * all others from tracing anything, it is read through instead.  False when
 * there is no index to do that along.
 */
static bool
trace_read(Trace *trace, PmLog *log, List *notes, int64 position)
{
	Oid			argtypes[1] = {notes ? JSONBARRAYOID : INT8OID};
	Datum		args[1] = {Int64GetDatum(position)};
	ExecScope	scope;
	SPIPlanPtr	plan;

	if (!log_index_may_plan(log))
	{
		TraceWanted wanted = {trace, log, notes, AllocSetContextCreate(CurrentMemoryContext, "pm trace", ALLOCSET_DEFAULT_SIZES)};
		bool		read;

		log_require_select(log, GetUserId());
		read = log_index_read(log, notes ? 0 : Max(position, 1) - 1, notes ? PG_INT64_MAX : position, PG_INT64_MAX, trace_take, &wanted);
		MemoryContextDelete(wanted.context);
		return read;
	}

	log_begin_read(log, &scope);
	if (notes != NIL)
	{
		Datum	   *elements = palloc(sizeof(Datum) * list_length(notes));
		ListCell   *lc;

		foreach(lc, notes)
			elements[foreach_current_index(lc)] = PointerGetDatum(lfirst(lc));
		args[0] = PointerGetDatum(construct_array(elements, list_length(notes), JSONBOID, -1, false, TYPALIGN_INT));
	}
	plan = SPI_prepare(psprintf("SELECT %s FROM ONLY %s WHERE %s ORDER BY %s", log->columns, log->table,
								notes ? psprintf("%s OPERATOR(pg_catalog.@>) ANY ($1)", log->metadata) :
								psprintf("%s OPERATOR(pg_catalog.=) $1", log->pos), log->pos),
					   1, argtypes);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	exec_plan(plan, args, NULL, 0);
	log_require_event(log, SPI_tuptable->tupdesc);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		EventFields event = {0};

		heap_deform_tuple(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, event.values, event.nulls);
		trace_put(trace, log, &event);
	}
	exec_end(&scope);
	return true;
}

/*
 * The logs that the caller may read, and that can be relied on.
 */
static List *
trace_logs(void)
{
	List	   *logs = NIL;
	ListCell   *lc;

	foreach(lc, log_names())
	{
		PmLog	   *log = log_open(lfirst(lc), false);

		if (log->problem == NULL && log_may_read(log, GetUserId()))
			logs = lappend(logs, log);
	}
	return logs;
}

/*
 * pm.trace(log, pos)
 */
Datum
pm_trace(PG_FUNCTION_ARGS)
{
	PmLog	   *root = log_open(log_arg_name(fcinfo, 0), false);
	Trace		trace;
	HASHCTL		ctl;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	log_require_whole(root);
	trace.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	trace.logs = trace_logs();
	trace.depth = 0;
	trace.notes = NIL;
	trace.context = CurrentMemoryContext;
	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = ctl.entrysize = sizeof(TraceKey);
	ctl.hcxt = CurrentMemoryContext;
	trace.seen = hash_create("pm trace", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	if (!trace_read(&trace, root, NIL, PG_GETARG_INT64(1)))
		log_index_refuse(root);
	if (trace.notes == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("log \"%s\" has no event at position %lld", root->name, (long long) PG_GETARG_INT64(1))));

	while (trace.notes != NIL)
	{
		List	   *notes = trace.notes;

		CHECK_FOR_INTERRUPTS();
		trace.notes = NIL;
		trace.depth++;
		foreach(lc, trace.logs)
			(void) trace_read(&trace, lfirst(lc), notes, 0);
	}
	return (Datum) 0;
}
