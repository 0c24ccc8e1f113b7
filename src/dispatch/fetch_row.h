/*
 * fetch_row.h
 *		A row of pm.fetch.
 */
#ifndef PM_FETCH_ROW_H
#define PM_FETCH_ROW_H

#include "fmgr.h"

#include "base/key.h"

/* Adds an event or timer to the result.  "number" names it if it is a timer. */
extern void fetch_row(FunctionCallInfo fcinfo, Datum event, int64 number, const Key *key,
					  int attempt, int lane, TimestampTz until);

#endif /* PM_FETCH_ROW_H */
