/*
 * log_index_ask.c
 *		Answers questions about a log's events, along the index of their positions.
 *
 * The head of log_index.c says how, and what the caller must have done.
 */
#include "pm.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "log/attached.h"
#include "log/log_index.h"
#include "log/log_index_ask.h"

/* How many rows of an attached log are looked at to find its next event, for a view. */
#define LOG_INDEX_ROWS 1000

/*
 * Is it a primary key of the positions?  Then it has the type and the order that
 * log_scan_of_positions() asks for.  This is found without opening the index.
 */
static bool
log_index_is_primary(PmLog *log, Oid index)
{
	HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	Form_pg_index form;
	bool fits;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_index) GETSTRUCT(tuple);
	fits = form->indisprimary && form->indisvalid && !form->indcheckxmin &&
		   form->indkey.values[0] == log->attnum[EVENT_POSITION] &&
		   heap_attisnull(tuple, Anum_pg_index_indpred, NULL);
	ReleaseSysCache(tuple);
	if (!fits)
		return false;
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(index));
	fits = HeapTupleIsValid(tuple) && ((Form_pg_class) GETSTRUCT(tuple))->relam == BTREE_AM_OID;
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return fits;
}

static bool
log_index_has_primary(PmLog *log)
{
	Relation rel = table_open(log->relid, NoLock);
	bool has = false;
	List *indexes = RelationGetIndexList(rel);
	ListCell *lc;

	foreach(lc, indexes)
		has = has || log_index_is_primary(log, lfirst_oid(lc));
	list_free(indexes);
	table_close(rel, NoLock);
	return has;
}

bool
log_index_exists(PmLog *log)
{
	LogIndexScan scan;
	bool exists;

	/* Thousands of logs may be looked at, and nearly all have this one. */
	if (log->indexed || log_index_has_primary(log))
		return true;
	exists = log_index_begin_positions(&scan, log, 0, 0);
	if (exists)
		log_index_end(&scan);
	return exists;
}

bool
log_index_has(PmLog *log, int64 position)
{
	LogIndexScan scan;
	bool found;

	if (!log_index_begin_positions(&scan, log, Max(position, PG_INT64_MIN + 1) - 1, position))
		log_index_refuse(log);
	found = log_index_next(&scan, ForwardScanDirection);
	log_index_end(&scan);
	return found;
}

/*
 * When the first event of an attached log was recorded.  Looks at a limited number of rows.
 */
static bool
log_index_first_attached(LogIndexScan *scan, TimestampTz *recorded_at)
{
	EventFields event;

	for (int i = 0; i < LOG_INDEX_ROWS && log_index_next(scan, ForwardScanDirection); i++)
	{
		log_index_event(scan, &event);
		if (!scan->passed)
			continue;
		*recorded_at = DatumGetTimestampTz(event.values[EVENT_RECORDED_AT - 1]);
		return !event.nulls[EVENT_RECORDED_AT - 1];
	}
	return false;
}

bool
log_index_first(PmLog *log, int64 after, TimestampTz *recorded_at)
{
	LogIndexScan scan;
	bool isnull = true;

	if (!log_index_begin_look(&scan, log, after, PG_INT64_MAX))
		return false;
	if (log->kind == LOG_ATTACHED)
		isnull = !log_index_first_attached(&scan, recorded_at);
	else if (log_index_next(&scan, ForwardScanDirection))
		*recorded_at = log_scan_number(scan.at, EVENT_RECORDED_AT, &isnull);
	log_index_end(&scan);
	return !isnull;
}

/*
 * Is the row in the slot an event?  One that cannot be made an event counts, since readers
 * wait for it.
 */
static bool
log_index_counts(LogIndexScan *scan)
{
	EventFields event;

	if (scan->log->kind != LOG_ATTACHED || scan->log->attached->filter == NULL)
		return true;
	log_index_event(scan, &event);
	return scan->passed || scan->error != NULL;
}

int
log_index_count(PmLog *log, int64 after, int most)
{
	LogIndexScan scan;
	int count = 0;

	if (!log_index_begin_look(&scan, log, after, PG_INT64_MAX))
		return -1;
	for (int i = 0; i < most && log_index_next(&scan, ForwardScanDirection); i++)
		if (log_index_counts(&scan))
			count++;
	if (log_index_locked(&scan))
		count = -1;
	log_index_end(&scan);
	return count;
}

bool
log_index_last(PmLog *log, int64 after, int64 *position, bool *known)
{
	LogIndexScan scan;
	bool found;
	bool begun = log_index_begin_positions(&scan, log, after, PG_INT64_MAX);

	if (known != NULL)
		*known = begun;
	else if (!begun)
		log_index_refuse(log);
	if (!begun)
		return false;
	found = log_index_next(&scan, BackwardScanDirection);
	if (found)
		*position = log_index_position(&scan);
	log_index_end(&scan);
	return found;
}

/*
 * When the event in the slot was recorded; false if there is none, or that is not known.
 */
static bool
log_index_time(LogIndexScan *scan, TimestampTz *recorded_at)
{
	EventFields event;
	bool isnull;

	if (scan->log->kind != LOG_ATTACHED)
		*recorded_at = log_scan_number(scan->at, EVENT_RECORDED_AT, &isnull);
	else
	{
		log_index_event(scan, &event);
		if (scan->error != NULL)
			log_index_refuse_row(scan);
		isnull = !scan->passed || event.nulls[EVENT_RECORDED_AT - 1];
		*recorded_at = isnull ? 0 : DatumGetTimestampTz(event.values[EVENT_RECORDED_AT - 1]);
	}
	return !isnull;
}

/*
 * Reads the log from its start, because positions need not be in the order of
 * time.
 */
bool
log_index_since(PmLog *log, TimestampTz since, int64 *position)
{
	LogIndexScan scan;
	bool found = false;

	if (!log_index_begin_positions(&scan, log, PG_INT64_MIN, PG_INT64_MAX))
		log_index_refuse(log);
	while (!found && log_index_next(&scan, ForwardScanDirection))
	{
		TimestampTz recorded_at;

		found = log_index_time(&scan, &recorded_at) && recorded_at >= since;
		if (found)
			*position = log_index_position(&scan);
	}
	log_index_end(&scan);
	return found;
}
