/*
 * resolve.c
 *		What a person does about parked events: pm.retry, pm.discard.
 *
 * With a name only they are about all that are dead.  Each waits for the batch that runs, and is in
 *force when its transaction commits.  An event is named by its position, a timer, which has none,
 *by the number of its row, with log NULL.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/exec.h"
#include "base/report.h"
#include "base/within.h"
#include "log/highwater.h"
#include "log/log.h"
#include "manager/head.h"
#include "manager/manager_lock.h"
#include "manager/park.h"
#include "manager/registry.h"
#include "manager/resolve.h"
#include "shmem/wakeup.h"

PG_FUNCTION_INFO_V1(pm_retry);
PG_FUNCTION_INFO_V1(pm_discard);
PG_FUNCTION_INFO_V1(pm_retry_dead);
PG_FUNCTION_INFO_V1(pm_discard_dead);

/* The parked event that the arguments name. */
typedef struct Resolve
{
	ProcessManager *pm;
	char *words;
	int64 id;
	int lane;
	char *key;
	bool behind;
	char *head; /* in words, what it is behind */
} Resolve;

static char *
resolve_words(const char *log, int64 number)
{
	if (log == NULL)
		return psprintf("the timer with number %lld", (long long) number);
	return psprintf("the event at position %lld of log \"%s\"", (long long) number, log);
}

/* To be tried afresh, now; whatever has crashed the server does not get two more crashes. */
#define RESOLVE_RETRY                                                                              \
	"state = 'failing', attempts = 0, crashes = least(crashes, 1), retry_at = '-infinity', trouble_since = NULL "

/* The next of a key, which has not been tried. */
#define RESOLVE_PROMOTE "state = 'failing', retry_at = '-infinity' "

/* A parked event, and the first one of its key. */
#define RESOLVE_FIND                                                                                             \
	"SELECT k.id, k.lane, k.key, k.state OPERATOR(pg_catalog.=) 'behind', h.log, coalesce(h.position, h.id) "    \
	"FROM pm_catalog.parked k CROSS JOIN LATERAL (SELECT f.id, f.log, f.position FROM pm_catalog.parked f "      \
	"WHERE f.process_manager OPERATOR(pg_catalog.=) k.process_manager AND f.lane OPERATOR(pg_catalog.=) k.lane " \
	"AND f.key OPERATOR(pg_catalog.=) k.key ORDER BY f.id LIMIT 1) h "                                           \
	"WHERE k.process_manager OPERATOR(pg_catalog.=) $1 "

/*
 * Finds the event, with the units locked.
 */
static Resolve
resolve_find(FunctionCallInfo fcinfo, const char *function)
{
	static ExecStatement find_event =
		{NULL,
		 RESOLVE_FIND
		 "AND k.log OPERATOR(pg_catalog.=) $2 AND k.position OPERATOR(pg_catalog.=) $3",
		 3,
		 {TEXTOID, TEXTOID, INT8OID}};
	static ExecStatement find_timer = {NULL,
									   RESOLVE_FIND
									   "AND k.log IS NULL AND k.id OPERATOR(pg_catalog.=) $3",
									   3,
									   {TEXTOID, TEXTOID, INT8OID}};
	Resolve settle;
	char *name;
	char *log;
	MemoryContext caller = CurrentMemoryContext;
	ExecScope scope;
	Datum values[3];
	char nulls[3] = {' ', ' ', ' '};
	bool isnull;

	highwater_require_fresh_snapshots(function);
	exec_require_writable(function);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("name and pos must not be null")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	log = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	within_refuse(name);
	memset(&settle, 0, sizeof(settle));
	settle.pm = manager_lock(name, false);
	if (log != NULL)
	{
		Oid relid;
		char *known = log_find(log, &relid, true);

		log = known ? known : log;
	}
	settle.words = resolve_words(log, PG_GETARG_INT64(2));

	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(name);
	values[1] = log ? CStringGetTextDatum(log) : (Datum) 0;
	nulls[1] = log ? ' ' : 'n';
	values[2] = PG_GETARG_DATUM(2);
	if (exec_statement(log ? &find_event : &find_timer, values, nulls) > 0)
	{
		MemoryContext spi = MemoryContextSwitchTo(caller);

		settle.id = DatumGetInt64(exec_value(0, 1, &isnull));
		settle.lane = DatumGetInt32(exec_value(0, 2, &isnull));
		settle.key = exec_text(0, 3);
		settle.behind = DatumGetBool(exec_value(0, 4, &isnull));
		settle.head = resolve_words(exec_text(0, 5), DatumGetInt64(exec_value(0, 6, &isnull)));
		MemoryContextSwitchTo(spi);
	}
	exec_end(&scope);
	if (settle.id == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("process manager \"%s\" has not parked %s", name, settle.words),
						errhint("SELECT * FROM pm.parked shows what it has.")));
	return settle;
}

/*
 * pm.retry(name, log, pos)
 */
Datum
pm_retry(PG_FUNCTION_ARGS)
{
	static ExecStatement retry = {NULL,
								  "UPDATE pm_catalog.parked SET " RESOLVE_RETRY
								  "WHERE id OPERATOR(pg_catalog.=) $1",
								  1,
								  {INT8OID}};
	Resolve settle = resolve_find(fcinfo, "pm.retry");
	Datum values[1] = {Int64GetDatum(settle.id)};

	if (settle.behind)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("%s is parked behind %s", settle.words, settle.head),
						errhint("Retry or discard that one; the rest of its key follows.")));
	(void) exec_as_owner(&retry, values, NULL);
	head_add_parked(settle.pm->name, settle.lane, settle.id, DT_NOBEGIN);
	lane_touch(settle.pm->name, settle.lane);
	registry_changed();
	PG_RETURN_VOID();
}

/*
 * pm.discard(name, log, pos)
 */
Datum
pm_discard(PG_FUNCTION_ARGS)
{
	Resolve settle = resolve_find(fcinfo, "pm.discard");

	(void) park_take(settle.id);
	if (!settle.behind)
		park_promote(settle.pm, settle.lane, settle.key, settle.id);
	ereport(LOG, (errmsg("process manager \"%s\" in database \"%s\": %s was discarded by \"%s\"",
						 settle.pm->name, report_database(), settle.words,
						 GetUserNameFromId(GetUserId(), false))));
	registry_changed();
	PG_RETURN_VOID();
}

/* ---------- several at once ---------- */

/*
 * Rows have become the first of their keys, or due, in any lane.
 */
static void
resolve_changed(ProcessManager *pm)
{
	for (int lane = 0; lane < pm->lanes; lane++)
	{
		head_forget(pm->name, lane);
		lane_touch(pm->name, lane);
	}
	wakeup_moved();
}

/*
 * All events of a log are given up: the process manager does not follow it any
 * more.  What was behind them goes on.  Returns how many there were.
 */
int64
resolve_give_up(ProcessManager *pm, const char *log)
{
	/* The rest of a key does not see what has gone. */
	static ExecStatement give_up = {
		NULL,
		"WITH gone AS (DELETE FROM pm_catalog.parked WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		"AND log OPERATOR(pg_catalog.=) $2 RETURNING lane, key), "
		"next AS (UPDATE pm_catalog.parked SET " RESOLVE_PROMOTE
		"WHERE id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT n.id FROM (SELECT DISTINCT lane, key FROM gone) g "
		"CROSS JOIN LATERAL (SELECT k.id, k.state FROM pm_catalog.parked k "
		"WHERE k.process_manager OPERATOR(pg_catalog.=) $1 AND k.lane OPERATOR(pg_catalog.=) g.lane "
		"AND k.key OPERATOR(pg_catalog.=) g.key AND k.log IS DISTINCT FROM $2 ORDER BY k.id LIMIT 1) n "
		"WHERE n.state OPERATOR(pg_catalog.=) 'behind'))) "
		"SELECT pg_catalog.count(*) FROM gone",
		2,
		{TEXTOID, TEXTOID}};
	ExecScope scope;
	Datum values[2] = {CStringGetTextDatum(pm->name), CStringGetTextDatum(log)};
	int64 count;
	bool isnull;

	exec_begin_owner(&scope);
	exec_statement(&give_up, values, NULL);
	count = DatumGetInt64(exec_value(0, 1, &isnull));
	exec_end(&scope);
	if (count > 0)
		resolve_changed(pm);
	return count;
}

/*
 * The process manager, with its units locked, and what a statement does to its
 * dead events: it returns how many there were.
 */
static int64
resolve_dead(FunctionCallInfo fcinfo, const char *function, ExecStatement *statement)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ProcessManager *pm;
	ExecScope scope;
	Datum values[1] = {PG_GETARG_DATUM(0)};
	int64 count;
	bool isnull;

	highwater_require_fresh_snapshots(function);
	exec_require_writable(function);
	within_refuse(name);
	pm = manager_lock(name, false);
	exec_begin_owner(&scope);
	exec_statement(statement, values, NULL);
	count = DatumGetInt64(exec_value(0, 1, &isnull));
	exec_end(&scope);
	if (count > 0)
		resolve_changed(pm);
	registry_changed();
	return count;
}

/*
 * pm.retry(name)
 */
Datum
pm_retry_dead(PG_FUNCTION_ARGS)
{
	static ExecStatement retry_dead = {
		NULL,
		"WITH k AS (UPDATE pm_catalog.parked SET " RESOLVE_RETRY
		"WHERE process_manager OPERATOR(pg_catalog.=) $1 AND state OPERATOR(pg_catalog.=) 'dead' RETURNING 1) "
		"SELECT pg_catalog.count(*) FROM k",
		1,
		{TEXTOID}};

	PG_RETURN_INT64(resolve_dead(fcinfo, "pm.retry", &retry_dead));
}

/*
 * pm.discard(name)
 */
Datum
pm_discard_dead(PG_FUNCTION_ARGS)
{
	/* The rest of a key does not see that its first one has gone. */
	static ExecStatement discard_dead = {
		NULL,
		"WITH gone AS (DELETE FROM pm_catalog.parked WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		"AND state OPERATOR(pg_catalog.=) 'dead' RETURNING lane, key, id), "
		"next AS (UPDATE pm_catalog.parked SET " RESOLVE_PROMOTE
		"WHERE id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT n.id FROM gone CROSS JOIN LATERAL ("
		"SELECT k.id FROM pm_catalog.parked k WHERE k.process_manager OPERATOR(pg_catalog.=) $1 "
		"AND k.lane OPERATOR(pg_catalog.=) gone.lane AND k.key OPERATOR(pg_catalog.=) gone.key "
		"AND k.id OPERATOR(pg_catalog.>) gone.id ORDER BY k.id LIMIT 1) n))) "
		"SELECT pg_catalog.count(*) FROM gone",
		1,
		{TEXTOID}};
	int64 count = resolve_dead(fcinfo, "pm.discard", &discard_dead);

	if (count > 0)
		ereport(
			LOG,
			(errmsg(
				"process manager \"%s\" in database \"%s\": all %lld dead events were discarded by \"%s\"",
				text_to_cstring(PG_GETARG_TEXT_PP(0)), report_database(), (long long) count,
				GetUserNameFromId(GetUserId(), false))));
	PG_RETURN_INT64(count);
}
