/*
 * register_args.c
 *		The arguments of pm.register and pm.alter.
 *
 * Both have the same arguments in the same order.  pm.alter has one more, the last one,
 * which names the arguments that get their default again.  Arguments that are wrong
 * whatever the catalogs contain are refused here.
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
#define REGISTER_LEASE		  30 /* default, s */
/* Each lane can have a dispatcher of its own, and there are no more workers than that. */
#define REGISTER_MAX_LANES WORKER_MAX
#define REGISTER_MAX_KEEP  (100 * 12 * 30.0) /* days, as an interval counts them */

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
	[REGISTER_ARG_KEEP_ENDED] = "keep_ended",
	[REGISTER_ARG_JOURNAL] = "journal",
	[REGISTER_ARG_LEASE] = "lease",
	[REGISTER_ARG_CONSUMERS] = "consumers",
	[REGISTER_ARG_CARRY] = "carry",
	[REGISTER_ARGS] = "reset",
};

StaticAssertDecl(lengthof(register_arg_names) == REGISTER_ARGS + 1,
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
						errmsg("invalid process manager name: \"%s\"", name),
						errhint("A name has 1 to %d bytes.", NAMEDATALEN - 1)));
}

static void
register_args_check_on_failure(const char *on_failure)
{
	if (strcmp(on_failure, "park") != 0 && strcmp(on_failure, "halt") != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid on_failure: \"%s\"", on_failure),
						errhint("Use 'park' or 'halt'.")));
}

static Datum
register_args_types(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(REGISTER_ARG_TYPES))
		return (Datum) 0;
	if (register_args_names(fcinfo, REGISTER_ARG_TYPES) == NIL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("types must not be empty"),
						errhint("Name at least one type of events, or omit types to handle all.")));
	return PG_GETARG_DATUM(REGISTER_ARG_TYPES);
}

static List *
register_args_logs(FunctionCallInfo fcinfo)
{
	List *logs = register_args_names(fcinfo, REGISTER_ARG_LOGS);

	if (logs == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a process manager must follow a log"), errhint("Name one in logs.")));
	return logs;
}

static char *
register_args_start_at(FunctionCallInfo fcinfo)
{
	char *start_at = register_args_text_or_null(fcinfo, REGISTER_ARG_START_AT);

	if (start_at != NULL)
		start_at_check(start_at);
	return start_at;
}

/*
 * For how long ended instances and journals are kept.  Months and days are allowed:
 * the exact hour does not matter after a year.
 */
static Interval *
register_args_keep_ended(FunctionCallInfo fcinfo)
{
	Interval *keep;
	double days;

	if (REGISTER_ARG_KEEP_ENDED >= PG_NARGS() || PG_ARGISNULL(REGISTER_ARG_KEEP_ENDED))
		return NULL;
	keep = PG_GETARG_INTERVAL_P(REGISTER_ARG_KEEP_ENDED);
	days = keep->month * (double) DAYS_PER_MONTH + keep->day + keep->time / (double) USECS_PER_DAY;
	/* An infinite interval has the greatest possible value in each field. */
	if (days < 0 || days > REGISTER_MAX_KEEP)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s must be between 0 and 100 years",
							   register_arg_names[REGISTER_ARG_KEEP_ENDED])));
	return keep;
}

/*
 * Version 0.1.0 of the extension has no such argument.
 */
static bool
register_args_journal(FunctionCallInfo fcinfo)
{
	if (REGISTER_ARG_JOURNAL >= PG_NARGS())
		return false;
	register_args_require(fcinfo, REGISTER_ARG_JOURNAL);
	return PG_GETARG_BOOL(REGISTER_ARG_JOURNAL);
}

static Interval *
register_args_seconds(int seconds)
{
	Interval *interval = palloc0(sizeof(Interval));

	interval->time = seconds * USECS_PER_SEC;
	return interval;
}

/*
 * Version 0.1.0 of the extension has no consumers.
 */
static Interval *
register_args_lease(FunctionCallInfo fcinfo)
{
	return REGISTER_ARG_LEASE >= PG_NARGS() ?
			   register_args_seconds(REGISTER_LEASE) :
			   register_args_interval(fcinfo, REGISTER_ARG_LEASE, false);
}

static List *
register_args_consumers(FunctionCallInfo fcinfo)
{
	if (REGISTER_ARG_CONSUMERS >= PG_NARGS() || PG_ARGISNULL(REGISTER_ARG_CONSUMERS))
		return NIL;
	return register_args_names(fcinfo, REGISTER_ARG_CONSUMERS);
}

/*
 * The keys of metadata that are passed on.
 */
static Datum
register_args_carry(FunctionCallInfo fcinfo)
{
	if (REGISTER_ARG_CARRY >= PG_NARGS() || PG_ARGISNULL(REGISTER_ARG_CARRY) ||
		register_args_names(fcinfo, REGISTER_ARG_CARRY) == NIL)
		return (Datum) 0;
	return PG_GETARG_DATUM(REGISTER_ARG_CARRY);
}

/* ---------- all of them ---------- */

/*
 * Reads one argument.
 */
static void
register_args_read_one(FunctionCallInfo fcinfo, RegisterArgs *args, RegisterArg arg)
{
	switch (arg)
	{
		case REGISTER_ARG_NAME:
			args->name = register_args_text(fcinfo, arg);
			break;
		case REGISTER_ARG_HANDLER:
			args->handler = register_args_text_or_null(fcinfo, arg);
			break;
		case REGISTER_ARG_LOGS:
			args->logs = register_args_logs(fcinfo);
			break;
		case REGISTER_ARG_CORRELATE:
			args->correlate = register_args_text_or_null(fcinfo, arg);
			break;
		case REGISTER_ARG_TYPES:
			args->types = register_args_types(fcinfo);
			break;
		case REGISTER_ARG_START_AT:
			args->start_at = register_args_start_at(fcinfo);
			break;
		case REGISTER_ARG_ON_FAILURE:
			args->on_failure = register_args_text(fcinfo, arg);
			register_args_check_on_failure(args->on_failure);
			break;
		case REGISTER_ARG_MAX_ATTEMPTS:
			args->max_attempts = register_args_int(fcinfo, arg, 1, REGISTER_MAX_ATTEMPTS);
			break;
		case REGISTER_ARG_BACKOFF:
			args->backoff = register_args_interval(fcinfo, arg, true);
			break;
		case REGISTER_ARG_HANDLER_TIMEOUT:
			args->handler_timeout = register_args_interval(fcinfo, arg, false);
			break;
		case REGISTER_ARG_BATCH_SIZE:
			args->batch_size = register_args_int(fcinfo, arg, 1, REGISTER_MAX_BATCH);
			break;
		case REGISTER_ARG_LANES:
			args->lanes = register_args_int(fcinfo, arg, 1, REGISTER_MAX_LANES);
			break;
		case REGISTER_ARG_PARK_LIMIT:
			args->park_limit = register_args_int(fcinfo, arg, 1, PG_INT32_MAX);
			break;
		case REGISTER_ARG_KEEP_ENDED:
			args->keep_ended = register_args_keep_ended(fcinfo);
			break;
		case REGISTER_ARG_JOURNAL:
			args->journal = register_args_journal(fcinfo);
			break;
		case REGISTER_ARG_LEASE:
			args->lease = register_args_lease(fcinfo);
			break;
		case REGISTER_ARG_CONSUMERS:
			args->consumers = register_args_consumers(fcinfo);
			break;
		case REGISTER_ARG_CARRY:
			args->carry = register_args_carry(fcinfo);
			break;
		case REGISTER_ARGS:
			break;
	}
	args->given |= 1u << arg;
}

void
register_args_read(FunctionCallInfo fcinfo, RegisterArgs *args)
{
	/* First refuse NULL for the arguments that have no default. */
	register_args_require(fcinfo, REGISTER_ARG_NAME);
	register_args_require(fcinfo, REGISTER_ARG_LOGS);
	register_args_check_name(register_args_text(fcinfo, REGISTER_ARG_NAME));
	for (RegisterArg arg = 0; arg < REGISTER_ARGS; arg++)
		register_args_read_one(fcinfo, args, arg);
}

bool
register_args_has(const RegisterArgs *args, RegisterArg arg)
{
	return (args->given & (1u << arg)) != 0;
}

/* ---------- pm.alter ---------- */

/*
 * Sets an argument to the default that it has in CREATE FUNCTION pm.register.  False if
 * it has none.
 */
static bool
register_args_default(RegisterArgs *args, RegisterArg arg)
{
	switch (arg)
	{
		case REGISTER_ARG_CORRELATE:
			args->correlate = NULL;
			break;
		case REGISTER_ARG_TYPES:
			args->types = (Datum) 0;
			break;
		case REGISTER_ARG_ON_FAILURE:
			args->on_failure = pstrdup("park");
			break;
		case REGISTER_ARG_MAX_ATTEMPTS:
			args->max_attempts = 5;
			break;
		case REGISTER_ARG_BACKOFF:
			args->backoff = register_args_seconds(1);
			break;
		case REGISTER_ARG_HANDLER_TIMEOUT:
			args->handler_timeout = register_args_seconds(10);
			break;
		case REGISTER_ARG_BATCH_SIZE:
			args->batch_size = 100;
			break;
		case REGISTER_ARG_LANES:
			args->lanes = 1;
			break;
		case REGISTER_ARG_PARK_LIMIT:
			args->park_limit = 1000;
			break;
		case REGISTER_ARG_KEEP_ENDED:
			args->keep_ended = NULL;
			break;
		case REGISTER_ARG_JOURNAL:
			args->journal = false;
			break;
		case REGISTER_ARG_LEASE:
			args->lease = register_args_seconds(REGISTER_LEASE);
			break;
		case REGISTER_ARG_CONSUMERS:
			args->consumers = NIL;
			break;
		case REGISTER_ARG_CARRY:
			args->carry = (Datum) 0;
			break;
		default:
			/* start_at is not a setting: it is only used when a log is added. */
			return false;
	}
	args->given |= 1u << arg;
	return true;
}

/*
 * Sets the argument of this name to its default.
 */
static void
register_args_reset(RegisterArgs *args, const char *name)
{
	RegisterArg arg = 0;

	while (arg < REGISTER_ARGS && strcmp(register_arg_names[arg], name) != 0)
		arg++;
	if (arg < REGISTER_ARGS && register_args_has(args, arg))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s is both given and named in reset", name)));
	if (!register_args_default(args, arg))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("cannot reset \"%s\"", name),
				 errhint("Name arguments of pm.register that are settings and have a default, "
						 "such as types or max_attempts.")));
}

void
register_args_read_changes(FunctionCallInfo fcinfo, RegisterArgs *args)
{
	ListCell *lc;

	register_args_require(fcinfo, REGISTER_ARG_NAME);
	for (RegisterArg arg = 0; arg < REGISTER_ARGS; arg++)
		if (!PG_ARGISNULL(arg))
			register_args_read_one(fcinfo, args, arg);
	/* The argument after these is "reset". */
	if (PG_ARGISNULL(REGISTER_ARGS))
		return;
	foreach(lc, register_args_names(fcinfo, REGISTER_ARGS))
		register_args_reset(args, lfirst(lc));
}
