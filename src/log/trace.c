/*
 * trace.c
 *		pm.trace: what caused an event, and the tree of what it caused.
 *
 * When a handler calls pm.append, the new event's metadata names the event that
 * caused it.  pm.trace follows these entries from effects to causes
 * (trace_cause.c), and then from causes to effects, one generation after another,
 * in all logs that the caller may read.
 *
 * The caller has named only one log.  No other log is waited for, none is locked
 * for longer than it is read, and a log that the caller may not read is not
 * locked at all.  A log that cannot be read now is left out, and a notice says so.
 */
#include "pm.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "nodes/pg_list.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/tuplestore.h"

#include "log/log_catalog.h"
#include "log/log_containing.h"
#include "log/log_open.h"
#include "log/log_read.h"
#include "log/log_right.h"
#include "log/log_trouble.h"
#include "log/trace_cause.h"

/* The columns of the result, counted from 0. */
enum
{
	TRACE_DEPTH,
	TRACE_LOG,
	TRACE_POSITION,
	TRACE_STREAM,
	TRACE_TYPE,
	TRACE_RECORDED_AT,
	TRACE_CAUSE_LOG,
	TRACE_CAUSE_POSITION,
	TRACE_COLUMNS
};

/* The notice names at most this many logs. */
#define TRACE_NAMES 10

PG_FUNCTION_INFO_V1(pm_trace);

/* An event. */
typedef struct TraceKey
{
	int64 position;
	Oid relid;
	uint32 padding;
} TraceKey;

typedef struct Trace
{
	ReturnSetInfo *rsinfo;
	HTAB *seen; /* events returned: forged metadata can form a circle */
	int depth;
	List *notes;		   /* the entries that name these causes; of Datum, jsonb */
	MemoryContext context; /* of the notes */
} Trace;

/*
 * Returns an event to the caller of pm.trace, unless it has been returned
 * already, and adds it to the causes of the next generation.
 */
static void
trace_put(Trace *trace, PmLog *log, EventFields *event)
{
	/* The columns of the event that are returned, from TRACE_POSITION on. */
	static const int attributes[] = {EVENT_POSITION, EVENT_STREAM, EVENT_TYPE, EVENT_RECORDED_AT};
	Datum values[TRACE_COLUMNS];
	bool nulls[TRACE_COLUMNS] = {false};
	TraceCause cause;
	MemoryContext caller;
	TraceKey key = {0};
	bool found;

	key.relid = log->relid;
	key.position = DatumGetInt64(event->values[EVENT_POSITION - 1]);
	(void) hash_search(trace->seen, &key, HASH_ENTER, &found);
	if (found)
		return;

	values[TRACE_DEPTH] = Int32GetDatum(trace->depth);
	values[TRACE_LOG] = CStringGetTextDatum(log->title);
	for (int i = 0; i < lengthof(attributes); i++)
	{
		int attribute = attributes[i];
		int column = TRACE_POSITION + i;

		values[column] = event->values[attribute - 1];
		nulls[column] = event->nulls[attribute - 1];
		/* The table, with the toasted value, may be gone before the result is read. */
		if (!nulls[column] && (attribute == EVENT_STREAM || attribute == EVENT_TYPE))
			values[column] = PointerGetDatum(PG_DETOAST_DATUM(values[column]));
	}
	trace_cause_read(event, &cause);
	nulls[TRACE_CAUSE_LOG] = cause.log == NULL;
	values[TRACE_CAUSE_LOG] = cause.log ? CStringGetTextDatum(cause.log) : (Datum) 0;
	nulls[TRACE_CAUSE_POSITION] = !cause.has_position;
	values[TRACE_CAUSE_POSITION] = Int64GetDatum(cause.position);
	tuplestore_putvalues(trace->rsinfo->setResult, trace->rsinfo->setDesc, values, nulls);

	/* Of the event and its causes, only the event itself is followed to its effects. */
	if (trace->depth < 0)
		return;
	caller = MemoryContextSwitchTo(trace->context);
	trace->notes = lappend(trace->notes,
						   DatumGetPointer(event_causation(log->name, key.position, false)));
	MemoryContextSwitchTo(caller);
}

/* What pm.trace looks for in a log. */
typedef struct TraceWanted
{
	Trace *trace;
	PmLog *log;
	List *notes;		   /* events with one of these; NIL: any event */
	MemoryContext context; /* reset after each event */
	bool note;			   /* only note the positions */
	int64 *positions;
	int count;
	int room;
} TraceWanted;

/*
 * Notes the position of an event that was found.
 */
static void
trace_note_position(TraceWanted *wanted, int64 position)
{
	if (wanted->count == wanted->room)
	{
		wanted->room = Max(wanted->room * 2, 64);
		wanted->positions = wanted->positions == NULL ?
								palloc(sizeof(int64) * wanted->room) :
								repalloc_huge(wanted->positions, sizeof(int64) * wanted->room);
	}
	wanted->positions[wanted->count++] = position;
}

static bool
trace_take(void *arg, EventFields *event)
{
	TraceWanted *wanted = arg;
	MemoryContext caller = MemoryContextSwitchTo(wanted->context);
	bool found = wanted->notes == NIL;
	ListCell *lc;

	foreach(lc, wanted->notes)
	{
		if (found || event->nulls[EVENT_METADATA - 1])
			break;
		found = DatumGetBool(DirectFunctionCall2(jsonb_contains, event->values[EVENT_METADATA - 1],
												 PointerGetDatum(lfirst(lc))));
	}
	if (found && !wanted->note)
		trace_put(wanted->trace, wanted->log, event);
	MemoryContextSwitchTo(caller);
	if (found && wanted->note)
		trace_note_position(wanted, DatumGetInt64(event->values[EVENT_POSITION - 1]));
	MemoryContextReset(wanted->context);
	return true;
}

static int
trace_compare(const void *a, const void *b)
{
	int64 one = *(const int64 *) a;
	int64 other = *(const int64 *) b;

	return one < other ? -1 : one > other ? 1 : 0;
}

/*
 * Reads the event at a position.  False if the log has no index of positions.
 */
static bool
trace_read_one(TraceWanted *wanted, int64 position)
{
	return log_index_read_sound(wanted->log, Max(position, PG_INT64_MIN + 1) - 1, position, 1,
								trace_take, wanted);
}

/*
 * Reads the events of a log whose metadata has one of the notes, by position.
 * Without an index of the metadata all of the log is read.  False if the log has
 * no index of positions.
 */
static bool
trace_read(Trace *trace, PmLog *log, List *notes)
{
	TraceWanted wanted = {trace, log, notes, NULL, true, NULL, 0, 0};
	bool read = true;

	wanted.context = AllocSetContextCreate(CurrentMemoryContext, "pm trace",
										   ALLOCSET_DEFAULT_SIZES);
	/* The index of the metadata returns events in no order: note where they are, and sort. */
	if (log_containing(log, notes, trace_take, &wanted))
	{
		wanted.note = false;
		if (wanted.count > 1)
			qsort(wanted.positions, wanted.count, sizeof(int64), trace_compare);
		for (int i = 0; read && i < wanted.count; i++)
			read = trace_read_one(&wanted, wanted.positions[i]);
	}
	else
	{
		wanted.note = false;
		read = log_index_read_sound(log, PG_INT64_MIN, PG_INT64_MAX, PG_INT64_MAX, trace_take,
									&wanted);
	}
	MemoryContextDelete(wanted.context);
	return read;
}

/*
 * Looks in a log for the next generation, unless the caller may not read it.
 * False if the log cannot be read now.
 */
static bool
trace_generation(Trace *trace, LogSource *source, List *notes, List **left_out)
{
	PmLog *log = trace_cause_open(source, left_out);
	bool read;

	if (log == NULL)
		return !list_member_ptr(*left_out, source->name);
	read = trace_read(trace, log, notes);
	UnlockRelationOid(log->relid, AccessShareLock);
	if (!read)
		*left_out = list_append_unique_ptr(*left_out, source->name);
	return read;
}

/*
 * Names the logs that were left out.
 */
static void
trace_report(List *left_out)
{
	StringInfoData names;
	ListCell *lc;

	if (left_out == NIL)
		return;
	initStringInfo(&names);
	foreach(lc, left_out)
	{
		if (foreach_current_index(lc) == TRACE_NAMES)
			appendStringInfo(&names, " and %d more", list_length(left_out) - TRACE_NAMES);
		if (foreach_current_index(lc) < TRACE_NAMES)
			appendStringInfo(&names, "%s\"%s\"", foreach_current_index(lc) > 0 ? ", " : "",
							 (char *) lfirst(lc));
	}
	ereport(NOTICE, (errmsg("pm.trace has left out logs that cannot be read now"),
					 errdetail("The logs are: %s.", names.data),
					 errhint("SELECT * FROM pm.blocker shows which session locks a log.")));
}

/*
 * Returns the causes of the event, the first cause first.
 */
static void
trace_up(Trace *trace, PmLog *root, int64 position, List *sources, List **left_out)
{
	List *causes = trace_cause_list(root, position, sources, left_out);
	TraceWanted wanted = {trace, NULL, NIL, NULL, false, NULL, 0, 0};

	wanted.context = AllocSetContextCreate(CurrentMemoryContext, "pm trace",
										   ALLOCSET_DEFAULT_SIZES);
	for (int i = list_length(causes) - 1; i >= 0; i--)
	{
		TraceCauseKey *key = list_nth(causes, i);

		CHECK_FOR_INTERRUPTS();
		trace->depth = -1 - i;
		wanted.log = trace_cause_open(key->source, left_out);
		if (wanted.log == NULL)
			continue;
		(void) trace_read_one(&wanted, key->position);
		UnlockRelationOid(wanted.log->relid, AccessShareLock);
	}
	trace->depth = 0;
	MemoryContextDelete(wanted.context);
}

/*
 * pm.trace(log, pos)
 */
Datum
pm_trace(PG_FUNCTION_ARGS)
{
	PmLog *root = log_open_as(log_arg_name(fcinfo, 0), GetUserId());
	Trace trace = {(ReturnSetInfo *) fcinfo->resultinfo, NULL, 0, NIL, CurrentMemoryContext};
	TraceWanted wanted = {&trace, root, NIL, NULL, false, NULL, 0, 0};
	List *sources;
	List *left_out = NIL;
	HASHCTL ctl;
	ListCell *lc;

	InitMaterializedSRF(fcinfo, 0);
	log_require_select(root, GetUserId());
	log_require_whole(root);
	/* The caller also sees what its transaction has written so far. */
	CommandCounterIncrement();
	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = ctl.entrysize = sizeof(TraceKey);
	ctl.hcxt = CurrentMemoryContext;
	trace.seen = hash_create("pm trace", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	wanted.context = AllocSetContextCreate(CurrentMemoryContext, "pm trace",
										   ALLOCSET_DEFAULT_SIZES);
	sources = log_catalog_list();
	trace_up(&trace, root, PG_GETARG_INT64(1), sources, &left_out);
	if (!trace_read_one(&wanted, PG_GETARG_INT64(1)))
		log_index_refuse(root);
	if (trace.notes == NIL)
		ereport(ERROR, (errcode(ERRCODE_NO_DATA_FOUND),
						errmsg("log \"%s\" has no event at position %lld", root->name,
							   (long long) PG_GETARG_INT64(1))));

	while (trace.notes != NIL)
	{
		List *notes = trace.notes;

		CHECK_FOR_INTERRUPTS();
		trace.notes = NIL;
		trace.depth++;
		foreach(lc, sources)
		{
			LogSource *source = lfirst(lc);

			if (trace_generation(&trace, source, notes, &left_out))
				continue;
			sources = foreach_delete_current(sources, lc);
		}
	}
	trace_report(left_out);
	return (Datum) 0;
}
