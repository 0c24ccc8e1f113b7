/*
 * log_read.h
 *		Reads a log's events by type or by stream.
 */
#ifndef PM_LOG_READ_H
#define PM_LOG_READ_H

#include "nodes/pg_list.h"

#include "log/log_index.h"

/* Some types of events. */
typedef struct LogTypes
{
	Datum *types; /* text */
	int count;
	Oid collation; /* of the log's column, by which they are compared */
} LogTypes;

/* The types in a text[]. */
extern void log_types_begin(LogTypes *types, PmLog *log, Datum array);
/* Is the event's type among them? */
extern bool log_types_have(const LogTypes *types, const EventFields *event);

/*
 * Reads the events of a stream with a version above "after", in the order of
 * versions, at most max_count.  Those without a version come after the others, by
 * position, and only if "after" is 0 or less.
 */
extern void log_read_stream(PmLog *log, Datum stream, int64 after, int64 max_count,
							LogIndexTake take, void *arg);
/* Sets for each stream whether it has events after this version. */
extern void log_read_ends(PmLog *log, Datum *streams, Datum *versions, int count, bool *goes_on);

#endif /* PM_LOG_READ_H */
