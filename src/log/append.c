/*
 * append.c
 *		pm.append and pm.append_all: an INSERT that counts the stream's versions.
 *
 * A stream whose events pm.trim has deleted goes on where it was (trimmed.c).
 *
 * Writers of one stream are serialised by the unique index on (stream,
 * version): the second to insert a version waits there for the first to end,
 * and then takes the next one, or learns that its expectation was wrong.  No
 * other lock is taken, and writers of different streams never meet.
 *
 * Runs with the caller's rights: INSERT and SELECT on the table.  An ordinary
 * log is written directly (insert.c), any other by an INSERT, which does the
 * same.
 */
#include "pm.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"

#include "base/argument.h"
#include "base/exec.h"
#include "base/within.h"
#include "log/insert.h"
#include "log/log_open.h"
#include "log/trimmed.h"

PG_FUNCTION_INFO_V1(pm_append);
PG_FUNCTION_INFO_V1(pm_append_all);

typedef struct AppendCall
{
	PmLog *log;
	Datum stream;
	bool expecting;
	int64 expected;
	bool trimmed; /* the stream had events, and has none with a version any more */
	bool direct;  /* by insert.c */
	Insert insert;
	ExecScope scope; /* otherwise */
} AppendCall;

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
 * The arguments that both functions have.
 */
static AppendCall
append_begin(FunctionCallInfo fcinfo, int expected_arg)
{
	AppendCall append;
	char *name = log_arg_name(fcinfo, 0);

	argument_not_null(fcinfo, 1, "stream");
	append.log = log_get(name, false);
	log_require_whole(append.log);
	append.stream = PG_GETARG_DATUM(1);
	append.trimmed = false;
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
 * Ready to write the log.
 */
static void
append_open(AppendCall *append)
{
	append->direct = insert_begin(&append->insert, append->log);
	if (append->direct)
		return;
	/* An INSERT goes by the name, which is the log's while that is locked. */
	if (!XactReadOnly)
		append->log = log_lock(append->log, RowExclusiveLock);
	log_require_whole(append->log);
	exec_begin_writer(&append->scope);
}

static void
append_close(AppendCall *append)
{
	if (append->direct)
		insert_end(&append->insert);
	else
		exec_end(&append->scope);
}

static SPIPlanPtr
append_plan(PmLog *log, int which, const char *sql)
{
	Oid argtypes[6] = {TEXTOID, INT8OID, TEXTOID, JSONBOID, JSONBOID, INT8OID};

	if (log->plans[which] == NULL)
		log->plans[which] = exec_prepare(sql, 6, argtypes);
	return log->plans[which];
}

static void
append_swallowed(AppendCall *append)
{
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("log \"%s\" did not take the event", append->log->name),
					errhint("A rule or trigger on its table swallows it.")));
}

/*
 * The version of the stream's events, 0 if they have none, or of those that it
 * had.  Called after a look at the events.
 */
static int64
append_trimmed(AppendCall *append, int64 version, bool *any)
{
	append->trimmed = version == 0 && trimmed_find(append->log->name, append->stream, &version);
	*any |= append->trimmed;
	return version;
}

/*
 * The stream's version now, 0 if it has none; *any whether it has events.
 */
static int64
append_version(AppendCall *append, bool *any)
{
	PmLog *log = append->log;
	Oid argtypes[1] = {TEXTOID};
	int64 actual;
	bool isnull;

	if (log->plans[LOG_PLAN_STREAM_VERSION] == NULL)
		log->plans[LOG_PLAN_STREAM_VERSION] =
			exec_prepare(psprintf("SELECT pg_catalog.max(%s), pg_catalog.count(*) FROM ONLY %s "
								  "WHERE %s OPERATOR(pg_catalog.=) $1",
								  log->version, log->table, log->stream),
						 1, argtypes);
	exec_plan(log->plans[LOG_PLAN_STREAM_VERSION], &append->stream, NULL, 0);
	*any = DatumGetInt64(exec_value(0, 2, &isnull)) > 0;
	actual = DatumGetInt64(exec_value(0, 1, &isnull));
	return append_trimmed(append, isnull ? 0 : actual, any);
}

/*
 * Raises the version conflict, if it is one.
 */
static void
append_compare(AppendCall *append, int64 actual, bool any)
{
	if (actual == append->expected && (actual > 0 || !any))
		return;
	if (append->trimmed)
		ereport(
			ERROR,
			(errcode(ERRCODE_PM_VERSION_CONFLICT),
			 errmsg("version conflict in stream \"%s\" of log \"%s\"",
					TextDatumGetCString(append->stream), append->log->name),
			 errdetail(
				 "Expected version %lld, actual version %lld; the events up to that have been trimmed.",
				 (long long) append->expected, (long long) actual),
			 actual == 0 ?
				 errhint("Its events had no versions: append without an expected version.") :
				 errhint("Decide again, and append with this version.")));
	ereport(ERROR,
			(errcode(ERRCODE_PM_VERSION_CONFLICT),
			 errmsg("version conflict in stream \"%s\" of log \"%s\"",
					TextDatumGetCString(append->stream), append->log->name),
			 actual == 0 && any ?
				 errdetail("Expected version %lld, the stream has events without a version.",
						   (long long) append->expected) :
				 errdetail("Expected version %lld, actual version %lld.",
						   (long long) append->expected, (long long) actual),
			 errhint("Read the stream again, decide again, and append with the version found.")));
}

/*
 * Refuses to count further than a version can be, "count" events after one of
 * that version.
 */
static void
append_require_room(AppendCall *append, int64 version, int count)
{
	if (version > PG_INT64_MAX - count)
		ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
						errmsg("stream \"%s\" of log \"%s\" has no version left",
							   TextDatumGetCString(append->stream), append->log->name),
						errdetail("Its version is %lld; the largest is %lld.", (long long) version,
								  (long long) PG_INT64_MAX),
						errhint("Append to another stream.")));
}

/*
 * Somebody was first, and this transaction's snapshot does not show it.
 */
static void
append_not_serializable(void)
{
	ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					errmsg("could not serialize access due to concurrent update"),
					errhint("The transaction might succeed if retried.")));
}

/*
 * Between the look at a stream without events and the insertion somebody else
 * may have appended, committed and been trimmed.  From the insertion on nobody
 * else can take the version.
 */
static void
append_verify(AppendCall *append, int64 version)
{
	int64 trimmed;

	if (trimmed_find(append->log->name, append->stream, &trimmed) && trimmed >= version)
		append_not_serializable();
}

/*
 * Appends the first event, as append_first() does.
 */
static int64
append_first_directly(AppendCall *append, InsertEvent *event, int64 *version)
{
	for (;;)
	{
		bool any;
		int64 actual = insert_version(&append->insert, append->stream, &any);
		int64 position;

		actual = append_trimmed(append, actual, &any);
		if (append->expecting)
			append_compare(append, actual, any);
		append_require_room(append, actual, 1);
		*version = actual + 1;
		position = insert_event(&append->insert, append->stream, event, *version);
		if (position != 0 && (actual == 0 || append->trimmed))
			append_verify(append, *version);
		if (position != 0)
			return position;
		CHECK_FOR_INTERRUPTS();
		if (IsolationUsesXactSnapshot())
			append_not_serializable();
	}
}

/*
 * Appends the first event and returns its position; *version is what it got.
 * A row that another transaction has inserted meanwhile makes ON CONFLICT wait
 * for that transaction and then insert nothing.
 */
static int64
append_first(AppendCall *append, InsertEvent *event, int64 *version)
{
	PmLog *log = append->log;
	SPIPlanPtr plan;
	Datum values[6];
	bool isnull;
	bool any = false;
	int64 base = 0;
	int64 seen = -1;

	if (append->direct)
		return append_first_directly(append, event, version);
	/* Its events first: the INSERT looks at them again, and may find them trimmed. */
	if (trimmed_any() || (append->expecting && append->expected == PG_INT64_MAX))
		base = append_version(append, &any);
	if (append->expecting && (append->trimmed || append->expected == PG_INT64_MAX))
		append_compare(append, base, any);
	if (append->expecting)
		append_require_room(append, append->expected, 1);
	if (append->expecting)
		plan = append_plan(
			log, LOG_PLAN_APPEND_EXPECTING,
			psprintf(
				"INSERT INTO %s (%s, %s, %s, %s, %s) "
				"SELECT $1, $2 OPERATOR(pg_catalog.+) 1, $3, $4, $5 "
				"WHERE $2 OPERATOR(pg_catalog.=) greatest((SELECT pg_catalog.max(%s) FROM ONLY %s "
				"WHERE %s OPERATOR(pg_catalog.=) $1), $6) "
				"AND ($2 OPERATOR(pg_catalog.>) 0 OR NOT EXISTS (SELECT FROM ONLY %s "
				"WHERE %s OPERATOR(pg_catalog.=) $1)) "
				"ON CONFLICT (%s, %s) DO NOTHING RETURNING %s, %s",
				log->table, log->stream, log->version, log->type, log->data, log->metadata,
				log->version, log->table, log->stream, log->table, log->stream, log->stream,
				log->version, log->pos, log->version));
	else
		plan = append_plan(
			log, LOG_PLAN_APPEND,
			psprintf(
				"INSERT INTO %s (%s, %s, %s, %s, %s) "
				"SELECT $1, greatest((SELECT pg_catalog.max(%s) FROM ONLY %s "
				"WHERE %s OPERATOR(pg_catalog.=) $1), $6) OPERATOR(pg_catalog.+) 1, $3, $4, $5 "
				"ON CONFLICT (%s, %s) DO NOTHING RETURNING %s, %s",
				log->table, log->stream, log->version, log->type, log->data, log->metadata,
				log->version, log->table, log->stream, log->stream, log->version, log->pos,
				log->version));

	values[0] = append->stream;
	values[1] = Int64GetDatum(append->expected);
	values[2] = event->type;
	values[3] = event->data;
	values[4] = event->metadata;
	values[5] = Int64GetDatum(base);
	while (exec_plan(plan, values, NULL, 0) == 0)
	{
		int64 actual;

		/* Somebody was first. */
		actual = append_version(append, &any);
		values[5] = Int64GetDatum(actual);
		if (append->expecting)
			append_compare(append, actual, any);
		if (append->expecting || actual == seen)
			append_swallowed(append);
		seen = actual;
		CHECK_FOR_INTERRUPTS();
		if (IsolationUsesXactSnapshot())
			append_not_serializable();
	}
	*version = DatumGetInt64(exec_value(0, 2, &isnull));
	append_verify(append, *version);
	return DatumGetInt64(exec_value(0, 1, &isnull));
}

/*
 * Appends a further event of the same call.  Its predecessor's row is not
 * committed, so that no other pm.append can hold this version.
 */
static int64
append_next(AppendCall *append, InsertEvent *event, int64 version)
{
	PmLog *log = append->log;
	SPIPlanPtr plan;
	Datum values[6] = {append->stream, Int64GetDatum(version), event->type,
					   event->data,	   event->metadata,		   0};
	bool isnull;

	if (append->direct)
	{
		int64 position = insert_event(&append->insert, append->stream, event, version);

		if (position == 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNIQUE_VIOLATION),
					 errmsg("version %lld of stream \"%s\" of log \"%s\" exists already",
							(long long) version, TextDatumGetCString(append->stream), log->name)));
		return position;
	}
	plan = append_plan(
		log, LOG_PLAN_APPEND_REST,
		psprintf("INSERT INTO %s (%s, %s, %s, %s, %s) VALUES ($1, $2, $3, $4, $5) RETURNING %s",
				 log->table, log->stream, log->version, log->type, log->data, log->metadata,
				 log->pos));
	if (exec_plan(plan, values, NULL, 0) != 1)
		append_swallowed(append);
	return DatumGetInt64(exec_value(0, 1, &isnull));
}

/*
 * pm.append(log, stream, type, data, metadata, expected_version)
 */
Datum
pm_append(PG_FUNCTION_ARGS)
{
	AppendCall append = append_begin(fcinfo, 5);
	InsertEvent event;
	int64 version;
	int64 position;

	argument_not_null(fcinfo, 2, "type");
	event.type = PG_GETARG_DATUM(2);
	event.data = PG_ARGISNULL(3) ? append_empty_object() : PG_GETARG_DATUM(3);
	event.metadata = PG_ARGISNULL(4) ? append_empty_object() : PG_GETARG_DATUM(4);
	append_require_object(event.metadata, "metadata");
	event.metadata = within_cause(event.metadata);

	append_open(&append);
	position = append_first(&append, &event, &version);
	append_close(&append);
	PG_RETURN_INT64(position);
}

/*
 * One element of "events", checked.
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
				 errhint("Like '[{\"type\": \"Placed\", \"data\": {}}]'.")));
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
	PG_RETURN_ARRAYTYPE_P(construct_array(positions, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL,
										  TYPALIGN_DOUBLE));
}
