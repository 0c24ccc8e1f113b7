/*
 * argument.h
 *		Checks arguments of the C functions that SQL calls.
 */
#ifndef PM_ARGUMENT_H
#define PM_ARGUMENT_H

#include "fmgr.h"

/* Raises an error if an argument is NULL.  Arguments count from 0; "name" is its name in SQL. */
extern void argument_not_null(FunctionCallInfo fcinfo, int arg, const char *name);

#endif /* PM_ARGUMENT_H */
