/*
 * log_index.h
 *		Reads a log's events along an index, without a query.
 */
#ifndef PM_LOG_INDEX_H
#define PM_LOG_INDEX_H

#include "utils/timestamp.h"

#include "log/log_scan.h"
#include "log/partition_read.h"

/* Takes an event, whose values are valid until the next; returns false to stop reading. */
typedef bool (*LogIndexTake)(void *arg, EventFields *event);

/* A scan of a log's events. */
typedef struct LogIndexScan
{
	PmLog *log;
	Relation root; /* the log's table */
	Snapshot snapshot;
	LogScan *at;		 /* the scan that is at the current event */
	LogScan one;		 /* of the table; */
	PartitionRead parts; /* or, if it is partitioned, of its leaves */
	bool passed;		 /* the row is an event; in the table of an attached log there are others */
	char *error;		 /* why it cannot be made an event */
} LogIndexScan;

/*
 * Begins a scan of the events with after < position <= up_to.  Returns false, and
 * begins nothing, if the log has no index of its positions.
 */
extern bool log_index_begin_positions(LogIndexScan *scan, PmLog *log, int64 after, int64 up_to);
/* The same, for a view: does not wait for leaves that are locked. */
extern bool log_index_begin_look(LogIndexScan *scan, PmLog *log, int64 after, int64 up_to);
/*
 * Has the scan ended, or not found an event, because a leaf is locked?  Only if the caller does not
 * wait.  Then nothing is known of that leaf, and of what comes after it.
 */
extern bool log_index_locked(LogIndexScan *scan);
/* Finds the next row; false if there is none. */
extern bool log_index_next(LogIndexScan *scan, ScanDirection direction);
/* The position of the row that was found. */
extern int64 log_index_position(LogIndexScan *scan);
/*
 * The event that was found.  Sets scan->passed and scan->error; unless the row has passed, only
 * the position of the event is set.
 */
extern void log_index_event(LogIndexScan *scan, EventFields *event);
extern void log_index_end(LogIndexScan *scan);

/* Raises the error that the log has no index of its positions. */
COMPAT_NORETURN extern void log_index_refuse(PmLog *log);
/* Raises the error that a row cannot be made an event. */
COMPAT_NORETURN extern void log_index_refuse_row(LogIndexScan *scan);
/* log_index_begin_positions() for a reader: libraries that audit queries are told. */
extern bool log_index_begin_events(LogIndexScan *scan, PmLog *log, int64 after, int64 up_to,
								   bool wait);
/*
 * The next row as an event, whose values are valid until the one after it; false if there is
 * none, or if it cannot be made an event (scan->error).  Use it only if scan->passed is set.
 */
extern bool log_index_next_event(LogIndexScan *scan, EventFields *event);
/* Begins to look events up by their positions.  False if the log has no index of these. */
extern bool log_index_begin_lookups(LogIndexScan *scan, PmLog *log, bool wait);
/*
 * The event at a position, whose values are valid until the next; false if there is none, or
 * if its row cannot be made an event (scan->error).
 */
extern bool log_index_look_up(LogIndexScan *scan, int64 position, EventFields *event);
/*
 * Reads the events with after < position <= up_to in their order, at most
 * max_count.  False if the log has no index of its positions.  The second function leaves
 * out rows that cannot be made events, which are an error in the first one.
 */
extern bool log_index_read(PmLog *log, int64 after, int64 up_to, int64 max_count, LogIndexTake take,
						   void *arg);
extern bool log_index_read_sound(PmLog *log, int64 after, int64 up_to, int64 max_count,
								 LogIndexTake take, void *arg);

#endif /* PM_LOG_INDEX_H */
