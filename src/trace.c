/*
 * trace.c
 *		pm.trace: the tree of what one event caused.
 *
 * pm.append in a handler writes into the new event's metadata which event
 * caused it.  This follows these notes downwards, a generation at a time, in
 * all logs that the caller may read.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "log.h"
#include "nodes/pg_list.h"
#include "utils/array.h"
#include "utils/builtins.h"
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
 * Puts out the events of the last result, and notes them as parents of the
 * next generation.
 */
static void
trace_put(Trace *trace, PmLog *log)
{
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		Datum		values[TRACE_COLUMNS];
		bool		nulls[TRACE_COLUMNS];
		MemoryContext spi;
		TraceKey	key = {0};
		bool		found;

		key.relid = log->relid;
		key.position = DatumGetInt64(exec_value(row, 1, &nulls[2]));
		(void) hash_search(trace->seen, &key, HASH_ENTER, &found);
		if (found)
			continue;

		values[0] = Int32GetDatum(trace->depth);
		values[1] = CStringGetTextDatum(log->name);
		nulls[0] = nulls[1] = false;
		for (int column = 1; column <= TRACE_COLUMNS - 2; column++)
			values[column + 1] = exec_value(row, column, &nulls[column + 1]);
		tuplestore_putvalues(trace->rsinfo->setResult, trace->rsinfo->setDesc, values, nulls);

		spi = MemoryContextSwitchTo(trace->context);
		trace->notes = lappend(trace->notes, DatumGetPointer(trace_note(log->name, DatumGetInt64(values[2]))));
		MemoryContextSwitchTo(spi);
	}
}

/*
 * Reads the events of a log for which a condition on $1 holds.
 */
static void
trace_read(Trace *trace, PmLog *log, const char *condition, Oid argtype, Datum arg)
{
	static const Oid types[] = {INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID, INT8OID};
	ExecScope	scope;
	SPIPlanPtr	plan;
	Datum		values[1] = {arg};
	Oid			argtypes[1] = {argtype};

	log_begin_read(log, &scope);
	plan = SPI_prepare(psprintf("SELECT %s, %s, %s, %s, "
								"%s OPERATOR(pg_catalog.#>>) '{causation,log}', "
								"CASE WHEN (%s OPERATOR(pg_catalog.#>>) '{causation,position}') OPERATOR(pg_catalog.~) '^[0-9]{1,18}$' "
								"THEN (%s OPERATOR(pg_catalog.#>>) '{causation,position}')::pg_catalog.int8 END "
								"FROM ONLY %s WHERE %s ORDER BY 1",
								log->pos, log->stream, log->type, log->recorded_at, log->metadata,
								log->metadata, log->metadata, log->table, condition),
					   1, argtypes);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	exec_plan(plan, values, NULL, 0);
	log_require_types(log, SPI_tuptable->tupdesc, lengthof(types), types);
	trace_put(trace, log);
	exec_end(&scope);
}

/*
 * The logs that the caller may read.
 */
static List *
trace_logs(void)
{
	List	   *logs = NIL;
	ListCell   *lc;

	foreach(lc, log_names())
	{
		PmLog	   *log = log_get(lfirst(lc), false);

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
	trace_read(&trace, root, psprintf("%s OPERATOR(pg_catalog.=) $1", root->pos), INT8OID, PG_GETARG_DATUM(1));
	if (trace.notes == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("log \"%s\" has no event at position %lld", root->name, (long long) PG_GETARG_INT64(1))));

	while (trace.notes != NIL)
	{
		Datum	   *notes = palloc(sizeof(Datum) * list_length(trace.notes));
		Datum		array;
		int			count = 0;

		CHECK_FOR_INTERRUPTS();
		foreach(lc, trace.notes)
			notes[count++] = PointerGetDatum(lfirst(lc));
		array = PointerGetDatum(construct_array(notes, count, JSONBOID, -1, false, TYPALIGN_INT));
		trace.notes = NIL;
		trace.depth++;
		foreach(lc, trace.logs)
		{
			PmLog	   *log = lfirst(lc);

			trace_read(&trace, log, psprintf("%s OPERATOR(pg_catalog.@>) ANY ($1)", log->metadata),
					   JSONBARRAYOID, array);
		}
	}
	return (Datum) 0;
}
