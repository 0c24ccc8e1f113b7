/*
 * log.c
 *		An event log as a backend knows it, and functions that need no further lookup.
 *
 * log_build.c fills a PmLog, log_cache.c keeps it, and log_open.c finds and
 * locks it.
 */
#include "pm.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/argument.h"
#include "base/identifier.h"
#include "log/log.h"

const LogColumn log_columns[EVENT_ATTRIBUTES + 1] = {
	[EVENT_POSITION] = {"position", INT8OID, true},
	[EVENT_STREAM] = {"stream", TEXTOID, true},
	[EVENT_VERSION] = {"version", INT8OID, false},
	[EVENT_TYPE] = {"type", TEXTOID, true},
	[EVENT_DATA] = {"data", JSONBOID, true},
	[EVENT_METADATA] = {"metadata", JSONBOID, true},
	[EVENT_RECORDED_AT] = {"recorded_at", TIMESTAMPTZOID, true},
};

/*
 * The name as SQL would read the name of a table: folded to lower case unless
 * it is quoted, and quoted again where it must be.
 */
char *
log_normalize(const char *name)
{
	List *parts = identifier_values(name);

	return parts == NIL ? NULL : NameListToQuotedString(parts);
}

void
log_note_problem(PmLog *log, const char *problem, const char *hint)
{
	if (log->problem != NULL)
		return;
	log->problem = MemoryContextStrdup(log->context, problem);
	log->hint = hint ? MemoryContextStrdup(log->context, hint) : NULL;
}

void
log_require_whole(PmLog *log)
{
	if (log->problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg_internal("%s", log->problem), log->hint ? errhint("%s", log->hint) : 0));
}

void
log_refuse_types(PmLog *log)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("a column of log \"%s\" is not of the type that it must have", log->name),
			 errhint("Change the column's type back.")));
}

char *
log_arg_name(FunctionCallInfo fcinfo, int arg)
{
	argument_not_null(fcinfo, arg, "log");
	return text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

int64
log_arg_count(FunctionCallInfo fcinfo, int arg)
{
	int32 count;

	if (PG_ARGISNULL(arg))
		return PG_INT64_MAX;
	count = PG_GETARG_INT32(arg);
	if (count < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("max_count must not be negative"), errhint("NULL means all.")));
	return count;
}
