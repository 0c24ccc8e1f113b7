/*
 * argument.c
 *		Checks arguments of the C functions that SQL calls.
 *
 * Functions with optional arguments cannot be STRICT, so each of them refuses
 * NULL for the arguments that it needs.
 */
#include "pm.h"

#include "base/argument.h"

void
argument_not_null(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be null", name)));
}
