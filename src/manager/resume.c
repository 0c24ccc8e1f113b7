/*
 * resume.c
 *		pm.resume: ends a pause, a halt, and the waiting of a copy.
 *
 * Without a name it is about everything that the caller may resume.  One that
 * cannot be resumed, for whatever its owner has done to it, is left as it is and
 * keeps none of the others.
 */
#include "pm.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "base/attempt.h"
#include "base/exec.h"
#include "base/within.h"
#include "log/highwater_ask.h"
#include "log/log.h"
#include "log/log_adopt.h"
#include "manager/cursor.h"
#include "manager/lane.h"
#include "manager/manager_lock.h"
#include "manager/owner.h"
#include "manager/park_queue.h"
#include "manager/register.h"
#include "shmem/wakeup.h"

/* For so long pm.resume without a name waits, for all that is at work, ms. */
#define RESUME_PATIENCE 2000

PG_FUNCTION_INFO_V1(pm_resume);

/*
 * Ends a pause, a halt, and the waiting of a copy: from now on it belongs to
 * this database of this cluster, and to the role of its owner's name here.
 */
static void
resume_one(ProcessManager *pm, bool named)
{
	static ExecStatement resume = {
		NULL,
		"UPDATE pm_catalog.process_manager SET paused = false, owner = $2, owner_name = $3::pg_catalog.name, "
		"system_identifier = $4, database = $5 WHERE id OPERATOR(pg_catalog.=) $1",
		5,
		{INT4OID, OIDOID, TEXTOID, INT8OID, OIDOID}};
	/*
	 * The functions belong to other roles here, or to roles with other OIDs.
	 * Where it became a superuser's in the copy (owner.c), that is accepted only
	 * for one that is named.
	 */
	static ExecStatement adopt = {
		NULL,
		"UPDATE pm_catalog.process_manager m SET "
		"handler_owner = (SELECT p.proowner FROM pg_catalog.pg_proc p "
		"WHERE p.oid OPERATOR(pg_catalog.=) pg_catalog.to_regprocedure(m.handler)::pg_catalog.oid), "
		"correlate_owner = (SELECT p.proowner FROM pg_catalog.pg_proc p "
		"WHERE p.oid OPERATOR(pg_catalog.=) pg_catalog.to_regprocedure(m.correlate)::pg_catalog.oid) "
		"WHERE m.id OPERATOR(pg_catalog.=) $1 AND (m.handler_owner IS NOT NULL OR $2)",
		2,
		{INT4OID, BOOLOID}};
	Datum values[5];
	ListCell *lc;

	register_require_owner(pm);
	values[0] = Int32GetDatum(pm->id);
	if (!pm->at_home)
	{
		foreach(lc, pm->logs)
		{
			if (log_adopt(lfirst(lc), !named))
				continue;
			ereport(NOTICE,
					(errmsg("process manager \"%s\" was left as it is: log \"%s\" is locked",
							pm->name, (char *) lfirst(lc)),
					 errhint("Call pm.resume again when it is free.")));
			return;
		}
		values[1] = BoolGetDatum(named);
		(void) exec_as_owner(&adopt, values, NULL);
	}
	values[1] = ObjectIdGetDatum(pm->owner);
	values[2] = CStringGetTextDatum(GetUserNameFromId(pm->owner, false));
	values[3] = Int64GetDatum((int64) GetSystemIdentifier());
	values[4] = ObjectIdGetDatum(MyDatabaseId);
	(void) exec_as_owner(&resume, values, NULL);
	owner_record(pm->name, pm->owner);
	owner_follow_all(pm->name);
	for (int lane = 0; lane < pm->lanes; lane++)
	{
		LaneState state;
		int retried;

		/*
		 * If it has halted since every key failed, they were not to blame,
		 * nor were those that are dead by now.  The row of failures goes on:
		 * if nothing can be handled still, it halts again at once.
		 */
		lane_state(pm, lane, &state);
		retried = park_retry_all(pm, lane, state.status == LANE_HALTED ? state.in_a_row : 0);
		lane_clear(pm->name, lane);
		lane_in_a_row(pm->name, lane, Min(state.in_a_row, retried), false);
	}
	register_warn_unattended(pm->name);
}

/* What is done for one of many. */
static void
resume_unnamed(void *arg)
{
	resume_one((ProcessManager *) arg, false);
}

static void
resume_log(void *arg)
{
	log_adopt_unnamed((const LogSource *) arg);
}

/*
 * Adopts the copied logs whose tables the caller owns.
 */
static void
resume_logs(void)
{
	ErrorData *error;
	ListCell *lc;

	foreach(lc, log_catalog_list())
	{
		LogSource *source = lfirst(lc);

		if (!attempt(resume_log, source, &error))
			ereport(NOTICE,
					(errmsg("log \"%s\" was left as it is: %s", source->name, error->message),
					 error->hint ? errhint("%s", error->hint) : 0));
	}
}

/*
 * pm.resume(name); NULL: all that the caller may
 */
Datum
pm_resume(PG_FUNCTION_ARGS)
{
	bool named = !PG_ARGISNULL(0);
	TimestampTz until = DT_NOEND;
	ErrorData *error;
	List *managers;
	ListCell *lc;

	highwater_require_fresh_snapshots("pm.resume");
	exec_require_writable("pm.resume");
	if (!named)
		until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RESUME_PATIENCE);
	if (!named)
		managers = registry_load(InvalidOid);
	else
		managers = list_make1(registry_get(text_to_cstring(PG_GETARG_TEXT_PP(0)), false));
	foreach(lc, managers)
	{
		ProcessManager *pm = lfirst(lc);
		bool taken;

		if (!named && (!OidIsValid(pm->owner) || !has_privs_of_role(GetUserId(), pm->owner)))
			continue;
		within_refuse(pm->name);
		taken = true;
		pm = named ? manager_lock(pm->name, false) : manager_lock_until(pm->name, until, &taken);
		if (!taken)
			ereport(NOTICE,
					(errmsg("process manager \"%s\" was left as it is: it is at work", pm->name),
					 errhint("Call pm.resume for it by name, which waits.")));
		else if (pm != NULL && named)
			resume_one(pm, true);
		else if (pm != NULL && !attempt(resume_unnamed, pm, &error))
			ereport(NOTICE, (errmsg("process manager \"%s\" was left as it is: %s", pm->name,
									error->message),
							 error->hint ? errhint("%s", error->hint) : 0));
	}
	if (!named)
		resume_logs();
	registry_changed();
	wakeup_announce();
	PG_RETURN_VOID();
}
