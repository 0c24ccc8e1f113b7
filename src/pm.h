/*
 * pm.h
 *		What every file of pm shares.
 *
 * Words: see doc/ and README.md.  Calls go down: processes -> dispatch -> the
 * concepts (log, highwater, cursor, handler, ...) -> exec.
 */
#ifndef PM_H
#define PM_H

#include "postgres.h"

#include "compat.h"
#include "fmgr.h"

/* The version of the library; the installed SQL version must be the same. */
#define PM_VERSION "0.1.0"

/* SQLSTATEs of our own. */
#define ERRCODE_PM_VERSION_CONFLICT MAKE_SQLSTATE('P', 'M', '0', '0', '1')

#endif /* PM_H */
