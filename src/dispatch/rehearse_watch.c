/*
 * rehearse_watch.c
 *		Watches a rehearsal, and returns what it sees to the caller of pm.rehearse.
 *
 * What the handler has appended is read from the logs at once, because it will be undone.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "base/effect.h"
#include "base/exec.h"
#include "base/report.h"
#include "dispatch/rehearse_watch.h"
#include "log/log_index.h"
#include "log/log_open.h"
#include "log/log_right.h"
#include "manager/head.h"
#include "manager/instance.h"

/* The columns of the result, counted from 0. */
enum
{
	REHEARSE_LOG,
	REHEARSE_POSITION,
	REHEARSE_KEY,
	REHEARSE_OUTCOME,
	REHEARSE_ERROR,
	REHEARSE_APPENDED,
	REHEARSE_STATE,
	REHEARSE_COLUMNS
};

/* What was seen of an item and one of its keys. */
typedef struct RehearseSeen
{
	char *log; /* NULL: a timer */
	int64 position;
	char *key;
	const char *outcome;
	Datum appended; /* jsonb, 0: nothing */
	Datum state;	/* jsonb, 0: there is no instance */
} RehearseSeen;

/* ---------- what was appended ---------- */

static Datum
rehearse_watch_jsonb(EventFields *event, int attribute)
{
	return event->nulls[attribute - 1] ?
			   DirectFunctionCall1(jsonb_in, CStringGetDatum("null")) :
			   PointerGetDatum(PG_DETOAST_DATUM_COPY(event->values[attribute - 1]));
}

/*
 * Adds an event to the array *arg.
 */
static bool
rehearse_watch_take(void *arg, EventFields *event)
{
	static ExecStatement form =
		{NULL,
		 "SELECT $1 OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('log', $2, "
		 "'position', $3, 'stream', $4, 'type', $5, 'data', $6, 'metadata', $7)",
		 7,
		 {JSONBOID, TEXTOID, INT8OID, TEXTOID, TEXTOID, JSONBOID, JSONBOID}};
	Datum *array = arg;
	MemoryContext caller = CurrentMemoryContext;
	ExecScope scope;
	Datum values[7];
	char nulls[7];
	bool isnull;

	memset(nulls, ' ', sizeof(nulls));
	exec_begin_owner(&scope);
	values[0] = *array;
	values[1] = event->values[EVENT_LOG - 1];
	values[2] = event->values[EVENT_POSITION - 1];
	values[3] = event->values[EVENT_STREAM - 1];
	nulls[3] = event->nulls[EVENT_STREAM - 1] ? 'n' : ' ';
	values[4] = event->values[EVENT_TYPE - 1];
	nulls[4] = event->nulls[EVENT_TYPE - 1] ? 'n' : ' ';
	values[5] = rehearse_watch_jsonb(event, EVENT_DATA);
	values[6] = rehearse_watch_jsonb(event, EVENT_METADATA);
	exec_statement(&form, values, nulls);
	values[0] = exec_value(0, 1, &isnull);
	MemoryContextSwitchTo(caller);
	*array = PointerGetDatum(PG_DETOAST_DATUM_COPY(values[0]));
	exec_end(&scope);
	MemoryContextSwitchTo(caller);
	return true;
}

/*
 * The events that the handler has appended, of which "noted" has logs and positions.  The
 * handler may have called a function of another role, which has written a log that this
 * role may not read.  Of such events, only the log and the position are shown.
 */
static Datum
rehearse_watch_appended(RehearseWatch *watch, Datum noted)
{
	Datum array = DirectFunctionCall1(jsonb_in, CStringGetDatum("[]"));
	JsonbIterator *it = JsonbIteratorInit(&DatumGetJsonbP(noted)->root);
	JsonbValue element;

	(void) JsonbIteratorNext(&it, &element, true);
	while (JsonbIteratorNext(&it, &element, true) == WJB_ELEM)
	{
		JsonbValue name;
		JsonbValue position;
		PmLog *log;
		int64 at;

		if (getKeyJsonValueFromContainer(element.val.binary.data, "log", 3, &name) == NULL ||
			getKeyJsonValueFromContainer(element.val.binary.data, "position", 8, &position) == NULL)
			continue;
		at = DatumGetInt64(
			DirectFunctionCall1(numeric_int8, NumericGetDatum(position.val.numeric)));
		/* The transaction has written the log, so it holds a lock on the table. */
		log = log_get(pnstrdup(name.val.string.val, name.val.string.len), false);
		if (log_may_read(log, watch->pm->owner))
			(void) log_index_read(log, Max(at, PG_INT64_MIN + 1) - 1, at, 1, rehearse_watch_take,
								  &array);
		else
			array = DirectFunctionCall2(jsonb_concat, array,
										JsonbPGetDatum(JsonbValueToJsonb(&element)));
	}
	return array;
}

/* ---------- what the batch tells ---------- */

/*
 * Copies the timers of an instance that the rehearsal has not met yet, except those that are
 * due: they were copied at the beginning.
 */
static void
rehearse_watch_timers(RehearseWatch *watch, const char *key)
{
	static ExecStatement copy =
		{NULL,
		 "INSERT INTO pm_catalog.timer (process_manager, lane, key, type, due, data, metadata) "
		 "SELECT $1, 0, t.key, t.type, t.due, t.data, t.metadata FROM pm_catalog.timer t "
		 "WHERE t.process_manager OPERATOR(pg_catalog.=) $2 AND t.key OPERATOR(pg_catalog.=) $3 "
		 "AND t.due OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp()",
		 3,
		 {TEXTOID, TEXTOID, TEXTOID}};
	Datum values[3];

	values[0] = CStringGetTextDatum(watch->pm->name);
	values[1] = CStringGetTextDatum(watch->pm->origin);
	values[2] = CStringGetTextDatum(key);
	(void) exec_as_owner(&copy, values, NULL);
	head_forget(watch->pm->name, 0);
}

static void
rehearse_watch_before(BatchWatch *base, const BatchItem *item)
{
	RehearseWatch *watch = (RehearseWatch *) base;
	Key *key = item->key;

	watch->key = key == NULL ? NULL : MemoryContextStrdup(watch->context, key->name);
	if (key != NULL && watch->pm->origin != NULL && watch->pm->kind == HANDLER_INSTANCE)
	{
		/* An instance that the rehearsal has met before has a row of its own. */
		instance_load(watch->pm, key);
		if (key->live && !key->stored)
			rehearse_watch_timers(watch, key->name);
	}
	effect_begin();
}

static RehearseSeen *
rehearse_watch_note(RehearseWatch *watch, const BatchItem *item, const char *outcome)
{
	MemoryContext caller = MemoryContextSwitchTo(watch->context);
	RehearseSeen *seen = palloc0(sizeof(RehearseSeen));

	seen->log = item->log_name == NULL ? NULL : pstrdup(item->log_name);
	seen->position = item->log_name == NULL ? item->id : item->position;
	seen->outcome = outcome;
	watch->seen = lappend(watch->seen, seen);
	MemoryContextSwitchTo(caller);
	return seen;
}

static void
rehearse_watch_after(BatchWatch *base, const BatchItem *item)
{
	RehearseWatch *watch = (RehearseWatch *) base;
	Key *key = item->key;
	bool keeps = watch->pm->kind == HANDLER_INSTANCE;
	bool live = keeps && key->live;
	RehearseSeen *seen = rehearse_watch_note(watch, item, "handled");
	MemoryContext caller = MemoryContextSwitchTo(watch->context);
	Datum appended;
	Datum timers;

	effect_read(&appended, &timers);
	effect_end();
	seen->key = watch->key;
	if (appended != (Datum) 0)
		seen->appended = rehearse_watch_appended(watch, appended);
	if (live)
		seen->state = PointerGetDatum(PG_DETOAST_DATUM_COPY(key->state));
	/* It had an instance, or the handler has called pm.done() at once. */
	else if (keeps)
		seen->outcome = key->ended ? "ended" : "ignored";
	MemoryContextSwitchTo(caller);
}

static void
rehearse_watch_done(BatchWatch *base, const BatchItem *item, int calls)
{
	if (calls == 0)
		(void) rehearse_watch_note((RehearseWatch *) base, item, "ignored");
}

/* ---------- results ---------- */

void
rehearse_watch_open(RehearseWatch *watch, ReturnSetInfo *rsinfo, ProcessManager *pm)
{
	watch->watch.before = rehearse_watch_before;
	watch->watch.after = rehearse_watch_after;
	watch->watch.done = rehearse_watch_done;
	watch->rsinfo = rsinfo;
	watch->pm = pm;
	watch->kept = CurrentMemoryContext;
	watch->context = AllocSetContextCreate(CurrentMemoryContext, "pm rehearsed item",
										   ALLOCSET_DEFAULT_SIZES);
}

void
rehearse_watch_begin(RehearseWatch *watch)
{
	MemoryContextReset(watch->context);
	watch->key = NULL;
	watch->seen = NIL;
}

static void
rehearse_watch_row(RehearseWatch *watch, const RehearseSeen *seen, const char *error)
{
	Datum values[REHEARSE_COLUMNS] = {0};
	bool nulls[REHEARSE_COLUMNS] = {false};

	nulls[REHEARSE_LOG] = seen->log == NULL;
	values[REHEARSE_LOG] = seen->log == NULL ? (Datum) 0 : CStringGetTextDatum(seen->log);
	values[REHEARSE_POSITION] = Int64GetDatum(seen->position);
	nulls[REHEARSE_KEY] = seen->key == NULL;
	values[REHEARSE_KEY] = seen->key == NULL ? (Datum) 0 : CStringGetTextDatum(seen->key);
	values[REHEARSE_OUTCOME] = CStringGetTextDatum(seen->outcome);
	nulls[REHEARSE_ERROR] = error == NULL;
	values[REHEARSE_ERROR] = error == NULL ? (Datum) 0 : CStringGetTextDatum(error);
	nulls[REHEARSE_APPENDED] = seen->appended == (Datum) 0;
	values[REHEARSE_APPENDED] = seen->appended;
	nulls[REHEARSE_STATE] = seen->state == (Datum) 0;
	values[REHEARSE_STATE] = seen->state;
	tuplestore_putvalues(watch->rsinfo->setResult, watch->rsinfo->setDesc, values, nulls);
}

void
rehearse_watch_put(RehearseWatch *watch, ProcessManager *pm)
{
	MemoryContext caller = CurrentMemoryContext;
	ListCell *lc;

	foreach(lc, watch->seen)
	{
		RehearseSeen *seen = lfirst(lc);

		rehearse_watch_row(watch, seen, NULL);
		/* From now on the real instance of this key does not count any more. */
		if (pm->origin == NULL || strcmp(seen->outcome, "ended") != 0)
			continue;
		MemoryContextSwitchTo(watch->kept);
		pm->gone = lappend(pm->gone, pstrdup(seen->key));
		MemoryContextSwitchTo(caller);
	}
}

void
rehearse_watch_put_failed(RehearseWatch *watch, const Handling *what, ErrorData *error)
{
	RehearseSeen seen = {.key = watch->key};

	seen.log = what->source == HANDLING_TIMER ? NULL : pstrdup(what->log);
	seen.position = what->source == HANDLING_TIMER ? what->id : what->position;
	seen.outcome = error->sqlerrcode == ERRCODE_PM_DEFERRED ? "deferred" : "failed";
	rehearse_watch_row(watch, &seen, report_cut(error->message, REPORT_KEPT));
}
