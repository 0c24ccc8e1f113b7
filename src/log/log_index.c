/*
 * log_index.c
 *		Reads a log's events by position, without a query.
 *
 * Every event that pm reads is read here or in log_read.c, along an index of its table or
 * of the leaves of its table (log_scan.c, partition_read.c).
 *
 * The caller has opened the log in this transaction, so its table is locked, and
 * has checked the rights of the reader.  Each function takes a snapshot of its
 * own, so it must be called after highwater_compute().
 */
#include "pm.h"

#include "access/table.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "log/log_audit.h"
#include "log/log_index.h"
#include "log/log_trouble.h"
#include "shmem/crash.h"

/* ---------- a scan ---------- */

/*
 * Opens the log's table, or what is needed to read its leaves.  False if there is no index of
 * positions.
 */
static bool
log_index_begin(LogIndexScan *scan, PmLog *log, int64 after, int64 up_to, bool wait)
{
	bool usable;

	scan->log = log;
	/* log_open() has locked the table. */
	scan->root = table_open(log->relid, NoLock);
	scan->snapshot = RegisterSnapshot(GetTransactionSnapshot());
	scan->at = &scan->one;
	scan->passed = true;
	scan->error = NULL;
	log_scan_begin(&scan->one, log, scan->root, scan->root, scan->snapshot);
	if (log->partitioned)
	{
		/* If this index is valid, every leaf has one. */
		usable = log_scan_has(&scan->one, log_scan_of_positions);
		log_scan_end(&scan->one);
		if (usable)
			partition_read_begin(&scan->parts, log, scan->root, scan->snapshot, after, up_to, wait);
	}
	else
	{
		usable = log_scan_choose(&scan->one, log_scan_of_positions);
		if (!usable)
			log_scan_end(&scan->one);
	}
	if (!usable)
	{
		UnregisterSnapshot(scan->snapshot);
		table_close(scan->root, NoLock);
	}
	return usable;
}

bool
log_index_next(LogIndexScan *scan, ScanDirection direction)
{
	if (!scan->log->partitioned)
		return log_scan_next(&scan->one, direction);
	scan->at = partition_read_next(&scan->parts, direction);
	return scan->at != NULL;
}

void
log_index_event(LogIndexScan *scan, EventFields *event)
{
	log_scan_event(scan->at, event);
	scan->passed = scan->at->passed;
	scan->error = scan->at->error;
}

int64
log_index_position(LogIndexScan *scan)
{
	return log_scan_position(scan->at);
}

void
log_index_end(LogIndexScan *scan)
{
	if (scan->log->partitioned)
		partition_read_end(&scan->parts);
	else
		log_scan_end(&scan->one);
	UnregisterSnapshot(scan->snapshot);
	table_close(scan->root, NoLock);
}

/* ---------- along the positions ---------- */

static bool
log_index_begin_between(LogIndexScan *scan, PmLog *log, int64 after, int64 up_to, bool wait)
{
	if (!log_index_begin(scan, log, after, up_to, wait))
		return false;
	if (!log->partitioned)
		log_scan_between(&scan->one, after, up_to);
	return true;
}

bool
log_index_begin_positions(LogIndexScan *scan, PmLog *log, int64 after, int64 up_to)
{
	return log_index_begin_between(scan, log, after, up_to, true);
}

bool
log_index_begin_look(LogIndexScan *scan, PmLog *log, int64 after, int64 up_to)
{
	return log_index_begin_between(scan, log, after, up_to, false);
}

bool
log_index_locked(LogIndexScan *scan)
{
	return scan->log->partitioned && scan->parts.locked;
}

void
log_index_refuse(PmLog *log)
{
	LogTrouble trouble;

	log_trouble_no_index(&trouble, log);
	log_trouble_raise(&trouble);
}

void
log_index_refuse_row(LogIndexScan *scan)
{
	log_scan_refuse_row(scan->at);
}

bool
log_index_begin_events(LogIndexScan *scan, PmLog *log, int64 after, int64 up_to, bool wait)
{
	if (!log_index_begin_between(scan, log, after, up_to, wait))
		return false;
	log_audit(log, ACL_SELECT);
	return true;
}

bool
log_index_next_event(LogIndexScan *scan, EventFields *event)
{
	if (!log_index_next(scan, ForwardScanDirection))
		return false;
	/* If reading a corrupt event crashes the server, this mark says which one it was. */
	crash_mark_position(log_index_position(scan));
	log_index_event(scan, event);
	return scan->error == NULL;
}

/* ---------- at given positions ---------- */

bool
log_index_begin_lookups(LogIndexScan *scan, PmLog *log, bool wait)
{
	if (!log_index_begin(scan, log, PG_INT64_MIN, PG_INT64_MAX, wait))
		return false;
	log_audit(log, ACL_SELECT);
	return true;
}

bool
log_index_look_up(LogIndexScan *scan, int64 position, EventFields *event)
{
	scan->error = NULL;
	if (scan->log->partitioned)
		scan->at = partition_read_at(&scan->parts, position);
	else
	{
		log_scan_at(&scan->one, position);
		scan->at = log_scan_next(&scan->one, ForwardScanDirection) ? &scan->one : NULL;
	}
	if (scan->at == NULL)
		return false;
	log_index_event(scan, event);
	return scan->passed;
}

/* ---------- all at once ---------- */

static bool
log_index_read_events(PmLog *log, int64 after, int64 up_to, int64 max_count, bool sound,
					  LogIndexTake take, void *arg)
{
	LogIndexScan scan;
	EventFields event;
	int64 count = 0;
	bool more = true;

	if (!log_index_begin_events(&scan, log, after, up_to, true))
		return false;
	while (more && count < max_count && (log_index_next_event(&scan, &event) || scan.error != NULL))
	{
		if (scan.error != NULL && !sound)
			log_index_refuse_row(&scan);
		if (scan.error != NULL)
			pfree(scan.error);
		scan.error = NULL;
		if (!scan.passed)
			continue;
		more = take(arg, &event);
		count++;
	}
	log_index_end(&scan);
	return true;
}

bool
log_index_read(PmLog *log, int64 after, int64 up_to, int64 max_count, LogIndexTake take, void *arg)
{
	return log_index_read_events(log, after, up_to, max_count, false, take, arg);
}

bool
log_index_read_sound(PmLog *log, int64 after, int64 up_to, int64 max_count, LogIndexTake take,
					 void *arg)
{
	return log_index_read_events(log, after, up_to, max_count, true, take, arg);
}
