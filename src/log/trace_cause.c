/*
 * trace_cause.c
 *		The causes of an event, from effect to cause.
 *
 * An event has at most one cause, so the causes are a chain.  It ends at an event that
 * names no cause, or whose cause is not there, or may not be read by the caller.  The
 * columns cause_log and cause_position of that event say where the chain would have
 * continued.
 */
#include "pm.h"

#include <ctype.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"

#include "log/log_index.h"
#include "log/log_open.h"
#include "log/log_right.h"
#include "log/trace_cause.h"

/* The event that is looked for. */
typedef struct TraceCauseWanted
{
	bool found;
	TraceCause cause;
} TraceCauseWanted;

/* An event that has been met, as a hash key. */
typedef struct TraceCauseMet
{
	int64 position;
	Oid relid;
	uint32 padding;
} TraceCauseMet;

/*
 * A field of what the event's metadata names as its cause; NULL if there is none.
 */
static char *
trace_cause_field(EventFields *event, const char *field)
{
	LOCAL_FCINFO(fcinfo, 2);
	Datum path[2] = {CStringGetTextDatum("causation"), CStringGetTextDatum(field)};
	Datum result;

	if (event->nulls[EVENT_METADATA - 1])
		return NULL;
	InitFunctionCallInfoData(*fcinfo, NULL, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = event->values[EVENT_METADATA - 1];
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = PointerGetDatum(
		construct_array(path, 2, TEXTOID, -1, false, TYPALIGN_INT));
	fcinfo->args[1].isnull = false;
	result = jsonb_extract_path_text(fcinfo);
	return fcinfo->isnull ? NULL : TextDatumGetCString(result);
}

void
trace_cause_read(EventFields *event, TraceCause *cause)
{
	char *digits = trace_cause_field(event, "position");
	char *end;

	cause->log = trace_cause_field(event, "log");
	cause->has_position = false;
	cause->position = 0;
	if (digits == NULL || !isdigit((unsigned char) digits[0]))
		return;
	errno = 0;
	cause->position = strtoll(digits, &end, 10);
	cause->has_position = *end == '\0' && errno == 0;
}

static bool
trace_cause_take(void *arg, EventFields *event)
{
	TraceCauseWanted *wanted = arg;

	wanted->found = true;
	trace_cause_read(event, &wanted->cause);
	return false;
}

/*
 * Reads the cause of an event.  False if the event is not there.
 */
static bool
trace_cause_of(PmLog *log, int64 position, TraceCause *cause)
{
	TraceCauseWanted wanted = {false, {NULL, false, 0}};

	(void) log_index_read_sound(log, Max(position, PG_INT64_MIN + 1) - 1, position, 1,
								trace_cause_take, &wanted);
	*cause = wanted.cause;
	return wanted.found;
}

PmLog *
trace_cause_open(LogSource *source, List **left_out)
{
	PmLog *log;
	bool locked;

	if (!log_has_right(source->relid, GetUserId()))
		return NULL;
	log = log_open_nowait(source->name, &locked);
	if (log == NULL && locked)
		*left_out = list_append_unique_ptr(*left_out, source->name);
	if (log == NULL)
		return NULL;
	/* A log with a problem is left out silently; pm.status shows the problem. */
	if (log->problem == NULL && log_may_read(log, GetUserId()))
		return log;
	UnlockRelationOid(log->relid, AccessShareLock);
	return NULL;
}

/*
 * Has the event been met already?  Forged metadata can form a circle.
 */
static bool
trace_cause_met(HTAB *met, Oid relid, int64 position)
{
	TraceCauseMet key = {.position = position, .relid = relid};
	bool found;

	(void) hash_search(met, &key, HASH_ENTER, &found);
	return found;
}

/*
 * The log of a name.  The names are those of the catalog, so no other spelling counts.
 */
static LogSource *
trace_cause_source(List *sources, const TraceCause *cause)
{
	ListCell *lc;

	if (cause->log == NULL || !cause->has_position)
		return NULL;
	foreach(lc, sources)
		if (strcmp(((LogSource *) lfirst(lc))->name, cause->log) == 0)
			return lfirst(lc);
	return NULL;
}

List *
trace_cause_list(PmLog *log, int64 position, List *sources, List **left_out)
{
	HASHCTL ctl = {.keysize = sizeof(TraceCauseMet),
				   .entrysize = sizeof(TraceCauseMet),
				   .hcxt = CurrentMemoryContext};
	HTAB *met = hash_create("pm trace causes", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	TraceCause cause;
	List *causes = NIL;
	LogSource *source;

	(void) trace_cause_met(met, log->relid, position);
	(void) trace_cause_of(log, position, &cause);
	while ((source = trace_cause_source(sources, &cause)) != NULL &&
		   !trace_cause_met(met, source->relid, cause.position))
	{
		TraceCauseKey *key = palloc(sizeof(TraceCauseKey));
		bool found;

		CHECK_FOR_INTERRUPTS();
		key->source = source;
		key->position = cause.position;
		log = trace_cause_open(source, left_out);
		if (log == NULL)
			break;
		found = trace_cause_of(log, key->position, &cause);
		UnlockRelationOid(log->relid, AccessShareLock);
		if (!found)
			break;
		causes = lappend(causes, key);
	}
	hash_destroy(met);
	return causes;
}
