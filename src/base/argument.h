/*
 * argument.h
 *		Arguments of the C functions behind SQL.
 */
#ifndef PM_ARGUMENT_H
#define PM_ARGUMENT_H

#include "fmgr.h"

/* Refuses NULL for an argument, which counts from 0 and has this name in SQL. */
extern void argument_not_null(FunctionCallInfo fcinfo, int arg, const char *name);

#endif /* PM_ARGUMENT_H */
