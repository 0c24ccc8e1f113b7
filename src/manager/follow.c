/*
 * follow.c
 *		Makes a process manager follow a log, or stop following it (pm.unfollow).
 *
 * All of this assumes that the caller holds the locks of all units of the
 * process manager, or has just added it.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"

#include "base/exec.h"
#include "log/log_adopt.h"
#include "log/log_name.h"
#include "log/log_open.h"
#include "log/log_trouble.h"
#include "manager/cursor_change.h"
#include "manager/follow.h"
#include "manager/lane.h"
#include "manager/manager_lock.h"
#include "manager/repartition.h"
#include "manager/resolve.h"
#include "manager/shell_type.h"
#include "manager/start_at.h"

PG_FUNCTION_INFO_V1(pm_unfollow);

bool
follow_has(List *logs, const char *log)
{
	ListCell *lc;

	foreach(lc, logs)
		if (strcmp(lfirst(lc), log) == 0)
			return true;
	return false;
}

/*
 * A hash table of names of logs.  A process manager can follow thousands of logs.
 */
static HTAB *
follow_set(List *logs)
{
	HASHCTL ctl;
	HTAB *set;
	ListCell *lc;

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = ctl.entrysize = LOG_MAX_NAME;
	ctl.hcxt = CurrentMemoryContext;
	set = hash_create("pm names of logs", 64, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	foreach(lc, logs)
		(void) hash_search(set, lfirst(lc), HASH_ENTER, NULL);
	return set;
}

/*
 * Adds a name.  False if it was there.
 */
static bool
follow_set_add(HTAB *set, const char *log)
{
	bool found;

	(void) hash_search(set, log, HASH_ENTER, &found);
	return !found;
}

/*
 * The logs that are named, each once.
 */
List *
follow_find(List *given)
{
	List *logs = NIL;
	HTAB *seen = follow_set(NIL);
	ListCell *lc;

	foreach(lc, given)
	{
		Oid relid;
		char *log = log_find(lfirst(lc), &relid, false);

		if (follow_set_add(seen, log))
			logs = lappend(logs, log);
	}
	hash_destroy(seen);
	return logs;
}

/*
 * The name under which a process manager follows a log.  The log itself may be
 * gone.
 */
char *
follow_name(ProcessManager *pm, char *given)
{
	char *normal = log_normalize(given);
	char *first = log_name_first(given);

	if (first == NULL && normal != NULL)
		first = log_name_first(normal);
	if (follow_has(pm->logs, given))
		return given;
	if (normal != NULL && follow_has(pm->logs, normal))
		return normal;
	/* The log has another name now. */
	if (first != NULL && follow_has(pm->logs, first))
		return first;
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
					errmsg("process manager \"%s\" does not follow log \"%s\"", pm->name, given)));
}

/*
 * Keeps an attached log from being detached.  The lock on the log that is taken below does not,
 * because it is one of the table, which several logs can share.
 */
static PmLog *
follow_hold(PmLog *log, Oid owner)
{
	const char *name = pstrdup(log->name);
	bool held = false;

	while (!held)
	{
		/* It may have been detached and attached again while we waited. */
		held = log_catalog_hold(name);
		AcceptInvalidationMessages();
		log = log_open_as(name, owner);
	}
	return log;
}

/*
 * Begins to follow a log, with the rights of the owner, except that no cursor is added yet.
 */
static int64
follow_begin_one(const char *manager, Oid owner, const char *log_name, const char *start_at)
{
	PmLog *log = log_open_as(log_name, owner);

	if (log->kind == LOG_ATTACHED)
		log = follow_hold(log, owner);
	log_require_whole(log);
	log_require_select(log, owner);
	if (!log->at_home)
	{
		/* The log was copied here with its database, and is used here from now on. */
		(void) log_adopt(log->name, false);
		CommandCounterIncrement();
		log = log_open(log_name);
	}
	/* pm.trim must not delete events between the choice of the position and our commit. */
	LockDatabaseObject(exec_catalog_relid("log"), log->relid, 0, RowExclusiveLock);
	shell_type_depend(manager, log->relid);
	return start_at_position(log, start_at);
}

void
follow_begin(const char *manager, Oid owner, List *old, List *logs, int lanes, const char *start_at)
{
	int64 *positions = palloc(sizeof(int64) * Max(list_length(logs), 1));
	HTAB *followed = follow_set(old);
	List *begun = NIL;
	ListCell *lc;

	foreach(lc, logs)
	{
		if (!follow_set_add(followed, lfirst(lc)))
			continue;
		positions[list_length(begun)] = follow_begin_one(manager, owner, lfirst(lc), start_at);
		begun = lappend(begun, lfirst(lc));
	}
	hash_destroy(followed);
	if (begun != NIL)
		cursor_add(manager, begun, positions, lanes);
}

/*
 * Makes the process manager stop following a log.
 */
int64
follow_end(ProcessManager *pm, const char *log)
{
	int64 parked = resolve_give_up(pm, log);

	cursor_remove(pm->name, log);
	repartition_forget(pm->name, log);
	for (int lane = 0; lane < pm->lanes; lane++)
	{
		LaneState state;

		/* A failed event of this log no longer keeps the unit from running. */
		lane_state(pm, lane, &state);
		if (state.log != NULL && strcmp(state.log, log) == 0)
			lane_clear(pm->name, lane);
	}
	registry_changed();
	return parked;
}

/*
 * Parked events of a log have not been handled.  pm.unfollow must not discard
 * them by accident.
 */
static void
follow_refuse_parked(ProcessManager *pm, const char *log)
{
	static ExecStatement oldest_parked = {
		NULL,
		"SELECT pg_catalog.min(position), pg_catalog.count(*) "
		"FROM pm_catalog.parked "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1 AND log OPERATOR(pg_catalog.=) $2",
		2,
		{TEXTOID, TEXTOID},
	};
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
				 errhint("Retry them with pm.retry and wait until they are handled, "
						 "or give them up with pm.discard.")));
}

/*
 * Does the process manager follow another log with this table?  Attached logs can share one.
 */
static bool
follow_shares_table(ProcessManager *pm, const char *log, Oid relid)
{
	ListCell *lc;

	foreach(lc, pm->logs)
	{
		Oid other;

		if (strcmp(lfirst(lc), log) != 0 && log_find(lfirst(lc), &other, true) != NULL &&
			other == relid)
			return true;
	}
	return false;
}

/*
 * pm.unfollow(name, log)
 */
Datum
pm_unfollow(PG_FUNCTION_ARGS)
{
	ProcessManager *pm = manager_lock_for("pm.unfollow", text_to_cstring(PG_GETARG_TEXT_PP(0)));
	char *log = follow_name(pm, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	Oid relid;

	if (list_length(pm->logs) == 1)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("log \"%s\" is the only one that process manager \"%s\" follows",
							   log, pm->name),
						errhint("SELECT pm.unregister(%s) ends it altogether.",
								quote_literal_cstr(pm->name))));
	follow_refuse_parked(pm, log);
	(void) follow_end(pm, log);
	if (log_find(log, &relid, true) != NULL && !follow_shares_table(pm, log, relid))
		shell_type_release(pm->name, relid);
	PG_RETURN_VOID();
}
