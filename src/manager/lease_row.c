/*
 * lease_row.c
 *		Reads and writes the rows of a lease without SQL.
 *
 * A lease is a row of pm_catalog.lease, and a row of pm_catalog.fetched for each log.
 * Each fetch and each advance writes them, so they are looked for at their last TIDs, as
 * cursors are (cursor.c).
 *
 * Assumes that the caller holds the lock of the unit, except where it only reads.
 */
#include "pm.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_type.h"
#include "port/pg_bitutils.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "base/row_tid.h"
#include "base/scan.h"
#include "manager/lease_row.h"

/* The columns of pm_catalog.lease by number. */
enum
{
	LEASE_MANAGER = 1,
	LEASE_LANE,
	LEASE_CONSUMER,
	LEASE_ROLE,
	LEASE_SINCE,
	LEASE_UNTIL,
	LEASE_SERVED_AT,
	LEASE_PARKED,
	LEASE_TIMERS,
	LEASE_TRIED_TIMERS,
	LEASE_TIMER_TRIES,
	LEASE_DEAD_LOG,
	LEASE_DEAD_POSITION,
	LEASE_PARKED_LAST
};
#define LEASE_COLUMNS LEASE_PARKED_LAST

static const char *const lease_columns[] = {
	[LEASE_MANAGER - 1] = "process_manager",
	[LEASE_LANE - 1] = "lane",
	[LEASE_CONSUMER - 1] = "consumer",
	[LEASE_ROLE - 1] = "role",
	[LEASE_SINCE - 1] = "since",
	[LEASE_UNTIL - 1] = "until",
	[LEASE_SERVED_AT - 1] = "served_at",
	[LEASE_PARKED - 1] = "parked",
	[LEASE_TIMERS - 1] = "timers",
	[LEASE_TRIED_TIMERS - 1] = "tried_timers",
	[LEASE_TIMER_TRIES - 1] = "timer_tries",
	[LEASE_DEAD_LOG - 1] = "dead_log",
	[LEASE_DEAD_POSITION - 1] = "dead_position",
	[LEASE_PARKED_LAST - 1] = "parked_last",
};

StaticAssertDecl(lengthof(lease_columns) == LEASE_COLUMNS, "lease_columns[] must have all columns");

static ScanTable lease_table = {
	.name = "lease",
	.index = "lease_key",
	.columns = lease_columns,
	.ncolumns = LEASE_COLUMNS,
};

/* The columns of pm_catalog.fetched by number. */
enum
{
	FETCHED_MANAGER = 1,
	FETCHED_LANE,
	FETCHED_LOG,
	FETCHED_UP_TO,
	FETCHED_EVENTS,
	FETCHED_PASSED,
	FETCHED_TRIED_TO,
	FETCHED_TRIES
};
#define FETCHED_COLUMNS FETCHED_TRIES

static const char *const fetched_columns[] = {
	[FETCHED_MANAGER - 1] = "process_manager",
	[FETCHED_LANE - 1] = "lane",
	[FETCHED_LOG - 1] = "log",
	[FETCHED_UP_TO - 1] = "up_to",
	[FETCHED_EVENTS - 1] = "events",
	[FETCHED_PASSED - 1] = "passed",
	[FETCHED_TRIED_TO - 1] = "tried_to",
	[FETCHED_TRIES - 1] = "tries",
};

StaticAssertDecl(lengthof(fetched_columns) == FETCHED_COLUMNS,
				 "fetched_columns[] must have all columns");

static ScanTable fetched_table = {
	.name = "fetched",
	.index = "fetched_key",
	.columns = fetched_columns,
	.ncolumns = FETCHED_COLUMNS,
};

/* ---------- columns ---------- */

static int64 *
lease_numbers(RowScan *scan, int column, int *count)
{
	Datum *elements;
	int64 *numbers;

	*count = 0;
	if (scan->nulls[column - 1])
		return NULL;
	deconstruct_array(DatumGetArrayTypeP(scan->values[column - 1]), INT8OID, sizeof(int64),
					  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &elements, NULL, count);
	/* lease_add() wants room for a power of 2. */
	numbers = palloc(sizeof(int64) * pg_nextpower2_32(Max(*count, 1)));
	for (int i = 0; i < *count; i++)
		numbers[i] = DatumGetInt64(elements[i]);
	return numbers;
}

static int32 *
lease_counts(RowScan *scan, int column, int expected)
{
	Datum *elements;
	int32 *counts = palloc0(sizeof(int32) * Max(expected, 1));
	int count;

	if (scan->nulls[column - 1])
		return counts;
	deconstruct_array(DatumGetArrayTypeP(scan->values[column - 1]), INT4OID, sizeof(int32), true,
					  TYPALIGN_INT, &elements, NULL, &count);
	for (int i = 0; i < Min(count, expected); i++)
		counts[i] = DatumGetInt32(elements[i]);
	return counts;
}

static TimestampTz
lease_time(RowScan *scan, int column)
{
	return scan->nulls[column - 1] ? 0 : DatumGetTimestampTz(scan->values[column - 1]);
}

static void
lease_set(RowScan *scan, int column, Datum value, bool isnull)
{
	scan->values[column - 1] = value;
	scan->nulls[column - 1] = isnull;
}

static void
lease_set_text(RowScan *scan, int column, const char *value)
{
	lease_set(scan, column, value != NULL ? CStringGetTextDatum(value) : (Datum) 0, value == NULL);
}

static void
lease_set_time(RowScan *scan, int column, TimestampTz value)
{
	lease_set(scan, column, TimestampTzGetDatum(value), value == 0);
}

static void
lease_set_numbers(RowScan *scan, int column, const int64 *numbers, int count)
{
	Datum *elements = palloc(sizeof(Datum) * Max(count, 1));

	for (int i = 0; i < count; i++)
		elements[i] = Int64GetDatum(numbers[i]);
	lease_set(scan, column,
			  count == 0 ? (Datum) 0 :
						   PointerGetDatum(construct_array(elements, count, INT8OID, sizeof(int64),
														   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE)),
			  count == 0);
}

static void
lease_set_counts(RowScan *scan, int column, const int32 *counts, int count)
{
	Datum *elements = palloc(sizeof(Datum) * Max(count, 1));

	for (int i = 0; i < count; i++)
		elements[i] = Int32GetDatum(counts[i]);
	lease_set(scan, column,
			  count == 0 ? (Datum) 0 :
						   PointerGetDatum(construct_array(elements, count, INT4OID, sizeof(int32),
														   true, TYPALIGN_INT)),
			  count == 0);
}

/* ---------- rows ---------- */

/*
 * Finds the row of a lane, or the row of a lane and a log, at its last TID or with the
 * index.
 */
static bool
lease_find(RowScan *scan, const Lease *lease, LOCKMODE lock)
{
	ItemPointer tid = row_tid_of(ROW_TID_LEASE, lease->pm->name, lease->lane, "");

	scan_begin_table(scan, &lease_table, lock);
	scan_where_text(scan, LEASE_MANAGER, lease->pm->name);
	scan_where_int4(scan, LEASE_LANE, lease->lane);
	if (!scan_at(scan, tid) && !scan_next(scan))
		return false;
	*tid = scan->tuple->t_self;
	return true;
}

static bool
lease_find_fetched(RowScan *scan, const Lease *lease, const char *log, LOCKMODE lock)
{
	ItemPointer tid = row_tid_of(ROW_TID_FETCHED, lease->pm->name, lease->lane, log);

	scan_begin_table(scan, &fetched_table, lock);
	scan_where_text(scan, FETCHED_MANAGER, lease->pm->name);
	scan_where_int4(scan, FETCHED_LANE, lease->lane);
	scan_where_text(scan, FETCHED_LOG, log);
	if (!scan_at(scan, tid) && !scan_next(scan))
		return false;
	*tid = scan->tuple->t_self;
	return true;
}

/*
 * Writes the values of the scan into the row that it has found, or into a new one, and
 * remembers the TID.
 */
static void
lease_put(RowScan *scan, bool found, ItemPointer tid)
{
	HeapTuple tuple = heap_form_tuple(RelationGetDescr(scan->rel), scan->values, scan->nulls);

	/* No other backend changes the row, because the caller holds the unit's lock. */
	if (found)
		CatalogTupleUpdate(scan->rel, &scan->tuple->t_self, tuple);
	else
		CatalogTupleInsert(scan->rel, tuple);
	*tid = tuple->t_self;
	heap_freetuple(tuple);
}

static void
lease_read_fetched(Lease *lease, const char *log)
{
	RowScan scan;
	Fetched *fetched;

	if (lease_find_fetched(&scan, lease, log, AccessShareLock))
	{
		fetched = palloc0(sizeof(Fetched));
		fetched->log = pstrdup(log);
		fetched->up_to = DatumGetInt64(scan.values[FETCHED_UP_TO - 1]);
		fetched->events = lease_numbers(&scan, FETCHED_EVENTS, &fetched->nevents);
		fetched->passed = lease_numbers(&scan, FETCHED_PASSED, &fetched->npassed);
		fetched->tried_to = lease_numbers(&scan, FETCHED_TRIED_TO, &fetched->ntried);
		fetched->tries = lease_counts(&scan, FETCHED_TRIES, fetched->ntried);
		lease->logs = lappend(lease->logs, fetched);
	}
	scan_end(&scan);
}

void
lease_read(ProcessManager *pm, int lane, Lease *lease)
{
	RowScan scan;
	ListCell *lc;

	memset(lease, 0, sizeof(*lease));
	lease->pm = pm;
	lease->lane = lane;
	if (lease_find(&scan, lease, AccessShareLock))
	{
		lease->consumer = scan_text(&scan, LEASE_CONSUMER);
		lease->role = scan.nulls[LEASE_ROLE - 1] ? InvalidOid :
												   DatumGetObjectId(scan.values[LEASE_ROLE - 1]);
		lease->since = lease_time(&scan, LEASE_SINCE);
		lease->until = lease_time(&scan, LEASE_UNTIL);
		lease->served_at = lease_time(&scan, LEASE_SERVED_AT);
		lease->parked = lease_numbers(&scan, LEASE_PARKED, &lease->nparked);
		lease->timers = lease_numbers(&scan, LEASE_TIMERS, &lease->ntimers);
		lease->tried_timers = lease_numbers(&scan, LEASE_TRIED_TIMERS, &lease->ntried_timers);
		lease->timer_tries = lease_counts(&scan, LEASE_TIMER_TRIES, lease->ntried_timers);
		lease->dead_log = scan_text(&scan, LEASE_DEAD_LOG);
		lease->dead_position = scan.nulls[LEASE_DEAD_POSITION - 1] ?
								   0 :
								   DatumGetInt64(scan.values[LEASE_DEAD_POSITION - 1]);
		lease->parked_last = DatumGetBool(scan.values[LEASE_PARKED_LAST - 1]);
	}
	scan_end(&scan);
	foreach(lc, pm->logs)
		lease_read_fetched(lease, lfirst(lc));
}

static void
lease_write_fetched(const Lease *lease, const Fetched *fetched)
{
	RowScan scan;
	bool found = lease_find_fetched(&scan, lease, fetched->log, RowExclusiveLock);

	lease_set_text(&scan, FETCHED_MANAGER, lease->pm->name);
	lease_set(&scan, FETCHED_LANE, Int32GetDatum(lease->lane), false);
	lease_set_text(&scan, FETCHED_LOG, fetched->log);
	lease_set(&scan, FETCHED_UP_TO, Int64GetDatum(fetched->up_to), false);
	lease_set_numbers(&scan, FETCHED_EVENTS, fetched->events, fetched->nevents);
	lease_set_numbers(&scan, FETCHED_PASSED, fetched->passed, fetched->npassed);
	lease_set_numbers(&scan, FETCHED_TRIED_TO, fetched->tried_to, fetched->ntried);
	lease_set_counts(&scan, FETCHED_TRIES, fetched->tries, fetched->ntried);
	lease_put(&scan, found,
			  row_tid_of(ROW_TID_FETCHED, lease->pm->name, lease->lane, fetched->log));
	scan_end(&scan);
}

void
lease_write(Lease *lease)
{
	RowScan scan;
	bool found = lease_find(&scan, lease, RowExclusiveLock);
	ListCell *lc;

	lease_set_text(&scan, LEASE_MANAGER, lease->pm->name);
	lease_set(&scan, LEASE_LANE, Int32GetDatum(lease->lane), false);
	lease_set_text(&scan, LEASE_CONSUMER, lease->consumer);
	lease_set(&scan, LEASE_ROLE, ObjectIdGetDatum(lease->role), lease->consumer == NULL);
	lease_set_time(&scan, LEASE_SINCE, lease->since);
	lease_set_time(&scan, LEASE_UNTIL, lease->until);
	lease_set_time(&scan, LEASE_SERVED_AT, lease->served_at);
	lease_set_numbers(&scan, LEASE_PARKED, lease->parked, lease->nparked);
	lease_set_numbers(&scan, LEASE_TIMERS, lease->timers, lease->ntimers);
	lease_set_numbers(&scan, LEASE_TRIED_TIMERS, lease->tried_timers, lease->ntried_timers);
	lease_set_counts(&scan, LEASE_TIMER_TRIES, lease->timer_tries, lease->ntried_timers);
	lease_set_text(&scan, LEASE_DEAD_LOG, lease->dead_log);
	lease_set(&scan, LEASE_DEAD_POSITION, Int64GetDatum(lease->dead_position),
			  lease->dead_position == 0);
	lease_set(&scan, LEASE_PARKED_LAST, BoolGetDatum(lease->parked_last), false);
	lease_put(&scan, found, row_tid_of(ROW_TID_LEASE, lease->pm->name, lease->lane, ""));
	scan_end(&scan);
	foreach(lc, lease->logs)
		lease_write_fetched(lease, lfirst(lc));
	CommandCounterIncrement();
}
