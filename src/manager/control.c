/*
 * control.c
 *		Changing a process manager that exists: pause, seek, unfollow, unregister.
 *
 * Each waits for the batches that run, and is in force when its transaction
 * commits.
 */
#include "pm.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "base/exec.h"
#include "base/report.h"
#include "base/within.h"
#include "log/highwater_ask.h"
#include "log/log_adopt.h"
#include "log/log_open.h"
#include "manager/control.h"
#include "manager/cursor.h"
#include "manager/lane.h"
#include "manager/manager_lock.h"
#include "manager/owner.h"
#include "manager/register.h"
#include "manager/repartition.h"
#include "manager/resolve.h"
#include "shmem/wakeup.h"

PG_FUNCTION_INFO_V1(pm_unfollow);
PG_FUNCTION_INFO_V1(pm_unregister);
PG_FUNCTION_INFO_V1(pm_pause);
PG_FUNCTION_INFO_V1(pm_seek);

/*
 * A process manager that the caller may change, with its units locked.
 */
static ProcessManager *
control_take(char *name, const char *function)
{
	highwater_require_fresh_snapshots(function);
	exec_require_writable(function);
	within_refuse(name);
	return manager_lock(name, false);
}

static void
control_execute(ExecStatement *statement, const char *name, const char *log)
{
	ExecScope scope;
	Datum values[2];

	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(name);
	if (log != NULL)
		values[1] = CStringGetTextDatum(log);
	exec_statement(statement, values, NULL);
	exec_end(&scope);
}

/*
 * How much there is besides the cursors.
 */
ControlKept
control_kept(const char *manager)
{
	static ExecStatement count_kept = {
		NULL,
		"SELECT (SELECT pg_catalog.count(*) FROM pm_catalog.instance WHERE process_manager OPERATOR(pg_catalog.=) $1), "
		"(SELECT pg_catalog.count(*) FROM pm_catalog.timer WHERE process_manager OPERATOR(pg_catalog.=) $1), "
		"(SELECT pg_catalog.count(*) FROM pm_catalog.parked WHERE process_manager OPERATOR(pg_catalog.=) $1)",
		1,
		{TEXTOID}};
	ControlKept kept;
	ExecScope scope;
	Datum values[1] = {CStringGetTextDatum(manager)};
	bool isnull;

	exec_begin_owner(&scope);
	exec_statement(&count_kept, values, NULL);
	kept.instances = DatumGetInt64(exec_value(0, 1, &isnull));
	kept.timers = DatumGetInt64(exec_value(0, 2, &isnull));
	kept.parked = DatumGetInt64(exec_value(0, 3, &isnull));
	exec_end(&scope);
	return kept;
}

/*
 * Deletes it.
 */
static void
control_forget(const char *manager)
{
	static ExecStatement forget = {
		NULL,
		"WITH i AS (DELETE FROM pm_catalog.instance WHERE process_manager OPERATOR(pg_catalog.=) $1), "
		"t AS (DELETE FROM pm_catalog.timer WHERE process_manager OPERATOR(pg_catalog.=) $1) "
		"DELETE FROM pm_catalog.parked WHERE process_manager OPERATOR(pg_catalog.=) $1",
		1,
		{TEXTOID}};

	control_execute(&forget, manager, NULL);
}

/*
 * The name under which a process manager follows a log.
 */
static char *
control_followed(ProcessManager *pm, char *given)
{
	char *normal = log_normalize(given);

	if (register_in(pm->logs, given))
		return given;
	if (normal != NULL && register_in(pm->logs, normal))
		return normal;
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
					errmsg("process manager \"%s\" does not follow log \"%s\"", pm->name, given)));
}

/*
 * Parked events of a log have not been handled: nobody gives them up by
 * accident.
 */
static void
control_refuse_parked(ProcessManager *pm, const char *log)
{
	static ExecStatement oldest_parked =
		{NULL,
		 "SELECT pg_catalog.min(position), pg_catalog.count(*) FROM pm_catalog.parked "
		 "WHERE process_manager OPERATOR(pg_catalog.=) $1 AND log OPERATOR(pg_catalog.=) $2",
		 2,
		 {TEXTOID, TEXTOID}};
	ExecScope scope;
	Datum values[2] = {CStringGetTextDatum(pm->name), CStringGetTextDatum(log)};
	int64 position;
	int64 count;
	bool isnull;

	exec_begin_owner(&scope);
	exec_statement(&oldest_parked, values, NULL);
	position = DatumGetInt64(exec_value(0, 1, &isnull));
	count = DatumGetInt64(exec_value(0, 2, &isnull));
	exec_end(&scope);
	if (count > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("process manager \"%s\" has parked events of log \"%s\"", pm->name, log),
				 errdetail("There are %lld of them, the first at position %lld.", (long long) count,
						   (long long) position),
				 errhint("Have them handled with pm.retry, or give them up with pm.discard.")));
}

/*
 * Ends the following of a log.  Returns how many parked events went with it.
 */
int64
control_unfollow(ProcessManager *pm, const char *log)
{
	static ExecStatement delete_cursor =
		{NULL,
		 "WITH c AS (DELETE FROM pm_catalog.cursor WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		 "AND log OPERATOR(pg_catalog.=) $2) "
		 "UPDATE pm_catalog.process_manager SET logs = pg_catalog.array_remove(logs, $2) "
		 "WHERE name OPERATOR(pg_catalog.=) $1",
		 2,
		 {TEXTOID, TEXTOID}};
	LaneState state;
	int64 parked;

	parked = resolve_give_up(pm, log);
	control_execute(&delete_cursor, pm->name, log);
	repartition_forget(pm->name, log);
	for (int lane = 0; lane < pm->lanes; lane++)
	{
		/* What it failed at is not its business any more. */
		lane_state(pm, lane, &state);
		if (state.log != NULL && strcmp(state.log, log) == 0)
			lane_clear(pm->name, lane);
	}
	registry_changed();
	return parked;
}

/*
 * pm.unfollow(name, log)
 */
Datum
pm_unfollow(PG_FUNCTION_ARGS)
{
	ProcessManager *pm = control_take(text_to_cstring(PG_GETARG_TEXT_PP(0)), "pm.unfollow");
	char *log = control_followed(pm, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	Oid relid;

	if (list_length(pm->logs) == 1)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("log \"%s\" is the only one that process manager \"%s\" follows",
							   log, pm->name),
						errhint("SELECT pm.unregister(%s) ends it altogether.",
								quote_literal_cstr(pm->name))));
	control_refuse_parked(pm, log);
	(void) control_unfollow(pm, log);
	if (log_find(log, &relid, true) != NULL)
		owner_unfollow(pm->name, relid);
	PG_RETURN_VOID();
}

/*
 * Forgets a process manager, whose units are locked.
 */
void
control_unregister(ProcessManager *pm)
{
	static ExecStatement delete_manager = {
		NULL,
		"WITH c AS (DELETE FROM pm_catalog.cursor WHERE process_manager OPERATOR(pg_catalog.=) $1), "
		"l AS (DELETE FROM pm_catalog.lane WHERE process_manager OPERATOR(pg_catalog.=) $1) "
		"DELETE FROM pm_catalog.process_manager WHERE name OPERATOR(pg_catalog.=) $1",
		1,
		{TEXTOID}};

	control_forget(pm->name);
	repartition_forget(pm->name, NULL);
	control_execute(&delete_manager, pm->name, NULL);
	owner_forget(pm->name);
	registry_changed();
}

/*
 * pm.unregister(name)
 */
Datum
pm_unregister(PG_FUNCTION_ARGS)
{
	control_unregister(control_take(text_to_cstring(PG_GETARG_TEXT_PP(0)), "pm.unregister"));
	PG_RETURN_VOID();
}

/*
 * pm.pause(name)
 */
Datum
pm_pause(PG_FUNCTION_ARGS)
{
	static ExecStatement pause =
		{NULL,
		 "UPDATE pm_catalog.process_manager SET paused = true WHERE name OPERATOR(pg_catalog.=) $1",
		 1,
		 {TEXTOID}};
	ProcessManager *pm = control_take(text_to_cstring(PG_GETARG_TEXT_PP(0)), "pm.pause");

	control_execute(&pause, pm->name, NULL);
	registry_changed();
	PG_RETURN_VOID();
}

/*
 * What is kept besides the cursors follows from the events handled so far, and
 * would be wrong when some of them are handled again.
 */
static void
control_seek_kept(ProcessManager *pm, const char *log, int64 after, bool reset)
{
	ControlKept kept = control_kept(pm->name);
	bool back = false;
	ListCell *lc;

	if (kept.instances + kept.timers + kept.parked == 0)
		return;
	for (int lane = 0; lane < pm->lanes; lane++)
		foreach(lc, cursor_list(pm, lane))
			if (strcmp(((Cursor *) lfirst(lc))->log, log) == 0 &&
				((Cursor *) lfirst(lc))->position > after)
				back = true;
	foreach(lc, pm->former_lanes)
		if (strcmp(((FormerLane *) lfirst(lc))->log, log) == 0 &&
			((FormerLane *) lfirst(lc))->position > after)
			back = true;
	if (reset)
	{
		control_forget(pm->name);
		ereport(
			NOTICE,
			(errmsg(
				"deleted of process manager \"%s\": instances: %lld, timers: %lld, parked events: %lld",
				pm->name, (long long) kept.instances, (long long) kept.timers,
				(long long) kept.parked)));
	}
	else if (back)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot set process manager \"%s\" back to position %lld of log \"%s\"",
						pm->name, (long long) after, log),
				 errdetail("It has instances: %lld, timers: %lld, parked events: %lld.",
						   (long long) kept.instances, (long long) kept.timers,
						   (long long) kept.parked),
				 errhint("With reset => true they are deleted, those of its other logs too.")));
}

/*
 * pm.seek(name, log, after, reset)
 */
Datum
pm_seek(PG_FUNCTION_ARGS)
{
	static ExecStatement seek =
		{NULL,
		 "UPDATE pm_catalog.cursor SET position = $3, moved_at = pg_catalog.clock_timestamp() "
		 "WHERE process_manager OPERATOR(pg_catalog.=) $1 AND log OPERATOR(pg_catalog.=) $2",
		 3,
		 {TEXTOID, TEXTOID, INT8OID}};
	ProcessManager *pm = registry_get(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	char *name;
	int64 after = PG_GETARG_INT64(2);
	PmLog *log;
	Highwater mark;
	LaneState state;
	Datum values[3];

	/* Whoever holds the table keeps the other logs from being handled if the units are taken first.
	 */
	registry_require_owner(pm);
	name = control_followed(pm, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	(void) log_open_as(name, pm->owner);
	pm = control_take(pm->name, "pm.seek");
	log = log_open_as(control_followed(pm, name), pm->owner);
	log_require_whole(log);
	LockDatabaseObject(exec_catalog_relid("log"), log->relid, 0, RowExclusiveLock);

	/* Past the mark it would skip what nobody has seen yet. */
	mark = highwater_await(log->relid, log->seqid, HIGHWATER_OWN, log->name);
	if (after < 0 || after > mark.mark)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("position %lld is not between 0 and the high-water mark of log \"%s\"",
						(long long) after, log->name),
				 errdetail("The high-water mark is %lld.", (long long) mark.mark)));

	control_seek_kept(pm, log->name, after, PG_GETARG_BOOL(3));
	values[0] = CStringGetTextDatum(pm->name);
	values[1] = CStringGetTextDatum(log->name);
	values[2] = Int64GetDatum(after);
	(void) exec_as_owner(&seek, values, NULL);
	repartition_forget(pm->name, log->name);
	for (int lane = 0; lane < pm->lanes; lane++)
	{
		/* It does not have to be handled any more, or is to be handled afresh. */
		lane_state(pm, lane, &state);
		if ((state.log != NULL && strcmp(state.log, log->name) == 0) ||
			(state.log == NULL && state.position != 0 && PG_GETARG_BOOL(3)))
			lane_clear(pm->name, lane);
		lane_in_a_row(pm->name, lane, 0, false);
	}
	ereport(
		LOG,
		(errmsg(
			"process manager \"%s\" in database \"%s\" was set to position %lld of log \"%s\" by \"%s\"",
			pm->name, report_database(), (long long) after, log->name,
			GetUserNameFromId(GetUserId(), false))));
	registry_changed();
	PG_RETURN_VOID();
}
