/*
 * furthest.c
 *		Finds the furthest cursor in a log.
 *
 * This is looked up when a log's mark is not known (seed.c): the mark is not
 * below the furthest cursor.
 *
 * An open transaction may have moved a cursor over events that it wrote itself.
 * Other transactions must not read up to that cursor.  But if the transaction
 * commits, a reader has read up to the cursor, so no writer may use these
 * positions again, even if the sequence is set back in between.  So there are
 * two functions: furthest_cursor() tells up to where everything is settled, and
 * furthest_moved() tells which positions no writer may use.
 */
#include "pm.h"

#include "access/xact.h"
#include "utils/snapmgr.h"

#include "base/scan.h"
#include "log/furthest.h"

/* Columns of the private tables, in the order in which CREATE TABLE has them. */
enum
{
	LOG_NAME = 1,
	LOG_SOURCE
};
enum
{
	CURSOR_LOG = 2,
	CURSOR_POSITION = 4
};

/*
 * The furthest cursor in the log of that name.  Without a snapshot, positions to
 * which open transactions have moved cursors count too.
 */
static int64
furthest_in(const char *log, Snapshot snapshot)
{
	RowScan scan;
	int64 furthest = 0;

	scan_begin(&scan, "cursor", "cursor_log", AccessShareLock);
	scan_where_text(&scan, CURSOR_LOG, log);
	if (snapshot != NULL)
		scan_use_snapshot(&scan, snapshot);
	else
		scan_use_dirty(&scan);
	while (scan_next(&scan))
		furthest = Max(furthest, DatumGetInt64(scan.values[CURSOR_POSITION - 1]));
	scan_end(&scan);
	return furthest;
}

int64
furthest_cursor(Oid relid, bool own)
{
	Snapshot snapshot;
	RowScan scan;
	int64 furthest = 0;

	/* The latest snapshot, whatever the isolation level, as a copy that can be changed. */
	(void) GetTransactionSnapshot();
	snapshot = RegisterSnapshot(GetLatestSnapshot());

	/*
	 * This transaction may have handled its own events, which are not settled for
	 * others.  So what it has written is left out, unless "own" is set.
	 */
	if (!own)
		snapshot->curcid = FirstCommandId;

	scan_begin(&scan, "log", "log_source", AccessShareLock);
	scan_where_oid(&scan, LOG_SOURCE, relid);
	while (scan_next(&scan))
		furthest = Max(furthest, furthest_in(scan_text(&scan, LOG_NAME), snapshot));
	scan_end(&scan);
	UnregisterSnapshot(snapshot);
	return furthest;
}

int64
furthest_moved(Oid relid)
{
	RowScan scan;
	int64 furthest = 0;

	scan_begin(&scan, "log", "log_source", AccessShareLock);
	scan_where_oid(&scan, LOG_SOURCE, relid);
	while (scan_next(&scan))
		furthest = Max(furthest, furthest_in(scan_text(&scan, LOG_NAME), NULL));
	scan_end(&scan);
	return furthest;
}
