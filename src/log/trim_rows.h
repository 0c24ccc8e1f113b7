/*
 * trim_rows.h
 *		Removes rows about events that pm.trim has deleted.
 */
#ifndef PM_TRIM_ROWS_H
#define PM_TRIM_ROWS_H

#include "base/exec.h"
#include "log/log.h"

/* A private table that has rows about events. */
typedef struct TrimRows
{
	const char *table;
	const char *index; /* on (log, position) */
	AttrNumber log;	   /* the columns, in the table */
	AttrNumber position;
	ExecStatement remove; /* removes rows; arguments: the log, text, and positions, bigint[] */
} TrimRows;

/* Removes the rows of events, up to a position, that are no longer in the log. */
extern void trim_rows(TrimRows *rows, PmLog *log, int64 up_to);

#endif /* PM_TRIM_ROWS_H */
