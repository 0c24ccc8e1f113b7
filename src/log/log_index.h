/*
 * log_index.h
 *		A log's events along an index, without a query.
 */
#ifndef PM_LOG_INDEX_H
#define PM_LOG_INDEX_H

#include "access/genam.h"
#include "access/skey.h"
#include "utils/snapshot.h"
#include "utils/timestamp.h"

#include "log/log.h"

/* Takes an event, whose values live until the next; false ends the reading. */
typedef bool (*LogIndexTake)(void *arg, EventFields *event);

/* A scan of a log's events. */
typedef struct LogIndexScan
{
	PmLog *log;
	Datum name; /* of the log, text */
	Relation rel;
	Relation index; /* NULL: none yet */
	Snapshot snapshot;
	IndexScanDesc scan; /* NULL: none yet */
	TupleTableSlot *slot;
} LogIndexScan;

/* Is it the index that is looked for? */
typedef bool (*LogIndexFits)(LogIndexScan *scan, Relation index);

extern void log_index_begin(LogIndexScan *scan, PmLog *log);
extern bool log_index_choose(LogIndexScan *scan, LogIndexFits fits);
extern bool log_index_of_positions(LogIndexScan *scan, Relation index);
extern bool log_index_begin_positions(LogIndexScan *scan, PmLog *log, int64 after, int64 up_to);
extern void log_index_along(LogIndexScan *scan, ScanKey keys, int nkeys);
extern bool log_index_next(LogIndexScan *scan, ScanDirection direction);
extern void log_index_event(LogIndexScan *scan, EventFields *event);
extern void log_index_end(LogIndexScan *scan);

extern void log_index_refuse(PmLog *log);
extern bool log_index_exists(PmLog *log);
extern bool log_index_first(PmLog *log, int64 after, TimestampTz *recorded_at);
extern bool log_index_last(PmLog *log, int64 after, int64 *position, bool *known);
extern bool log_index_since(PmLog *log, TimestampTz since, int64 *position);
extern bool log_index_begin_events(LogIndexScan *scan, PmLog *log, int64 after, int64 up_to);
extern bool log_index_next_event(LogIndexScan *scan, EventFields *event);
extern bool log_index_read(PmLog *log, int64 after, int64 up_to, int64 max_count, LogIndexTake take,
						   void *arg);

#endif /* PM_LOG_INDEX_H */
