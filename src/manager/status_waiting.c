/*
 * status_waiting.c
 *		What waits in a unit's queues, for pm.status and pm.stat.
 *
 * pm.status has a row for each log that a unit follows, and there may be thousands.  The
 * parked events of a unit are read once, and counted by log.  Subqueries would read them for
 * each row, and the planner would expect so much work that it would have the query compiled
 * (JIT).
 *
 * Every role may call these functions.  What they have counted is returned only to roles that
 * may see the process manager; to others it looks as if nothing waited.
 */
#include "pm.h"

#include "catalog/pg_authid.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/scan.h"
#include "log/log.h"
#include "manager/registry.h"
#include "manager/status.h"

PG_FUNCTION_INFO_V1(pm_status_waiting);
PG_FUNCTION_INFO_V1(pm_stat_waiting);

/* The parked events and timers of a unit that belong to one row of pm.status. */
typedef struct Waiting
{
	char log[LOG_MAX_NAME]; /* hash key; empty: timers, which belong to no log */
	int64 parked;
	int64 failing;
	int64 deferred;
	int64 behind;
	int64 dead;
	TimestampTz next_retry; /* DT_NOEND: none */
} Waiting;

/* The columns of pm_catalog.parked that are read. */
typedef struct ParkedColumns
{
	AttrNumber log;
	AttrNumber state;
	AttrNumber retry_at;
	AttrNumber parked_at;
} ParkedColumns;

/* What is parked in a unit, as far as this query has counted it. */
typedef struct WaitingUnit
{
	struct
	{
		char manager[NAMEDATALEN];
		int lane;
	} key;		/* hash key */
	HTAB *logs; /* of Waiting; NULL: nothing is parked, or the caller may not know */
} WaitingUnit;

/* ---------- reading ---------- */

static void
waiting_scan(RowScan *scan, const char *table, const char *index, const char *manager, int lane)
{
	scan_begin(scan, table, index, AccessShareLock);
	scan_where_text(scan, scan_column(scan, "process_manager"), manager);
	scan_where_int4(scan, scan_column(scan, "lane"), lane);
	scan_use_snapshot(scan, GetActiveSnapshot());
}

/*
 * The same as pm_catalog.may_see().
 */
static bool
waiting_may_see(const char *manager)
{
	ProcessManager *pm;

	if (has_privs_of_role(GetUserId(), ROLE_PG_MONITOR))
		return true;
	pm = registry_get(manager, true);
	return pm != NULL && OidIsValid(pm->owner) && has_privs_of_role(GetUserId(), pm->owner);
}

/*
 * Counts the parked event or timer that was found last.
 */
static void
waiting_count(Waiting *waiting, RowScan *scan, const ParkedColumns *columns)
{
	char *state = scan_text(scan, columns->state);

	waiting->parked++;
	waiting->failing += strcmp(state, "failing") == 0;
	waiting->deferred += strcmp(state, "deferred") == 0;
	waiting->behind += strcmp(state, "behind") == 0;
	waiting->dead += strcmp(state, "dead") == 0;
	if (!scan->nulls[columns->retry_at - 1])
	{
		TimestampTz retry_at = DatumGetTimestampTz(scan->values[columns->retry_at - 1]);

		/* -infinity: at once */
		if (TIMESTAMP_IS_NOBEGIN(retry_at))
			retry_at = DatumGetTimestampTz(scan->values[columns->parked_at - 1]);
		waiting->next_retry = Min(waiting->next_retry, retry_at);
	}
	pfree(state);
}

static Waiting *
waiting_of(HTAB *logs, const char *log)
{
	bool found;
	Waiting *waiting = hash_search(logs, log, HASH_ENTER, &found);

	if (!found)
	{
		memset(&waiting->parked, 0, sizeof(Waiting) - offsetof(Waiting, parked));
		waiting->next_retry = DT_NOEND;
	}
	return waiting;
}

/*
 * Counts the parked events and timers of a unit; NULL if there are none.
 */
static HTAB *
waiting_read(const char *manager, int lane)
{
	HTAB *logs = NULL;
	HASHCTL ctl;
	RowScan scan;
	ParkedColumns columns;

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = LOG_MAX_NAME;
	ctl.entrysize = sizeof(Waiting);
	ctl.hcxt = CurrentMemoryContext;
	waiting_scan(&scan, "parked", "parked_key", manager, lane);
	columns.log = scan_column(&scan, "log");
	columns.state = scan_column(&scan, "state");
	columns.retry_at = scan_column(&scan, "retry_at");
	columns.parked_at = scan_column(&scan, "parked_at");
	while (scan_next(&scan))
	{
		char *log = scan_text(&scan, columns.log);

		CHECK_FOR_INTERRUPTS();
		if (logs == NULL)
			logs = hash_create("pm waiting", 16, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
		waiting_count(waiting_of(logs, log == NULL ? "" : log), &scan, &columns);
		if (log != NULL)
			pfree(log);
	}
	scan_end(&scan);
	return logs != NULL && waiting_may_see(manager) ? logs : NULL;
}

/*
 * What is parked in a unit.  It is counted once in a query.
 */
static HTAB *
waiting_unit(FmgrInfo *flinfo, const char *manager, int lane)
{
	WaitingUnit fresh;
	WaitingUnit *unit;
	MemoryContext old;

	if (flinfo->fn_extra == NULL)
	{
		HASHCTL ctl;

		memset(&ctl, 0, sizeof(ctl));
		ctl.keysize = sizeof(fresh.key);
		ctl.entrysize = sizeof(WaitingUnit);
		ctl.hcxt = flinfo->fn_mcxt;
		flinfo->fn_extra = hash_create("pm units", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	memset(&fresh, 0, sizeof(fresh));
	strlcpy(fresh.key.manager, manager, NAMEDATALEN);
	fresh.key.lane = lane;
	unit = hash_search(flinfo->fn_extra, &fresh.key, HASH_FIND, NULL);
	if (unit != NULL)
		return unit->logs;
	/* This may raise an error, so the entry is made only when it is complete. */
	old = MemoryContextSwitchTo(flinfo->fn_mcxt);
	fresh.logs = waiting_read(fresh.key.manager, lane);
	unit = hash_search(flinfo->fn_extra, &fresh.key, HASH_ENTER, NULL);
	unit->logs = fresh.logs;
	MemoryContextSwitchTo(old);
	return unit->logs;
}

/*
 * Counts the timers that are due; *all counts all timers, if it is not NULL.
 */
static int64
waiting_timers(const char *manager, int lane, TimestampTz at, int64 *all, TimestampTz *oldest)
{
	RowScan scan;
	AttrNumber column;
	int64 overdue = 0;

	waiting_scan(&scan, "timer", "timer_due", manager, lane);
	column = scan_column(&scan, "due");
	while (scan_next(&scan))
	{
		TimestampTz due = DatumGetTimestampTz(scan.values[column - 1]);

		CHECK_FOR_INTERRUPTS();
		if (all != NULL)
			(*all)++;
		else if (due > at)
			break;
		if (overdue == 0)
			*oldest = due;
		overdue += due <= at;
	}
	scan_end(&scan);
	return overdue;
}

/* ---------- the functions ---------- */

/*
 * Adds up what belongs to a row of pm.status: timers are in the row of the first log.
 */
static void
waiting_sum(Waiting *sum, const Waiting *waiting)
{
	if (waiting == NULL)
		return;
	sum->parked += waiting->parked;
	sum->failing += waiting->failing;
	sum->deferred += waiting->deferred;
	sum->behind += waiting->behind;
	sum->dead += waiting->dead;
	sum->next_retry = Min(sum->next_retry, waiting->next_retry);
}

/*
 * pm_catalog.waiting(process_manager, lane, log, first, timers, at): parked, dead, deferred,
 * next_retry, overdue, oldest.  "first" is the first log of the unit; "timers": count the
 * overdue timers too.
 */
Datum
pm_status_waiting(PG_FUNCTION_ARGS)
{
	char *manager = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int lane = PG_GETARG_INT32(1);
	char *log = text_to_cstring(PG_GETARG_TEXT_PP(2));
	bool first = PG_GETARG_BOOL(3);
	HTAB *logs = waiting_unit(fcinfo->flinfo, manager, lane);
	Waiting sum = {.next_retry = DT_NOEND};
	TimestampTz oldest = DT_NOBEGIN;
	int64 overdue = 0;
	Datum values[6];
	bool nulls[6] = {false};

	if (logs != NULL && strlen(log) < LOG_MAX_NAME && *log != '\0')
		waiting_sum(&sum, hash_search(logs, log, HASH_FIND, NULL));
	if (logs != NULL && first)
		waiting_sum(&sum, hash_search(logs, "", HASH_FIND, NULL));
	if (first && PG_GETARG_BOOL(4))
		overdue = waiting_timers(manager, lane, PG_GETARG_TIMESTAMPTZ(5), NULL, &oldest);
	if (overdue > 0 && !waiting_may_see(manager))
		overdue = 0;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	values[0] = Int64GetDatum(sum.parked);
	values[1] = Int64GetDatum(sum.dead);
	values[2] = Int64GetDatum(sum.deferred);
	values[3] = TimestampTzGetDatum(sum.next_retry);
	nulls[3] = TIMESTAMP_IS_NOEND(sum.next_retry);
	values[4] = Int64GetDatum(overdue);
	values[5] = TimestampTzGetDatum(oldest);
	nulls[5] = overdue == 0;
	status_put(fcinfo, values, nulls);
	return (Datum) 0;
}

/*
 * pm_catalog.lane_waiting(process_manager, lane, at): deferred, failing, behind, dead, timers,
 * overdue
 */
Datum
pm_stat_waiting(PG_FUNCTION_ARGS)
{
	char *manager = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int lane = PG_GETARG_INT32(1);
	HTAB *logs = waiting_read(manager, lane);
	Waiting sum = {.next_retry = DT_NOEND};
	TimestampTz oldest;
	int64 timers = 0;
	int64 overdue = waiting_timers(manager, lane, PG_GETARG_TIMESTAMPTZ(2), &timers, &oldest);
	HASH_SEQ_STATUS scan;
	Waiting *waiting;
	Datum values[6];
	bool nulls[6] = {false};

	if (logs != NULL)
	{
		hash_seq_init(&scan, logs);
		while ((waiting = hash_seq_search(&scan)) != NULL)
			waiting_sum(&sum, waiting);
		hash_destroy(logs);
	}
	if (timers > 0 && !waiting_may_see(manager))
		timers = overdue = 0;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	values[0] = Int64GetDatum(sum.deferred);
	values[1] = Int64GetDatum(sum.failing);
	values[2] = Int64GetDatum(sum.behind);
	values[3] = Int64GetDatum(sum.dead);
	values[4] = Int64GetDatum(timers);
	values[5] = Int64GetDatum(overdue);
	status_put(fcinfo, values, nulls);
	return (Datum) 0;
}
