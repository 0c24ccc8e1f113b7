/*
 * log_index.h
 *		Reads a log's events along an index, without a query.
 */
#ifndef PM_LOG_INDEX_H
#define PM_LOG_INDEX_H

#include "access/genam.h"
#include "access/skey.h"
#include "utils/snapshot.h"
#include "utils/timestamp.h"

#include "log/log.h"

/* Takes an event, whose values are valid until the next; returns false to stop reading. */
typedef bool (*LogIndexTake)(void *arg, EventFields *event);

/* A scan of a log's events. */
typedef struct LogIndexScan
{
	PmLog *log;
	Datum name; /* of the log, text */
	Relation rel;
	Relation index; /* NULL: none has been chosen */
	Snapshot snapshot;
	IndexScanDesc scan; /* NULL: not begun */
	TupleTableSlot *slot;
} LogIndexScan;

/* Is this the index that the caller needs? */
typedef bool (*LogIndexFits)(LogIndexScan *scan, Relation index);

extern void log_index_begin(LogIndexScan *scan, PmLog *log);
/* Opens an index of the log that fits; false if it has none. */
extern bool log_index_choose(LogIndexScan *scan, LogIndexFits fits);
/* Fits an ascending index of positions. */
extern bool log_index_of_positions(LogIndexScan *scan, Relation index);
/* Begins to scan the chosen index with these keys; may be called again. */
extern void log_index_along(LogIndexScan *scan, ScanKey keys, int nkeys);
/*
 * Begins a scan of the events with after < position <= up_to.  Returns false, and
 * begins nothing, if the log has no index of its positions.
 */
extern bool log_index_begin_positions(LogIndexScan *scan, PmLog *log, int64 after, int64 up_to);
/* Brings the next event into the slot; false if there is none. */
extern bool log_index_next(LogIndexScan *scan, ScanDirection direction);
/* The event in the slot. */
extern void log_index_event(LogIndexScan *scan, EventFields *event);
extern void log_index_end(LogIndexScan *scan);

/* Raises the error that the log has no index of its positions. */
COMPAT_NORETURN extern void log_index_refuse(PmLog *log);
/* Does the log have an index of its positions? */
extern bool log_index_exists(PmLog *log);
/* Does the log have an event at this position? */
extern bool log_index_has(PmLog *log, int64 position);
/* When the first event after a position was recorded; false if there is none. */
extern bool log_index_first(PmLog *log, int64 after, TimestampTz *recorded_at);
/* How many events there are after a position, at most "most"; -1 if the log has no index. */
extern int log_index_count(PmLog *log, int64 after, int most);
/*
 * The position of the last event, if it is after this one; else false.  *known is
 * false if the log has no index of its positions; that is an error if "known" is
 * NULL.
 */
extern bool log_index_last(PmLog *log, int64 after, int64 *position, bool *known);
/*
 * The position of the first event that was recorded at this time or later; false if
 * there is none.
 */
extern bool log_index_since(PmLog *log, TimestampTz since, int64 *position);
/* log_index_begin_positions() for a reader: libraries that audit queries are told. */
extern bool log_index_begin_events(LogIndexScan *scan, PmLog *log, int64 after, int64 up_to);
/* The next event, whose values are valid until the one after it; false if there is none. */
extern bool log_index_next_event(LogIndexScan *scan, EventFields *event);
/* Begins to look events up by their positions.  False if the log has no index of these. */
extern bool log_index_begin_lookups(LogIndexScan *scan, PmLog *log);
/* The event at a position, whose values are valid until the next; false if there is none. */
extern bool log_index_look_up(LogIndexScan *scan, int64 position, EventFields *event);
/*
 * Reads the events with after < position <= up_to in their order, at most
 * max_count.  False if the log has no index of its positions.
 */
extern bool log_index_read(PmLog *log, int64 after, int64 up_to, int64 max_count, LogIndexTake take,
						   void *arg);

#endif /* PM_LOG_INDEX_H */
