/*
 * log_scan.h
 *		Scans the table of a log, or one of its partitions, along an index.
 */
#ifndef PM_LOG_SCAN_H
#define PM_LOG_SCAN_H

#include "access/attmap.h"
#include "access/genam.h"
#include "access/skey.h"
#include "executor/tuptable.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

#include "log/attach_read.h"
#include "log/log.h"

/* A scan of one table. */
typedef struct LogScan
{
	PmLog *log;
	Datum name; /* of the log, text */
	Relation rel;
	AttrNumber attnum[EVENT_ATTRIBUTES + 1]; /* of its columns, by EVENT_POSITION and so on */
	Relation index;							 /* NULL: none has been chosen */
	Snapshot snapshot;
	IndexScanDesc scan; /* NULL: not begun */
	TupleTableSlot *slot;
	/* The table of an attached log has rows that are not its events. */
	AttachScan *attached;	   /* NULL: the log is of another kind */
	AttrMap *map;			   /* its expressions are about the columns of the log's table; */
	TupleTableSlot *converted; /* the row with these, if a leaf has them in another order */
	bool passed;			   /* the row in the slot is an event */
	char *error;			   /* why it cannot be made an event */
} LogScan;

/* Is this the index that the caller needs? */
typedef bool (*LogScanFits)(LogScan *scan, Relation index);

/*
 * Begins a scan of an open table, which is the log's table (root) or a leaf of it.  The snapshot
 * stays registered by the caller.
 */
extern void log_scan_begin(LogScan *scan, PmLog *log, Relation root, Relation rel,
						   Snapshot snapshot);
/* Opens an index of the table that fits; false if it has none. */
extern bool log_scan_choose(LogScan *scan, LogScanFits fits);
/* Fits an ascending index of positions. */
extern bool log_scan_of_positions(LogScan *scan, Relation index);
/* Does the table have an index that fits?  Also for a partitioned table. */
extern bool log_scan_has(LogScan *scan, LogScanFits fits);
/* Begins to scan the chosen index with these keys; may be called again. */
extern void log_scan_along(LogScan *scan, ScanKey keys, int nkeys);
/* The same for the positions with after < position <= up_to, or for one position. */
extern void log_scan_between(LogScan *scan, int64 after, int64 up_to);
extern void log_scan_at(LogScan *scan, int64 position);
/* Brings the next row into the slot; false if there is none. */
extern bool log_scan_next(LogScan *scan, ScanDirection direction);
/*
 * The event in the slot.  Sets scan->passed and scan->error; unless the row has passed, only
 * the position of the event is set.
 */
extern void log_scan_event(LogScan *scan, EventFields *event);
/* The position of the row in the slot, and a column of it that is of type bigint. */
extern int64 log_scan_position(LogScan *scan);
extern int64 log_scan_number(LogScan *scan, int attribute, bool *isnull);
/* Raises the error that the row in the slot cannot be made an event. */
COMPAT_NORETURN extern void log_scan_refuse_row(LogScan *scan);
/* Ends the scan; the table stays open. */
extern void log_scan_end(LogScan *scan);

#endif /* PM_LOG_SCAN_H */
