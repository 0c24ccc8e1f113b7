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

#include "log/attach_read.h"
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
	/* The table of an attached log has rows that are not its events. */
	AttachScan *attached; /* NULL: the log is of another kind */
	bool passed;		  /* the row in the slot is an event */
	char *error;		  /* why it cannot be made an event */
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
/* Brings the next row into the slot; false if there is none. */
extern bool log_index_next(LogIndexScan *scan, ScanDirection direction);
/* The position of the row in the slot. */
extern int64 log_index_position(LogIndexScan *scan);
/*
 * The event in the slot.  Sets scan->passed and scan->error; unless the row has passed, only
 * the position of the event is set.
 */
extern void log_index_event(LogIndexScan *scan, EventFields *event);
extern void log_index_end(LogIndexScan *scan);

/* Raises the error that the log has no index of its positions. */
COMPAT_NORETURN extern void log_index_refuse(PmLog *log);
/* Raises the error that a row cannot be made an event. */
COMPAT_NORETURN extern void log_index_refuse_row(LogIndexScan *scan);
/* log_index_begin_positions() for a reader: libraries that audit queries are told. */
extern bool log_index_begin_events(LogIndexScan *scan, PmLog *log, int64 after, int64 up_to);
/*
 * The next row as an event, whose values are valid until the one after it; false if there is
 * none, or if it cannot be made an event (scan->error).  Use it only if scan->passed is set.
 */
extern bool log_index_next_event(LogIndexScan *scan, EventFields *event);
/* Begins to look events up by their positions.  False if the log has no index of these. */
extern bool log_index_begin_lookups(LogIndexScan *scan, PmLog *log);
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
