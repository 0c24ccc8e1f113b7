/*
 * append.c
 *		pm.append and pm.append_all.
 *
 * They run with the rights of the caller, who needs INSERT and SELECT on the
 * table.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"

#include "base/argument.h"
#include "base/effect.h"
#include "base/within.h"
#include "log/append_once.h"
#include "log/append_write.h"
#include "log/log_open.h"
#include "log/replica_ddl.h"
#include "log/reply_to.h"

PG_FUNCTION_INFO_V1(pm_append);
PG_FUNCTION_INFO_V1(pm_append_all);

static Datum
append_empty_object(void)
{
	return DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"));
}

static void
append_require_object(Datum value, const char *what)
{
	if (!JB_ROOT_IS_OBJECT(DatumGetJsonbP(value)))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s must be a JSON object", what)));
}

/*
 * Only the program whose table it is knows how its rows are made.
 */
static void
append_refuse_attached(PmLog *log)
{
	if (log->kind == LOG_ATTACHED)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("pm.append cannot write to log \"%s\", which is attached", log->name),
				 errdetail("Its table %s belongs to another program.", log->table),
				 errhint("Append with the function of that program, or with INSERT into its "
						 "table. A handler may do so.")));
}

/*
 * Reads the arguments that the two functions have in common.
 */
static AppendCall
append_begin(FunctionCallInfo fcinfo, int expected_arg)
{
	AppendCall append;
	char *name = log_arg_name(fcinfo, 0);

	argument_not_null(fcinfo, 1, "stream");
	append.log = log_get(name, false);
	append_refuse_attached(append.log);
	replica_refuse_append(append.log);
	log_require_whole(append.log);
	append.stream = PG_GETARG_DATUM(1);
	append.trimmed = false;
	append.at = within_time_set(&append.time);
	append.expecting = !PG_ARGISNULL(expected_arg);
	append.expected = append.expecting ? PG_GETARG_INT64(expected_arg) : 0;
	if (append.expected < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("expected_version must not be negative"),
				 errhint(
					 "0 means that the stream must not exist, NULL that any version will do.")));
	return append;
}

/*
 * Notes what a handler has appended.
 */
static void
append_note(AppendCall *append, const InsertEvent *events, const Datum *positions, int count)
{
	const char *log = append->log->name;
	int manager;
	const char *key;

	for (int i = 0; i < count; i++)
		effect_appended(log, DatumGetInt64(positions[i]));
	if (within_asks(log, &manager, &key))
		reply_to_add(log, manager, key, events, positions, count);
}

/*
 * pm.append(log, stream, type, data, metadata, expected_version, id)
 */
Datum
pm_append(PG_FUNCTION_ARGS)
{
	AppendCall append = append_begin(fcinfo, 5);
	/* The extension may be of a version before that of the argument. */
	bool has_id = PG_NARGS() > 6 && !PG_ARGISNULL(6);
	AppendOnce once;
	InsertEvent event;
	int64 version;
	int64 position;
	bool known;

	argument_not_null(fcinfo, 2, "type");
	event.type = PG_GETARG_DATUM(2);
	event.data = PG_ARGISNULL(3) ? append_empty_object() : PG_GETARG_DATUM(3);
	event.metadata = PG_ARGISNULL(4) ? append_empty_object() : PG_GETARG_DATUM(4);
	append_require_object(event.metadata, "metadata");
	event.metadata = within_cause(event.metadata);

	append_open(&append);
	/*
	 * A known id takes precedence over the expected version, which was meant for the
	 * first call.
	 */
	known = has_id && append_once_begin(&once, &append, PG_GETARG_DATUM(6), &position);
	if (!known)
	{
		position = append_first(&append, &event, &version);
		if (has_id)
			append_once_end(&once, position);
	}
	append_close(&append);
	if (known)
		effect_appended(append.log->name, position);
	else
	{
		Datum appended = Int64GetDatum(position);

		append_note(&append, &event, &appended, 1);
	}
	PG_RETURN_INT64(position);
}

/*
 * One element of "events".  An unknown key is an error, since it is most likely a
 * misspelled one.
 */
static InsertEvent
append_parse(JsonbValue *element, int number)
{
	InsertEvent event = {0, 0, 0};
	JsonbIterator *it;
	JsonbValue key;
	JsonbValue value;

	if (element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("event %d is not a JSON object", number)));
	it = JsonbIteratorInit(element->val.binary.data);
	(void) JsonbIteratorNext(&it, &key, true);
	while (JsonbIteratorNext(&it, &key, true) == WJB_KEY)
	{
		char *name = pnstrdup(key.val.string.val, key.val.string.len);

		(void) JsonbIteratorNext(&it, &value, true);
		if (strcmp(name, "type") == 0)
		{
			if (value.type != jbvString)
				ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
								errmsg("the type of event %d is not a string", number)));
			event.type = PointerGetDatum(
				cstring_to_text_with_len(value.val.string.val, value.val.string.len));
		}
		else if (strcmp(name, "data") == 0)
			event.data = JsonbPGetDatum(JsonbValueToJsonb(&value));
		else if (strcmp(name, "metadata") == 0)
		{
			event.metadata = JsonbPGetDatum(JsonbValueToJsonb(&value));
			append_require_object(event.metadata, "metadata");
		}
		else
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("event %d has an unknown key \"%s\"", number, name),
							errhint("An event has \"type\", \"data\" and \"metadata\".")));
	}
	if (event.type == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("event %d has no type", number)));
	if (event.data == 0)
		event.data = append_empty_object();
	if (event.metadata == 0)
		event.metadata = append_empty_object();
	event.metadata = within_cause(event.metadata);
	return event;
}

/*
 * pm.append_all(log, stream, events, expected_version)
 */
Datum
pm_append_all(PG_FUNCTION_ARGS)
{
	AppendCall append = append_begin(fcinfo, 3);
	Jsonb *events;
	JsonbIterator *it;
	JsonbValue element;
	InsertEvent *list;
	Datum *positions;
	int count = 0;
	int64 version;

	argument_not_null(fcinfo, 2, "events");
	events = PG_GETARG_JSONB_P(2);
	if (!JB_ROOT_IS_ARRAY(events) || JB_ROOT_IS_SCALAR(events))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("events must be a JSON array"),
				 errhint("An example is '[{\"type\": \"Placed\", \"data\": {}}]'.")));
	list = palloc(sizeof(InsertEvent) * Max(JB_ROOT_COUNT(events), 1));
	positions = palloc(sizeof(Datum) * Max(JB_ROOT_COUNT(events), 1));

	it = JsonbIteratorInit(&events->root);
	(void) JsonbIteratorNext(&it, &element, true);
	while (JsonbIteratorNext(&it, &element, true) == WJB_ELEM)
	{
		list[count] = append_parse(&element, count + 1);
		count++;
	}
	if (count == 0)
		PG_RETURN_ARRAYTYPE_P(construct_empty_array(INT8OID));

	append_open(&append);
	positions[0] = Int64GetDatum(append_first(&append, &list[0], &version));
	append_require_room(&append, version, count - 1);
	for (int i = 1; i < count; i++)
		positions[i] = Int64GetDatum(append_next(&append, &list[i], version + i));
	append_close(&append);
	append_note(&append, list, positions, count);
	PG_RETURN_ARRAYTYPE_P(construct_array(positions, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL,
										  TYPALIGN_DOUBLE));
}
