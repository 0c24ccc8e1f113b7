/*
 * within.c
 *		Which handler runs in this backend, for which event, and at what time.
 *
 * src/dispatch sets this before it calls a handler, and pm.catch_up() sets the time.
 * The functions that handlers call read it here, because no argument tells them.
 */
#include "pm.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "base/event.h"
#include "base/key.h"
#include "base/within.h"

static const char *current = NULL; /* the process manager's name, NULL: no handler runs */
static int current_lane;
static const List *current_carry; /* of char *: keys of metadata that are passed on */
static int current_id;
static const List *current_asked; /* of char *: logs whose events consumers can answer */
static const char *current_log;	  /* NULL: a timer */
static int64 current_position;
static Datum current_event;		/* a pm.event, 0: several in an array */
static const char *current_key; /* of the instance that is called, NULL: it keeps none */
static bool called;				/* the handler itself is called, not correlate */
static const char *called_for;	/* the key for which it is called; NULL: the event's stream */
static bool time_is_set = false;
static TimestampTz time_as_of;
static TimestampTz time_end; /* the last time that will be set */

PG_FUNCTION_INFO_V1(pm_now);
PG_FUNCTION_INFO_V1(pm_key);

void
within_enter(const char *manager, int lane, const List *carry)
{
	Assert(current == NULL);
	current = manager;
	current_lane = lane;
	current_carry = carry;
	current_asked = NIL;
	current_event = (Datum) 0;
	current_key = NULL;
	called = false;
}

void
within_ask(int manager, const List *logs)
{
	Assert(current != NULL);
	current_id = manager;
	current_asked = logs;
}

void
within_event(const char *log, int64 position, Datum event, const char *key)
{
	current_log = log;
	current_position = position;
	current_event = event;
	current_key = key;
	called = false;
}

void
within_call(const char *key)
{
	called = true;
	called_for = key;
}

bool
within_correlates(void)
{
	return current != NULL && current_event != (Datum) 0 && !called;
}

void
within_leave(void)
{
	current = NULL;
	current_asked = NIL;
	/* The event is freed with the batch, and a consumer in this session may set timers. */
	within_event(NULL, 0, (Datum) 0, NULL);
}

bool
within_handler(void)
{
	return current != NULL;
}

/*
 * The batch has loaded the process manager and its cursors, and will write them.
 */
void
within_refuse(const char *name)
{
	if (current != NULL && strcmp(current, name) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("process manager \"%s\" cannot be changed by its own handler", name)));
}

const char *
within_manager(void)
{
	Assert(current != NULL);
	return current;
}

/*
 * While the handler runs, code of other roles may run in a restricted operation, such
 * as the function of an index when the handler reads the log of another role.  That
 * code is not the handler.
 */
bool
within_has_instance(void)
{
	return current != NULL && current_key != NULL && !InSecurityRestrictedOperation();
}

const char *
within_instance(const char *function, int *lane)
{
	if (!within_has_instance())
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("%s can only be called by the handler of an instance", function),
						errhint("Such a handler is a function f(pm.event, jsonb) RETURNS jsonb.")));
	*lane = current_lane;
	return current_key;
}

bool
within_asks(const char *log, int *manager, const char **key)
{
	ListCell *lc;

	if (current_asked == NIL || !within_has_instance())
		return false;
	*manager = current_id;
	*key = current_key;
	foreach(lc, current_asked)
		if (strcmp(lfirst(lc), log) == 0)
			return true;
	return false;
}

bool
within_timer(TimestampTz *due)
{
	EventFields fields;

	if (current_event == (Datum) 0 || current_log != NULL)
		return false;
	/* The event that stands for a timer is recorded when the timer is due. */
	event_deform(current_event, &fields);
	*due = DatumGetTimestampTz(fields.values[EVENT_RECORDED_AT - 1]);
	return true;
}

bool
within_is_timer(text *type)
{
	EventFields fields;
	text *own;

	if (current_event == (Datum) 0 || current_log != NULL)
		return false;
	event_deform(current_event, &fields);
	/* An event that was sent is not a timer, whatever its type is. */
	if (!fields.nulls[EVENT_VERSION - 1])
		return false;
	own = DatumGetTextPP(fields.values[EVENT_TYPE - 1]);
	return VARSIZE_ANY_EXHDR(own) == VARSIZE_ANY_EXHDR(type) &&
		   memcmp(VARDATA_ANY(own), VARDATA_ANY(type), VARSIZE_ANY_EXHDR(own)) == 0;
}

static bool
within_object_has(Jsonb *object, const char *name)
{
	JsonbValue found;

	return getKeyJsonValueFromContainer(&object->root, name, strlen(name), &found) != NULL;
}

/*
 * Copies a field of one object to another, under the name "as".  With "keep", a field of
 * that name that is there already stays as it is.
 */
static Datum
within_pass_on(Datum to, Jsonb *from, const char *name, const char *as, bool keep)
{
	CompatJsonb added = {0};
	JsonbValue found;
	JsonbValue key;

	if (keep && within_object_has(DatumGetJsonbP(to), as))
		return to;
	if (getKeyJsonValueFromContainer(&from->root, name, strlen(name), &found) == NULL)
		return to;
	/* Do not convert it to text, which could be too large for a value. */
	key.type = jbvString;
	key.val.string.val = unconstify(char *, as);
	key.val.string.len = strlen(as);
	compat_jsonb_push(&added, WJB_BEGIN_OBJECT, NULL);
	compat_jsonb_push(&added, WJB_KEY, &key);
	compat_jsonb_push(&added, WJB_VALUE, &found);
	compat_jsonb_push(&added, WJB_END_OBJECT, NULL);
	return DirectFunctionCall2(jsonb_concat, to, JsonbPGetDatum(JsonbValueToJsonb(added.result)));
}

/*
 * The metadata of the event or timer that is being handled, NULL if it is not an object:
 * a plain INSERT may have stored anything.
 */
static Jsonb *
within_metadata(void)
{
	EventFields fields;
	Jsonb *metadata;

	event_deform(current_event, &fields);
	if (fields.nulls[EVENT_METADATA - 1])
		return NULL;
	metadata = DatumGetJsonbP(fields.values[EVENT_METADATA - 1]);
	return JB_ROOT_IS_OBJECT(metadata) ? metadata : NULL;
}

/*
 * What the handler of a timer appends was caused by the event whose handler has set
 * the timer, so the causation of the timer is passed on.  Code that runs in a
 * restricted operation must not learn of the handler's event.
 */
Datum
within_cause(Datum metadata)
{
	Jsonb *theirs;
	bool correlated;
	ListCell *lc;

	if (current == NULL || current_event == (Datum) 0 || InSecurityRestrictedOperation())
		return metadata;

	theirs = within_metadata();
	correlated = within_object_has(DatumGetJsonbP(metadata), "correlation") ||
				 (theirs != NULL && within_object_has(theirs, "correlation"));
	/* An event without a correlation is the first of the events that are correlated with it. */
	if (current_log != NULL)
		metadata = DirectFunctionCall2(jsonb_concat, metadata,
									   event_causation(current_log, current_position, !correlated));
	if (theirs == NULL)
		return metadata;
	if (current_log == NULL)
		metadata = within_pass_on(metadata, theirs, "causation", "causation", false);
	if (current_log == NULL && !correlated)
		metadata = within_pass_on(metadata, theirs, "causation", "correlation", true);
	/* Keys that the handler itself has set stay as they are. */
	metadata = within_pass_on(metadata, theirs, "correlation", "correlation", true);
	foreach(lc, current_carry)
		metadata = within_pass_on(metadata, theirs, lfirst(lc), lfirst(lc), true);
	return metadata;
}

/*
 * What an answer inherits from the metadata of the event.
 */
Datum
within_carried(Datum metadata)
{
	Jsonb *theirs = DatumGetJsonbP(metadata);
	Datum carried = DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"));
	ListCell *lc;

	carried = within_pass_on(carried, theirs, "correlation", "correlation", false);
	foreach(lc, current_carry)
		carried = within_pass_on(carried, theirs, lfirst(lc), lfirst(lc), false);
	return carried;
}

void
within_set_time(TimestampTz as_of)
{
	time_is_set = true;
	time_as_of = as_of;
}

bool
within_time_set(TimestampTz *time)
{
	*time = time_as_of;
	return time_is_set;
}

void
within_set_end(TimestampTz end)
{
	time_end = end;
}

TimestampTz
within_end(void)
{
	return time_is_set ? time_end : GetCurrentTimestamp();
}

void
within_clear_time(void)
{
	time_is_set = false;
}

TimestampTz
within_time(void)
{
	return time_is_set ? time_as_of : GetCurrentTimestamp();
}

/*
 * A time after END_TIMESTAMP could be stored, but a dump with it could not be
 * restored.
 */
TimestampTz
within_later(int64 ms)
{
	return Min(TimestampTzPlusMilliseconds(within_time(), ms), END_TIMESTAMP - 1);
}

/*
 * pm.now()
 */
Datum
pm_now(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(time_is_set ? time_as_of : GetCurrentTransactionStartTimestamp());
}

/*
 * pm.key(): the key for which the handler is called, as it is stored.  NULL where no
 * handler runs, so that a test can call a handler as a function.
 */
Datum
pm_key(PG_FUNCTION_ARGS)
{
	EventFields fields;

	if (current == NULL || !called || InSecurityRestrictedOperation())
		PG_RETURN_NULL();
	if (called_for != NULL)
		PG_RETURN_TEXT_P(cstring_to_text(called_for));
	/* An array of events has no single key. */
	if (current_event == (Datum) 0)
		PG_RETURN_NULL();
	event_deform(current_event, &fields);
	if (fields.nulls[EVENT_STREAM - 1])
		PG_RETURN_TEXT_P(cstring_to_text(""));
	PG_RETURN_TEXT_P(cstring_to_text(key_stored(fields.values[EVENT_STREAM - 1])));
}
