/*
 * resolve.c
 *		pm.retry and pm.discard, with which a person decides about parked events.
 *
 * Both take one event, or with a name alone all dead events of a process
 * manager.  They wait for the batch that runs, and take effect when their
 * transaction commits.  An event is named by its log and position.  A timer has
 * neither: it is named by log NULL and the number of its row.  An event that is parked
 * for several keys is resolved for all of them, or for the one that is named.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/argument.h"
#include "base/exec.h"
#include "base/key.h"
#include "base/report.h"
#include "base/within.h"
#include "log/highwater_ask.h"
#include "log/log_open.h"
#include "manager/head.h"
#include "manager/lane.h"
#include "manager/manager_lock.h"
#include "manager/park_queue.h"
#include "manager/registry.h"
#include "manager/resolve.h"
#include "shmem/wakeup.h"

PG_FUNCTION_INFO_V1(pm_retry);
PG_FUNCTION_INFO_V1(pm_discard);
PG_FUNCTION_INFO_V1(pm_retry_dead);
PG_FUNCTION_INFO_V1(pm_discard_dead);

/* The parked event that the arguments of a call name. */
typedef struct ResolveTarget
{
	ProcessManager *pm;
	char *log;	  /* NULL: a timer */
	int64 number; /* its position, or the number of the timer */
	List *rows;	  /* of ResolveRow: one for each key for which it is parked */
} ResolveTarget;

typedef struct ResolveRow
{
	int64 id;
	int lane;
	char *key;
	bool behind;	   /* it is not the head of its key */
	char *head_log;	   /* of the head, if it is behind; NULL: a timer */
	int64 head_number; /* the head's position, or the number of the timer */
} ResolveRow;

/* A parked event, and the head of its key, if it has a key. */
#define RESOLVE_FIND                                                                               \
	"SELECT k.id, k.lane, k.key, k.state OPERATOR(pg_catalog.=) 'behind', "                        \
	"h.log, coalesce(h.position, h.id) "                                                           \
	"FROM pm_catalog.parked k LEFT JOIN LATERAL ("                                                 \
	"SELECT f.id, f.log, f.position FROM pm_catalog.parked f "                                     \
	"WHERE f.process_manager OPERATOR(pg_catalog.=) k.process_manager "                            \
	"AND f.lane OPERATOR(pg_catalog.=) k.lane AND f.key OPERATOR(pg_catalog.=) k.key "             \
	"ORDER BY f.id LIMIT 1) h ON true "                                                            \
	"WHERE k.process_manager OPERATOR(pg_catalog.=) $1 "

/*
 * The row of a result, in the current memory context.
 */
static void *
resolve_form(uint64 row)
{
	ResolveRow *found = palloc0(sizeof(ResolveRow));
	bool isnull;

	found->id = DatumGetInt64(exec_value(row, 1, &isnull));
	found->lane = DatumGetInt32(exec_value(row, 2, &isnull));
	found->key = exec_text(row, 3);
	found->behind = DatumGetBool(exec_value(row, 4, &isnull));
	found->head_log = exec_text(row, 5);
	found->head_number = DatumGetInt64(exec_value(row, 6, &isnull));
	return found;
}

/*
 * Looks the event up in the private table: for a key, given by the name under which it
 * is stored, or for all that it is parked for (NULL).
 */
static List *
resolve_look_up(const ResolveTarget *target, const char *key)
{
	static ExecStatement find_event =
		{NULL,
		 RESOLVE_FIND
		 "AND k.log OPERATOR(pg_catalog.=) $2 AND k.position OPERATOR(pg_catalog.=) $3 "
		 "AND ($4 IS NULL OR k.key OPERATOR(pg_catalog.=) $4) ORDER BY k.id",
		 4,
		 {TEXTOID, TEXTOID, INT8OID, TEXTOID}};
	static ExecStatement find_timer = {NULL,
									   RESOLVE_FIND
									   "AND k.log IS NULL AND k.id OPERATOR(pg_catalog.=) $3 "
									   "AND ($4 IS NULL OR k.key OPERATOR(pg_catalog.=) $4)",
									   4,
									   {TEXTOID, TEXTOID, INT8OID, TEXTOID}};
	Datum values[4];
	char nulls[4] = {' ', ' ', ' ', ' '};

	values[0] = CStringGetTextDatum(target->pm->name);
	values[1] = exec_text_arg(target->log, &nulls[1]);
	values[2] = Int64GetDatum(target->number);
	values[3] = exec_text_arg(key, &nulls[3]);
	return exec_list(target->log ? &find_event : &find_timer, values, nulls, resolve_form);
}

/*
 * The rows of the event, for the key that the call names, or for all.  pm.parked shows a
 * long key as it is stored, but the caller may also know the key itself.
 */
static List *
resolve_rows(FunctionCallInfo fcinfo, const ResolveTarget *target)
{
	List *rows;

	/* An extension that is older than the argument calls without it. */
	if (PG_NARGS() < 4 || PG_ARGISNULL(3))
		return resolve_look_up(target, NULL);
	rows = resolve_look_up(target, text_to_cstring(PG_GETARG_TEXT_PP(3)));
	return rows != NIL ? rows : resolve_look_up(target, key_stored(PG_GETARG_DATUM(3)));
}

COMPAT_NORETURN static void
resolve_refuse_missing(FunctionCallInfo fcinfo, const ResolveTarget *target)
{
	const char *name = target->pm->name;
	const char *hint = "SELECT * FROM pm.parked shows what it has parked.";

	if (target->log == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("process manager \"%s\" has not parked the timer with number %lld",
							   name, (long long) target->number),
						errhint("%s", hint)));
	if (PG_NARGS() > 3 && !PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("process manager \"%s\" has not parked the event at position %lld of log "
						"\"%s\" for key \"%s\"",
						name, (long long) target->number, target->log,
						report_cut(text_to_cstring(PG_GETARG_TEXT_PP(3)), REPORT_LOGGED)),
				 errhint("%s", hint)));
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
					errmsg("process manager \"%s\" has not parked the event at position %lld of "
						   "log \"%s\"",
						   name, (long long) target->number, target->log),
					errhint("%s", hint)));
}

/*
 * Finds the event that the arguments name, and locks the units of its process
 * manager.
 */
static ResolveTarget
resolve_find(FunctionCallInfo fcinfo, const char *function)
{
	ResolveTarget target;
	char *name;

	highwater_require_fresh_snapshots(function);
	exec_require_writable(function);
	argument_not_null(fcinfo, 0, "name");
	argument_not_null(fcinfo, 2, "pos");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	within_refuse(name);
	memset(&target, 0, sizeof(target));
	target.number = PG_GETARG_INT64(2);
	target.pm = manager_lock(name, false);
	if (!PG_ARGISNULL(1))
	{
		Oid relid;
		char *log = text_to_cstring(PG_GETARG_TEXT_PP(1));

		/* The log may have been dropped since its event was parked. */
		target.log = log_find(log, &relid, true);
		if (target.log == NULL)
			target.log = log;
	}
	target.rows = resolve_rows(fcinfo, &target);
	if (target.rows == NIL)
		resolve_refuse_missing(fcinfo, &target);
	return target;
}

/*
 * Refuses to retry an event that is not the head of any key.
 */
static void
resolve_refuse_behind(const ResolveTarget *target)
{
	const ResolveRow *first = linitial(target->rows);
	ListCell *lc;

	foreach(lc, target->rows)
		if (!((ResolveRow *) lfirst(lc))->behind)
			return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 target->log != NULL ?
				 errmsg("the event at position %lld of log \"%s\" is parked behind another one",
						(long long) target->number, target->log) :
				 errmsg("the timer with number %lld is parked behind another event",
						(long long) target->number),
			 first->head_log != NULL ?
				 errdetail("The first event of its key is at position %lld of log \"%s\".",
						   (long long) first->head_number, first->head_log) :
				 errdetail("The first event of its key is the timer with number %lld.",
						   (long long) first->head_number),
			 errhint("Retry or discard that one. The other events of its key follow.")));
}

/*
 * pm.retry(name, log, pos, key)
 */
Datum
pm_retry(PG_FUNCTION_ARGS)
{
	static ExecStatement retry = {NULL,
								  "UPDATE pm_catalog.parked SET " PARK_SET_AFRESH
								  "WHERE id OPERATOR(pg_catalog.=) $1",
								  1,
								  {INT8OID}};
	ResolveTarget target = resolve_find(fcinfo, "pm.retry");
	ListCell *lc;

	resolve_refuse_behind(&target);
	foreach(lc, target.rows)
	{
		const ResolveRow *row = lfirst(lc);
		Datum values[1] = {Int64GetDatum(row->id)};

		/* Where the event is behind another one, it follows that one. */
		if (row->behind)
			continue;
		(void) exec_as_owner(&retry, values, NULL);
		park_head_changed(target.pm, row->lane, row->id, DT_NOBEGIN);
	}
	registry_changed();
	PG_RETURN_VOID();
}

static void
resolve_say_discarded(const ResolveTarget *target, const char *key)
{
	const char *name = target->pm->name;
	const char *user = GetUserNameFromId(GetUserId(), false);

	if (target->log == NULL)
		ereport(LOG, (errmsg("process manager \"%s\" in database \"%s\": the timer with number "
							 "%lld was discarded by \"%s\"",
							 name, report_database(), (long long) target->number, user)));
	else if (key != NULL)
		ereport(LOG, (errmsg("process manager \"%s\" in database \"%s\": the event at position "
							 "%lld of log \"%s\" was discarded for key \"%s\" by \"%s\"",
							 name, report_database(), (long long) target->number, target->log, key,
							 user)));
	else
		ereport(LOG,
				(errmsg("process manager \"%s\" in database \"%s\": the event at position "
						"%lld of log \"%s\" was discarded by \"%s\"",
						name, report_database(), (long long) target->number, target->log, user)));
}

/*
 * pm.discard(name, log, pos, key)
 */
Datum
pm_discard(PG_FUNCTION_ARGS)
{
	ResolveTarget target = resolve_find(fcinfo, "pm.discard");
	bool named = PG_NARGS() > 3 && !PG_ARGISNULL(3);
	ListCell *lc;

	foreach(lc, target.rows)
	{
		const ResolveRow *row = lfirst(lc);

		(void) park_take(row->id);
		if (!row->behind && row->key != NULL)
			park_promote(target.pm, row->lane, row->key, row->id);
	}
	resolve_say_discarded(&target, named ? ((ResolveRow *) linitial(target.rows))->key : NULL);
	registry_changed();
	PG_RETURN_VOID();
}

/* ---------- several at once ---------- */

/*
 * Heads have changed, or are due at other times, in any lane.
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
 * Runs a statement that returns how many events it has resolved.
 */
static int64
resolve_count(ProcessManager *pm, ExecStatement *statement, Datum *values)
{
	ExecScope scope;
	int64 count;
	bool isnull;

	exec_begin_owner(&scope);
	exec_statement(statement, values, NULL);
	count = DatumGetInt64(exec_value(0, 1, &isnull));
	exec_end(&scope);
	if (count > 0)
		resolve_changed(pm);
	return count;
}

int64
resolve_give_up(ProcessManager *pm, const char *log)
{
	/*
	 * All parts of the statement see the table as it was before, so the next
	 * event of a key is the first one that is not of the log.
	 */
	static ExecStatement give_up =
		{NULL,
		 "WITH gone AS (DELETE FROM pm_catalog.parked "
		 "WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		 "AND log OPERATOR(pg_catalog.=) $2 RETURNING lane, key), "
		 "next AS (UPDATE pm_catalog.parked SET " PARK_SET_NEXT
		 "WHERE id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT n.id "
		 "FROM (SELECT DISTINCT lane, key FROM gone) g "
		 "CROSS JOIN LATERAL (SELECT k.id, k.state FROM pm_catalog.parked k "
		 "WHERE k.process_manager OPERATOR(pg_catalog.=) $1 "
		 "AND k.lane OPERATOR(pg_catalog.=) g.lane AND k.key OPERATOR(pg_catalog.=) g.key "
		 "AND k.log IS DISTINCT FROM $2 ORDER BY k.id LIMIT 1) n "
		 "WHERE n.state OPERATOR(pg_catalog.=) 'behind'))) "
		 "SELECT pg_catalog.count(*) FROM gone",
		 2,
		 {TEXTOID, TEXTOID}};
	Datum values[2] = {CStringGetTextDatum(pm->name), CStringGetTextDatum(log)};

	return resolve_count(pm, &give_up, values);
}

/*
 * Locks the units of the process manager that the first argument names, and
 * runs a statement on its dead events.  Returns how many there were.
 */
static int64
resolve_dead(FunctionCallInfo fcinfo, const char *function, ExecStatement *statement)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Datum values[1] = {PG_GETARG_DATUM(0)};
	int64 count;

	highwater_require_fresh_snapshots(function);
	exec_require_writable(function);
	within_refuse(name);
	count = resolve_count(manager_lock(name, false), statement, values);
	registry_changed();
	return count;
}

/*
 * pm.retry(name)
 */
Datum
pm_retry_dead(PG_FUNCTION_ARGS)
{
	static ExecStatement retry_dead = {NULL,
									   "WITH k AS (UPDATE pm_catalog.parked SET " PARK_SET_AFRESH
									   "WHERE process_manager OPERATOR(pg_catalog.=) $1 "
									   "AND state OPERATOR(pg_catalog.=) 'dead' RETURNING 1) "
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
	/*
	 * All parts of the statement see the table as it was before, so the next
	 * event of a key is the first one after the dead one, which is the head.
	 */
	static ExecStatement discard_dead =
		{NULL,
		 "WITH gone AS (DELETE FROM pm_catalog.parked "
		 "WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		 "AND state OPERATOR(pg_catalog.=) 'dead' RETURNING lane, key, id), "
		 "next AS (UPDATE pm_catalog.parked SET " PARK_SET_NEXT
		 "WHERE id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT n.id "
		 "FROM gone CROSS JOIN LATERAL ("
		 "SELECT k.id FROM pm_catalog.parked k WHERE k.process_manager OPERATOR(pg_catalog.=) $1 "
		 "AND k.lane OPERATOR(pg_catalog.=) gone.lane AND k.key OPERATOR(pg_catalog.=) gone.key "
		 "AND k.id OPERATOR(pg_catalog.>) gone.id ORDER BY k.id LIMIT 1) n))) "
		 "SELECT pg_catalog.count(*) FROM gone",
		 1,
		 {TEXTOID}};
	int64 count = resolve_dead(fcinfo, "pm.discard", &discard_dead);

	if (count > 0)
		ereport(LOG, (errmsg("process manager \"%s\" in database \"%s\": "
							 "all %lld dead events were discarded by \"%s\"",
							 text_to_cstring(PG_GETARG_TEXT_PP(0)), report_database(),
							 (long long) count, GetUserNameFromId(GetUserId(), false))));
	PG_RETURN_INT64(count);
}
