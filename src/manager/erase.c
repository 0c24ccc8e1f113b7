/*
 * erase.c
 *		pm.erase: replaces the data of a stream's events, wherever pm has kept it.
 *
 * The log belongs to the caller, who updates it.  What process managers have kept of the
 * events belongs to their owners, but is erased too: the data is about somebody else,
 * and the owner of the log cannot ask the owner of each follower.  The private tables
 * are changed as the extension's owner, and no code of a user runs there.
 *
 * First the units of the caller's process managers that follow the log are locked.  So no
 * batch has old data in memory that it would write after we have looked.  Dispatchers read
 * again what they have read ahead, since the registrations count as changed (reading.c).
 *
 * The caller could keep the transaction open for a long time, and so hold up the process
 * managers of other roles, or their owners could hold up the caller.  What the process
 * managers of other roles have kept is erased when the transaction commits
 * (erase_commit.c), or later (erasure.c).
 *
 * The states of live instances are for their owners to change.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"

#include "base/argument.h"
#include "base/exec.h"
#include "base/key.h"
#include "base/version.h"
#include "base/within.h"
#include "log/highwater_ask.h"
#include "log/kept_event.h"
#include "log/log_open.h"
#include "manager/erase_commit.h"
#include "manager/erase_kept.h"
#include "manager/manager_lock.h"
#include "manager/registry.h"

PG_FUNCTION_INFO_V1(pm_erase);

/* ---------- the log ---------- */

/*
 * Only the owner of the table may do it: its triggers, and the functions of its indexes,
 * run as the role that updates it.
 */
static void
erase_require_owner(PmLog *log)
{
	if (GetUserId() != log->owner)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of log \"%s\"", log->name),
				 errdetail(
					 "Triggers and functions of its table run as the role that calls pm.erase."),
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
	plan = exec_prepare(psprintf("UPDATE %s%s SET %s = $2 "
								 "WHERE %s OPERATOR(pg_catalog.=) $1 RETURNING %s",
								 log->only, log->table, log->data, log->stream, log->pos),
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

/*
 * Replaces the data of the copies of parked events that are no longer in the log.
 * Returns the positions with theirs.
 */
static Datum
erase_kept_aside(PmLog *log, Datum stream, Datum replacement, Datum positions)
{
	int count;
	Datum kept = kept_event_erase(log->name, stream, replacement, &count);

	if (count == 0)
		return positions;
	return OidFunctionCall2(F_ARRAY_CAT, positions, kept);
}

/* ---------- live instances ---------- */

/*
 * Does the process manager have a live instance that has handled one of the events?
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
erase_notice(PmLog *log, Datum stream, Datum positions)
{
	ListCell *lc;

	foreach(lc, registry_load(InvalidOid))
	{
		ProcessManager *pm = lfirst(lc);

		if (pm->kind != HANDLER_INSTANCE || !erase_follows(pm, log->name))
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
					 errdetail("It has no journal that shows which ones."),
					 errhint("Their states stay as they are. pm.set_state changes them.")));
	}
}

/* ---------- the function ---------- */

/*
 * Locks those process managers of the role that owns the log that follow the log and have a
 * handler.  Returns their ids.
 *
 * A role of which the owner is a member could keep its own process managers locked for as
 * long as it likes, and so could a consumer.
 */
static List *
erase_lock_own(PmLog *log)
{
	List *ids = NIL;
	ListCell *lc;

	foreach(lc, registry_load(log->owner))
	{
		ProcessManager *pm = lfirst(lc);

		if (!erase_follows(pm, log->name) || pm->handler == NULL)
			continue;
		pm = manager_lock_unchecked(pm->name);
		if (pm == NULL)
			continue;
		/* While we waited, it may have been given to another role. */
		if (pm->owner == log->owner)
			ids = lappend_int(ids, pm->id);
		else
			manager_unlock(pm);
	}
	return ids;
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
	List *locked;
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
	if (log->kind == LOG_ATTACHED)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("pm.erase cannot change log \"%s\", which is attached", log->name),
						errdetail("Its table %s belongs to another program.", log->table),
						errhint("Change the rows as that program does.")));
	log_require_whole(log);
	erase_require_owner(log);
	/* Wait for the table before the units are locked, so that nobody waits for both. */
	log = log_lock(log, RowExclusiveLock);
	/* The table may have been given to another role meanwhile. */
	erase_require_owner(log);
	locked = erase_lock_own(log);
	positions = erase_log(log, stream, replacement, &count);
	positions = erase_kept_aside(log, stream, replacement, positions);
	if (ArrayGetNItems(ARR_NDIM(DatumGetArrayTypeP(positions)),
					   ARR_DIMS(DatumGetArrayTypeP(positions))) == 0)
		PG_RETURN_INT64(0);
	CommandCounterIncrement();
	erase_notice(log, stream, positions);
	erase_kept(registry_load(log->owner), log->name, positions, replacement);
	erase_commit_later(log->name, positions, replacement, locked);
	/* Dispatchers forget what they have read ahead. */
	registry_changed();
	PG_RETURN_INT64(count);
}
