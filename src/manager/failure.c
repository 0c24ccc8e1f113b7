/*
 * failure.c
 *		What a failure says of itself: whether, and when, to try again.
 *
 * Most errors say nothing, and are retried with the delays of the process manager's
 * policy.  An error with SQLSTATE PM003 is permanent: a retry cannot succeed, and the
 * error does not show that the handler is broken.  pm.defer() raises an error with
 * PM004: the event is handled again at the given time, and has not failed.
 *
 * The time until which the event is deferred is kept here, and not in the error,
 * because a handler can raise an error with any text.  An error with PM004 that was
 * raised without pm.defer() in the same call is an ordinary failure.
 */
#include "pm.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "base/argument.h"
#include "base/within.h"
#include "manager/failure.h"

PG_FUNCTION_INFO_V1(pm_fail_permanently);
PG_FUNCTION_INFO_V1(pm_defer);

/* Set by the call that runs or ran last; DT_NOBEGIN: that call has not called pm.defer. */
static TimestampTz deferred_until = DT_NOBEGIN;

void
failure_begin(void)
{
	deferred_until = DT_NOBEGIN;
}

Failure
failure_of(const ErrorData *error)
{
	Failure failure = {FAILURE_ORDINARY, 0};

	if (error->sqlerrcode == ERRCODE_PM_PERMANENT)
		failure.kind = FAILURE_PERMANENT;
	else if (error->sqlerrcode == ERRCODE_PM_DEFERRED && !TIMESTAMP_IS_NOBEGIN(deferred_until))
	{
		failure.kind = FAILURE_DEFERRED;
		failure.until = deferred_until;
	}
	return failure;
}

/*
 * The message of the error: the reason that the handler gives.
 */
static char *
failure_reason(FunctionCallInfo fcinfo, int arg, const char *otherwise)
{
	return PG_ARGISNULL(arg) ? pstrdup(otherwise) : text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

/*
 * pm.fail_permanently(reason)
 */
Datum
pm_fail_permanently(PG_FUNCTION_ARGS)
{
	ereport(ERROR, (errcode(ERRCODE_PM_PERMANENT),
					errmsg("%s", failure_reason(fcinfo, 0, "the handler has failed permanently"))));
	PG_RETURN_NULL();
}

/*
 * When a deferral ends.
 */
static TimestampTz
failure_until(FunctionCallInfo fcinfo)
{
	TimestampTz now = within_time();
	TimestampTz until;

	argument_not_null(fcinfo, 0, "again_in");
	until = DatumGetTimestampTz(
		DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(now), PG_GETARG_DATUM(0)));
	if (TIMESTAMP_NOT_FINITE(until))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("again_in must be finite"),
						errhint("To give the event up, call pm.fail_permanently.")));
	if (until <= now)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("again_in must be greater than zero")));
	return until;
}

/*
 * pm.defer(again_in, reason)
 *
 * Outside of a batch, this only raises the error, so that a test can call a handler as
 * a function.
 */
Datum
pm_defer(PG_FUNCTION_ARGS)
{
	TimestampTz until = failure_until(fcinfo);

	/* Code of other roles may run in a restricted operation: it is not the handler. */
	if (within_handler() && !InSecurityRestrictedOperation())
		deferred_until = until;
	ereport(ERROR, (errcode(ERRCODE_PM_DEFERRED),
					errmsg("%s", failure_reason(fcinfo, 1, "the handler has deferred the event"))));
	PG_RETURN_NULL();
}
