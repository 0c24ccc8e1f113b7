/*
 * call_context.c
 *		Adds to an error the context line that names the item being handled.
 */
#include "pm.h"

#include "access/htup_details.h"
#include "mb/pg_wchar.h"
#include "utils/typcache.h"

#include "base/event.h"
#include "dispatch/call_context.h"

#define CALL_CONTEXT_SHOWN 200 /* bytes of a type, stream or key */

/*
 * A text on one line, as much as is shown of it.
 */
static char *
call_context_line(const char *text, int length)
{
	int shown = pg_mbcliplen(text, length, CALL_CONTEXT_SHOWN);
	char *line = psprintf("%.*s%s", shown, text, shown < length ? "..." : "");

	for (char *c = line; *c != '\0'; c++)
		if ((unsigned char) *c < ' ')
			*c = ' ';
	return line;
}

/*
 * A text of the event.  This neither looks anything up nor detoasts anything,
 * because something has failed already.
 */
static char *
call_context_field(const EventFields *fields, int attribute)
{
	struct varlena *value = (struct varlena *) DatumGetPointer(fields->values[attribute - 1]);

	if (fields->nulls[attribute - 1] || VARATT_IS_EXTERNAL(value) || VARATT_IS_COMPRESSED(value))
		return pstrdup("...");
	return call_context_line(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

/*
 * The key; NULL if it is not known yet, or is the stream.
 */
static char *
call_context_key(const BatchItem *item, const char *stream)
{
	char *key;

	if (item->key == NULL)
		return NULL;
	key = call_context_line(item->key->name, strlen(item->key->name));
	return strcmp(key, stream) == 0 ? NULL : key;
}

/*
 * The line for an item for which user's code is running.
 */
static void
call_context_item(const CallErrorContext *context, const Handling *what)
{
	const BatchItem *item = context->item;
	const char *manager = context->manager;
	HeapTupleData tuple;
	EventFields fields = {0};
	char *type;
	char *stream;
	char *key;

	/* Do not use event_deform(), which would look up the type. */
	tuple.t_data = DatumGetHeapTupleHeader(item->event);
	tuple.t_len = HeapTupleHeaderGetDatumLength(tuple.t_data);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	heap_deform_tuple(&tuple, context->event_desc, fields.values, fields.nulls);
	type = call_context_field(&fields, EVENT_TYPE);
	stream = call_context_field(&fields, EVENT_STREAM);
	key = call_context_key(item, stream);
	/* The stream of a timer is the key of its instance. */
	if (what->log[0] == '\0')
		errcontext("process manager \"%s\", at a timer of type \"%s\", key \"%s\"", manager, type,
				   stream);
	else if (key == NULL)
		errcontext("process manager \"%s\", position %lld of log \"%s\", type \"%s\", "
				   "stream \"%s\"",
				   manager, (long long) what->position, what->log, type, stream);
	else
		errcontext("process manager \"%s\", position %lld of log \"%s\", type \"%s\", "
				   "stream \"%s\", key \"%s\"",
				   manager, (long long) what->position, what->log, type, stream, key);
}

static void
call_context(void *arg)
{
	const CallErrorContext *context = arg;
	const char *manager = context->manager;
	const Handling *what = &context->progress->handling;

	if (context->progress->stage == PROGRESS_PREPARE)
		return;
	if (what->several)
		errcontext("process manager \"%s\", several events up to position %lld of log \"%s\"",
				   manager, (long long) what->position, what->log);
	else if (context->item != NULL)
		call_context_item(context, what);
	/* User's code has returned; this is the last item that it ran for. */
	else if (what->log[0] != '\0')
		errcontext("process manager \"%s\", position %lld of log \"%s\"", manager,
				   (long long) what->position, what->log);
	else
		errcontext("process manager \"%s\", at a timer", manager);
}

void
call_context_begin(CallErrorContext *context, const char *manager, const Progress *progress)
{
	context->manager = manager;
	context->progress = progress;
	context->item = NULL;
	context->event_desc = lookup_rowtype_tupdesc(event_type(), -1);
	context->callback.callback = call_context;
	context->callback.arg = context;
	context->callback.previous = error_context_stack;
	error_context_stack = &context->callback;
}

void
call_context_end(CallErrorContext *context)
{
	error_context_stack = context->callback.previous;
	ReleaseTupleDesc(context->event_desc);
}
