/*
 * furthest.c
 *		How far the furthest cursor in a log is.
 *
 * Asked when shared memory begins to keep a log's mark, which is not below that.
 *
 * A transaction that is prepared may have moved a cursor.  That settles nothing
 * for others, who may not pass what it has written itself.  But once it commits,
 * readers have been there: no writer may use these positions again, if the
 * sequence is set back meanwhile.  So there are two answers.
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
 * The furthest cursor in a log, by its name; without a snapshot, also where
 * transactions have moved cursors to that are not over.
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

/*
 * The furthest cursor in a log, by its table: 0 if nobody follows it.
 *
 * What this transaction has done itself counts only with "own".  It may have
 * handled its own events, which are settled for nobody else.
 */
int64
furthest_cursor(Oid relid, bool own)
{
	Snapshot snapshot;
	RowScan scan;
	int64 furthest = 0;

	/* The latest, whatever the isolation level; a copy, which can be changed. */
	(void) GetTransactionSnapshot();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
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

/*
 * Where a cursor in a log is or may come to be, whoever has moved it.  At least
 * what furthest_cursor() says.
 */
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
