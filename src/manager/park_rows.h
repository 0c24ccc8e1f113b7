/*
 * park_rows.h
 *		The rows of parked events, collected and written at once.
 */
#ifndef PM_PARK_ROWS_H
#define PM_PARK_ROWS_H

#include "datatype/timestamp.h"
#include "utils/elog.h"

#include "manager/registry.h"

/* The next state of an event that is parked, or has failed again. */
typedef struct ParkVerdict
{
	const char *state;
	int attempts;
	int crashes;		  /* attempts during which the server crashed */
	TimestampTz retry_at; /* DT_NOBEGIN: at once; DT_NOEND: not by itself */
} ParkVerdict;

/* Rows of one unit that are not written yet, in the order of their queues. */
typedef struct ParkRows
{
	ProcessManager *pm;
	int lane;
	bool now; /* each row is written at once */
	MemoryContext context;
	List *rows; /* of ParkRow */
	Size bytes;
} ParkRows;

/* Begins with no row, in the current memory context, which must live until all are written. */
extern void park_rows_begin(ParkRows *rows, ProcessManager *pm, int lane);

/* The same, but each row is written as soon as it is added. */
extern ParkRows *park_rows_now(ProcessManager *pm, int lane);

/*
 * Adds the row of an event or timer.  What it needs of the event, the key and the error is
 * copied.
 */
extern void park_rows_add(ParkRows *rows, const char *key, Datum event, int64 too_large,
						  const ParkVerdict *verdict, ErrorData *error);

/* How many rows are there, and should they be written before the end of the batch? */
extern int park_rows_count(const ParkRows *rows);
extern bool park_rows_full(const ParkRows *rows);

/* Writes the rows. */
extern void park_rows_write(ParkRows *rows);

/*
 * Does a row only refer to the event of a log?  In a database with an older extension, the
 * row also has a copy of the event, which the older library and its view need.
 */
extern bool park_rows_refer(void);

#endif /* PM_PARK_ROWS_H */
