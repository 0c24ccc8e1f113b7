/*
 * erase.c
 *		pm.erase: replaces the data of a stream's events, wherever pm has kept it.
 *
 * The log belongs to the caller, who updates it.  What process managers have kept of the
 * events belongs to their owners, but is erased too: the data belongs to neither, and the
 * owner of the log cannot ask each follower.  The private tables are changed as the
 * extension's owner, and no code of a user runs there.
 *
 * First the units of all process managers that follow the log are locked.  So no batch has
 * old data in hand that it would write after we have looked.  What dispatchers have read
 * ahead they read again, since the registrations count as changed (reading.c).
 *
 * The states of live instances are for their owners to change.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "base/argument.h"
#include "base/exec.h"
#include "base/key.h"
#include "base/version.h"
#include "base/within.h"
#include "log/highwater_ask.h"
#include "log/log_open.h"
#include "manager/lane.h"
#include "manager/manager_lock.h"
#include "manager/registry.h"

PG_FUNCTION_INFO_V1(pm_erase);

/* What stands for the messages of errors. */
#define ERASE_MESSAGE "'(erased)'"

/* Was a row with metadata caused by one of the events? */
#define ERASE_CAUSED                                                                               \
	"metadata OPERATOR(pg_catalog.->) 'causation' OPERATOR(pg_catalog.->>) 'log' "                 \
	"OPERATOR(pg_catalog.=) $1 AND "                                                               \
	"metadata OPERATOR(pg_catalog.->) 'causation' OPERATOR(pg_catalog.->>) 'position' "            \
	"OPERATOR(pg_catalog.=) ANY ($2::pg_catalog.text[])"

/* The lives of instances that have handled one of the events, and the first such entry. */
#define ERASE_LIVES                                                                                \
	"(SELECT process_manager, key, started_at, pg_catalog.min(id) AS first "                       \
	"FROM pm_catalog.journal WHERE log OPERATOR(pg_catalog.=) $1 "                                 \
	"AND position OPERATOR(pg_catalog.=) ANY ($2) GROUP BY process_manager, key, started_at) h "

/* ---------- the log ---------- */

/*
 * Only the owner of the table: its triggers, and the functions of its indexes, run as the
 * role that updates it.
 */
static void
erase_require_owner(PmLog *log)
{
	if (GetUserId() != log->owner)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("must be the owner of log \"%s\"", log->name),
						errdetail("What its table has for updates runs as the role that calls."),
						errhint("Run SET ROLE %s first.",
								quote_identifier(GetUserNameFromId(log->owner, false)))));
}

/*
 * Replaces the data in the log.  Returns the positions of the events, in the current
 * memory context.
 */
static Datum
erase_log(PmLog *log, Datum stream, Datum replacement, int64 *count)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid argtypes[2] = {TEXTOID, JSONBOID};
	Datum values[2] = {stream, replacement};
	ExecScope scope;
	SPIPlanPtr plan;
	Datum *positions;

	exec_begin_writer(&scope);
	plan = exec_prepare(psprintf("UPDATE ONLY %s SET %s = $2 "
								 "WHERE %s OPERATOR(pg_catalog.=) $1 RETURNING %s",
								 log->table, log->data, log->stream, log->pos),
						2, argtypes);
	*count = (int64) exec_plan(plan, values, NULL, 0);
	positions = MemoryContextAllocHuge(caller, sizeof(Datum) * Max(*count, 1));
	for (int64 i = 0; i < *count; i++)
	{
		bool isnull;

		positions[i] = exec_value(i, 1, &isnull);
	}
	if (SPI_freeplan(plan) != 0)
		elog(ERROR, "SPI_freeplan failed: %s", SPI_result_code_string(SPI_result));
	exec_end(&scope);
	return PointerGetDatum(construct_array(positions, (int) *count, INT8OID, sizeof(int64),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* ---------- what was kept ---------- */

/*
 * Locks the units of all process managers that follow the log, in the order of their ids.
 */
static List *
erase_lock_followers(PmLog *log)
{
	List *followers = NIL;
	ListCell *lc;

	foreach(lc, registry_load(InvalidOid))
	{
		ProcessManager *pm = lfirst(lc);
		ListCell *followed;

		foreach(followed, pm->logs)
			if (strcmp(lfirst(followed), log->name) == 0)
			{
				pm = manager_lock_unchecked(pm->name);
				if (pm != NULL)
					followers = lappend(followers, pm);
				break;
			}
	}
	return followers;
}

/*
 * Replaces what was kept of the events.
 */
static void
erase_kept(PmLog *log, Datum positions, Datum replacement)
{
	static ExecStatement statements[] = {
		/* First the ends: the lives are found by their journals. */
		{NULL,
		 "UPDATE pm_catalog.ended e SET state = CASE WHEN e.state IS NOT NULL THEN $3 END, "
		 "result = CASE WHEN e.result IS NOT NULL THEN $3 END FROM " ERASE_LIVES
		 "WHERE e.process_manager OPERATOR(pg_catalog.=) h.process_manager "
		 "AND e.key OPERATOR(pg_catalog.=) h.key "
		 "AND e.started_at OPERATOR(pg_catalog.=) h.started_at",
		 3,
		 {TEXTOID, INT8ARRAYOID, JSONBOID}},
		/* A state is what the handler has made of all events so far. */
		{NULL,
		 "UPDATE pm_catalog.journal j SET state = $3 FROM " ERASE_LIVES
		 "WHERE j.process_manager OPERATOR(pg_catalog.=) h.process_manager "
		 "AND j.key OPERATOR(pg_catalog.=) h.key "
		 "AND j.started_at OPERATOR(pg_catalog.=) h.started_at "
		 "AND j.id OPERATOR(pg_catalog.>=) h.first AND j.state IS NOT NULL",
		 3,
		 {TEXTOID, INT8ARRAYOID, JSONBOID}},
		{NULL,
		 "UPDATE pm_catalog.sent SET data = $3 WHERE " ERASE_CAUSED,
		 3,
		 {TEXTOID, INT8ARRAYOID, JSONBOID}},
		{NULL,
		 "UPDATE pm_catalog.parked SET data = CASE WHEN log IS NULL THEN $3 END, "
		 "message = CASE WHEN message IS NOT NULL THEN " ERASE_MESSAGE " END, "
		 "detail = NULL, context = NULL "
		 "WHERE (log OPERATOR(pg_catalog.=) $1 AND position OPERATOR(pg_catalog.=) ANY ($2)) "
		 "OR (log IS NULL AND " ERASE_CAUSED ")",
		 3,
		 {TEXTOID, INT8ARRAYOID, JSONBOID}},
		/* A lane that has failed at a timer has its id in position. */
		{NULL,
		 "WITH t AS (UPDATE pm_catalog.timer SET data = $3 WHERE " ERASE_CAUSED
		 " RETURNING process_manager, id) "
		 "UPDATE pm_catalog.lane l SET "
		 "message = CASE WHEN l.message IS NOT NULL THEN " ERASE_MESSAGE " END, "
		 "detail = NULL, context = NULL "
		 "WHERE (l.log OPERATOR(pg_catalog.=) $1 AND l.position OPERATOR(pg_catalog.=) ANY ($2)) "
		 "OR (l.log IS NULL AND EXISTS (SELECT FROM t "
		 "WHERE t.process_manager OPERATOR(pg_catalog.=) l.process_manager "
		 "AND t.id OPERATOR(pg_catalog.=) l.position))",
		 3,
		 {TEXTOID, INT8ARRAYOID, JSONBOID}},
	};
	Datum values[3] = {CStringGetTextDatum(log->name), positions, replacement};

	for (int i = 0; i < lengthof(statements); i++)
		(void) exec_as_owner(&statements[i], values, NULL);
}

/* ---------- live instances ---------- */

/*
 * Has the process manager a live instance that has handled one of the events?
 */
static bool
erase_has_live(ProcessManager *pm, PmLog *log, Datum stream, Datum positions)
{
	/* Without a journal, an instance is known only if its key is the stream. */
	static ExecStatement live =
		{NULL,
		 "SELECT FROM pm_catalog.instance i "
		 "WHERE i.process_manager OPERATOR(pg_catalog.=) $3 AND (i.key OPERATOR(pg_catalog.=) $4 "
		 "OR EXISTS (SELECT FROM pm_catalog.journal j WHERE j.log OPERATOR(pg_catalog.=) $1 "
		 "AND j.position OPERATOR(pg_catalog.=) ANY ($2) "
		 "AND j.process_manager OPERATOR(pg_catalog.=) i.process_manager "
		 "AND j.key OPERATOR(pg_catalog.=) i.key "
		 "AND j.started_at OPERATOR(pg_catalog.=) i.started_at)) LIMIT 1",
		 4,
		 {TEXTOID, INT8ARRAYOID, TEXTOID, TEXTOID}};
	Datum values[4] = {CStringGetTextDatum(log->name), positions, CStringGetTextDatum(pm->name),
					   (Datum) 0};
	char nulls[4] = {' ', ' ', ' ', 'n'};

	if (pm->correlate == NULL)
	{
		values[3] = CStringGetTextDatum(key_stored_name(stream));
		nulls[3] = ' ';
	}
	return exec_as_owner(&live, values, nulls) > 0;
}

/*
 * Where there is no journal, and keys are not streams, it is not known which instances
 * have handled the events.
 */
static bool
erase_may_have_live(ProcessManager *pm)
{
	static ExecStatement any = {NULL,
								"SELECT FROM pm_catalog.instance i "
								"WHERE i.process_manager OPERATOR(pg_catalog.=) $1 LIMIT 1",
								1,
								{TEXTOID}};
	Datum values[1] = {CStringGetTextDatum(pm->name)};

	return pm->correlate != NULL && !pm->journal && exec_as_owner(&any, values, NULL) > 0;
}

static void
erase_notice(List *followers, PmLog *log, Datum stream, Datum positions)
{
	ListCell *lc;

	foreach(lc, followers)
	{
		ProcessManager *pm = lfirst(lc);

		if (pm->kind != HANDLER_INSTANCE)
			continue;
		if (erase_has_live(pm, log, stream, positions))
			ereport(NOTICE,
					(errmsg("process manager \"%s\" has live instances that have handled events "
							"of the stream",
							pm->name),
					 errhint("Their states stay as they are. pm.set_state changes them.")));
		else if (erase_may_have_live(pm))
			ereport(NOTICE,
					(errmsg("process manager \"%s\" may have live instances that have handled "
							"events of the stream",
							pm->name),
					 errdetail("It has no journal that tells which."),
					 errhint("Their states stay as they are. pm.set_state changes them.")));
	}
}

/*
 * pm.erase(log, stream, replacement)
 */
Datum
pm_erase(PG_FUNCTION_ARGS)
{
	PmLog *log;
	Datum stream;
	Datum replacement;
	Datum positions;
	List *followers;
	int64 count;

	highwater_require_fresh_snapshots("pm.erase");
	exec_require_writable("pm.erase");
	version_require("0.2.0", "pm.erase");
	/* The batch has read events, and would write what it has made of them. */
	if (within_handler())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE), errmsg("pm.erase cannot be called by a handler")));
	argument_not_null(fcinfo, 0, "log");
	argument_not_null(fcinfo, 1, "stream");
	stream = PG_GETARG_DATUM(1);
	replacement = PG_ARGISNULL(2) ? DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")) :
									PG_GETARG_DATUM(2);
	log = log_get(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	log_require_whole(log);
	erase_require_owner(log);
	/* Wait for the table before the units are locked, so that nobody waits for both. */
	log = log_lock(log, RowExclusiveLock);
	/* The table may have been given to another role meanwhile. */
	erase_require_owner(log);
	followers = erase_lock_followers(log);
	positions = erase_log(log, stream, replacement, &count);
	if (count == 0)
		PG_RETURN_INT64(0);
	CommandCounterIncrement();
	erase_notice(followers, log, stream, positions);
	erase_kept(log, positions, replacement);
	/* Dispatchers forget what they have read ahead. */
	registry_changed();
	PG_RETURN_INT64(count);
}
