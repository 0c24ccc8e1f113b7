/*
 * log_read.h
 *		Events of a log by something else than their position.
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
	Oid collation; /* of the column */
} LogTypes;

extern void log_types_begin(LogTypes *types, PmLog *log, Datum array);
extern bool log_types_have(const LogTypes *types, const EventFields *event);
extern void log_read_stream(PmLog *log, Datum stream, int64 after, int64 max_count,
							LogIndexTake take, void *arg);
extern void log_read_ends(PmLog *log, Datum *streams, Datum *versions, int count, bool *goes_on);
extern bool log_read_containing(PmLog *log, List *notes, LogIndexTake take, void *arg);

#endif /* PM_LOG_READ_H */
