/*
 * register_args.c
 *		The arguments of pm.register.
 *
 * Arguments that are wrong whatever the catalogs contain are refused here.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/argument.h"
#include "manager/register_args.h"
#include "manager/start_at.h"
#include "shmem/worker_kind.h"

#define REGISTER_MAX_ATTEMPTS 1000000
#define REGISTER_MAX_BATCH	  100000
/* Each lane can have a dispatcher of its own, and there are no more workers than that. */
#define REGISTER_MAX_LANES WORKER_MAX

/* The arguments, in the order in which CREATE FUNCTION pm.register has them. */
enum
{
	REGISTER_ARG_NAME,
	REGISTER_ARG_HANDLER,
	REGISTER_ARG_LOGS,
	REGISTER_ARG_CORRELATE,
	REGISTER_ARG_TYPES,
	REGISTER_ARG_START_AT,
	REGISTER_ARG_ON_FAILURE,
	REGISTER_ARG_MAX_ATTEMPTS,
	REGISTER_ARG_BACKOFF,
	REGISTER_ARG_HANDLER_TIMEOUT,
	REGISTER_ARG_BATCH_SIZE,
	REGISTER_ARG_LANES,
	REGISTER_ARG_PARK_LIMIT,
	REGISTER_ARGS
};

static const char *const register_arg_names[] = {
	[REGISTER_ARG_NAME] = "name",
	[REGISTER_ARG_HANDLER] = "handler",
	[REGISTER_ARG_LOGS] = "logs",
	[REGISTER_ARG_CORRELATE] = "correlate",
	[REGISTER_ARG_TYPES] = "types",
	[REGISTER_ARG_START_AT] = "start_at",
	[REGISTER_ARG_ON_FAILURE] = "on_failure",
	[REGISTER_ARG_MAX_ATTEMPTS] = "max_attempts",
	[REGISTER_ARG_BACKOFF] = "backoff",
	[REGISTER_ARG_HANDLER_TIMEOUT] = "handler_timeout",
	[REGISTER_ARG_BATCH_SIZE] = "batch_size",
	[REGISTER_ARG_LANES] = "lanes",
	[REGISTER_ARG_PARK_LIMIT] = "park_limit",
};

StaticAssertDecl(lengthof(register_arg_names) == REGISTER_ARGS,
				 "register_arg_names[] must have all arguments");

/* ---------- values by their types ---------- */

static void
register_args_require(FunctionCallInfo fcinfo, int arg)
{
	argument_not_null(fcinfo, arg, register_arg_names[arg]);
}

static char *
register_args_text(FunctionCallInfo fcinfo, int arg)
{
	register_args_require(fcinfo, arg);
	return text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

static char *
register_args_text_or_null(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

static int
register_args_int(FunctionCallInfo fcinfo, int arg, int min, int max)
{
	int value;

	register_args_require(fcinfo, arg);
	value = PG_GETARG_INT32(arg);
	if (value < min || value > max)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s must be between %d and %d", register_arg_names[arg], min, max)));
	return value;
}

/*
 * An interval of at most 24 hours, all of it in its time field: months and days
 * have no fixed length.
 */
static Interval *
register_args_interval(FunctionCallInfo fcinfo, int arg, bool zero_ok)
{
	Interval *interval;
	int64 us;

	register_args_require(fcinfo, arg);
	interval = PG_GETARG_INTERVAL_P(arg);
	us = interval->time;
	if (interval->month == 0 && interval->day == 0 && us <= USECS_PER_DAY &&
		(us >= 1000 || (us == 0 && zero_ok)))
		return interval;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 zero_ok ? errmsg("%s must be between 0 and 24 hours", register_arg_names[arg]) :
					   errmsg("%s must be between 1 ms and 24 hours", register_arg_names[arg])));
}

/*
 * The names in a text[] argument, without nulls.
 */
static List *
register_args_names(FunctionCallInfo fcinfo, int arg)
{
	Datum *elements;
	bool *nulls;
	int count;
	List *names = NIL;

	register_args_require(fcinfo, arg);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(arg), TEXTOID, -1, false, TYPALIGN_INT, &elements,
					  &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
							errmsg("%s must not contain nulls", register_arg_names[arg])));
		names = lappend(names, TextDatumGetCString(elements[i]));
	}
	return names;
}

/* ---------- values by their meaning ---------- */

/*
 * A name that a type can have too (shell_type.c).
 */
static void
register_args_check_name(const char *name)
{
	if (*name == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR, (errcode(ERRCODE_INVALID_NAME),
						errmsg("invalid name of a process manager: \"%s\"", name),
						errhint("A name has 1 to %d bytes.", NAMEDATALEN - 1)));
}

static void
register_args_check_on_failure(const char *on_failure)
{
	if (strcmp(on_failure, "park") != 0 && strcmp(on_failure, "halt") != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid on_failure: \"%s\"", on_failure),
						errhint("Give 'park' or 'halt'.")));
}

static Datum
register_args_types(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(REGISTER_ARG_TYPES))
		return (Datum) 0;
	if (register_args_names(fcinfo, REGISTER_ARG_TYPES) == NIL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("types must not be empty"),
						errhint("Name a type of events, or leave types out to handle all.")));
	return PG_GETARG_DATUM(REGISTER_ARG_TYPES);
}

/*
 * Reads the arguments.
 */
void
register_args_read(FunctionCallInfo fcinfo, RegisterArgs *args)
{
	/* First read the arguments that have no default. */
	args->name = register_args_text(fcinfo, REGISTER_ARG_NAME);
	args->handler = register_args_text(fcinfo, REGISTER_ARG_HANDLER);
	register_args_require(fcinfo, REGISTER_ARG_LOGS);

	register_args_check_name(args->name);
	args->logs = register_args_names(fcinfo, REGISTER_ARG_LOGS);
	if (args->logs == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a process manager must follow a log"), errhint("Name one in logs.")));
	args->correlate = register_args_text_or_null(fcinfo, REGISTER_ARG_CORRELATE);
	args->types = register_args_types(fcinfo);
	args->start_at = register_args_text_or_null(fcinfo, REGISTER_ARG_START_AT);
	if (args->start_at != NULL)
		start_at_check(args->start_at);
	args->on_failure = register_args_text(fcinfo, REGISTER_ARG_ON_FAILURE);
	register_args_check_on_failure(args->on_failure);
	args->max_attempts = register_args_int(fcinfo, REGISTER_ARG_MAX_ATTEMPTS, 1,
										   REGISTER_MAX_ATTEMPTS);
	args->backoff = register_args_interval(fcinfo, REGISTER_ARG_BACKOFF, true);
	args->handler_timeout = register_args_interval(fcinfo, REGISTER_ARG_HANDLER_TIMEOUT, false);
	args->batch_size = register_args_int(fcinfo, REGISTER_ARG_BATCH_SIZE, 1, REGISTER_MAX_BATCH);
	args->lanes = register_args_int(fcinfo, REGISTER_ARG_LANES, 1, REGISTER_MAX_LANES);
	args->park_limit = register_args_int(fcinfo, REGISTER_ARG_PARK_LIMIT, 1, PG_INT32_MAX);
}
