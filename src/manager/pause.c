/*
 * pause.c
 *		pm.pause, and pm.resume, which ends a pause or a halt, and starts copied process managers.
 *
 * Without a name, pm.resume resumes everything that the caller may resume.  A process
 * manager that cannot be resumed is left as it is, and does not keep the others from
 * being resumed.
 */
#include "pm.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/attempt.h"
#include "base/exec.h"
#include "base/report.h"
#include "base/within.h"
#include "log/erasure.h"
#include "log/highwater_ask.h"
#include "log/log.h"
#include "log/log_adopt.h"
#include "log/log_catalog.h"
#include "manager/consumer_role.h"
#include "manager/function_owner.h"
#include "manager/lane.h"
#include "manager/lease.h"
#include "manager/manager_lock.h"
#include "manager/owner_check.h"
#include "manager/park_queue.h"
#include "manager/shell_type.h"
#include "manager/unattended.h"
#include "shmem/wakeup.h"

/* How long pm.resume without a name waits for batches that run, in all, in ms. */
#define RESUME_PATIENCE 2000

PG_FUNCTION_INFO_V1(pm_pause);
PG_FUNCTION_INFO_V1(pm_resume);

/*
 * pm.pause(name)
 */
Datum
pm_pause(PG_FUNCTION_ARGS)
{
	static ExecStatement pause = {
		NULL,
		"UPDATE pm_catalog.process_manager SET paused = true "
		"WHERE name OPERATOR(pg_catalog.=) $1",
		1,
		{TEXTOID},
	};
	/* Taking the lock waits for batches that run, so none runs when pm.pause has returned. */
	ProcessManager *pm = manager_lock_for("pm.pause", text_to_cstring(PG_GETARG_TEXT_PP(0)));
	Datum values[1] = {CStringGetTextDatum(pm->name)};

	(void) exec_as_owner(&pause, values, NULL);
	if (!pm->paused)
		ereport(LOG, (errmsg("process manager \"%s\" in database \"%s\" was paused by \"%s\"",
							 pm->name, report_database(), GetUserNameFromId(GetUserId(), false))));
	registry_changed();
	PG_RETURN_VOID();
}

/* ---------- pm.resume ---------- */

/*
 * Records in the registration this database of this cluster, and the role that
 * has the owner's name here.  Ends a pause.
 */
static void
resume_update(ProcessManager *pm)
{
	static ExecStatement update = {
		NULL,
		"UPDATE pm_catalog.process_manager SET paused = false, "
		"owner = $2, owner_name = $3::pg_catalog.name, "
		"system_identifier = $4, database = $5 "
		"WHERE id OPERATOR(pg_catalog.=) $1",
		5,
		{INT4OID, OIDOID, TEXTOID, INT8OID, OIDOID},
	};
	Datum values[5];

	values[0] = Int32GetDatum(pm->id);
	values[1] = ObjectIdGetDatum(pm->owner);
	values[2] = CStringGetTextDatum(GetUserNameFromId(pm->owner, false));
	values[3] = Int64GetDatum((int64) GetSystemIdentifier());
	values[4] = ObjectIdGetDatum(MyDatabaseId);
	(void) exec_as_owner(&update, values, NULL);
}

/*
 * Adopts the logs and functions of a copied process manager.  Returns false,
 * with a notice, if a log is locked and the caller did not name the process
 * manager; then it stays a copy.
 */
static bool
resume_adopt(ProcessManager *pm, bool named)
{
	ListCell *lc;

	foreach(lc, pm->logs)
	{
		if (log_adopt(lfirst(lc), !named))
			continue;
		ereport(NOTICE, (errmsg("process manager \"%s\" was left as it is: log \"%s\" is locked",
								pm->name, (char *) lfirst(lc)),
						 errhint("Call pm.resume again when it is free.")));
		return false;
	}

	/*
	 * The functions belong to other roles here than where they were accepted,
	 * or to the same ones under other OIDs.  Where the copy was given to a
	 * superuser, nothing is known of their owners (owner.c).  Then they are
	 * accepted only if the process manager is named.
	 */
	if (named || OidIsValid(pm->found_handler.registered_owner))
		function_owner_record(pm->name);
	return true;
}

/*
 * Ends a halt of a lane, or any other state that keeps it from running.
 */
static void
resume_lane(ProcessManager *pm, int lane)
{
	LaneState state;
	int retried;

	/*
	 * If the lane has halted because every key failed, the keys were not the
	 * cause.  So the dead ones among them are tried again too: as many as
	 * failed in a row.  The count of failures in a row is not reset.  If still
	 * nothing can be handled, the lane halts again at once.
	 */
	lane_state(pm, lane, &state);
	retried = park_retry_all(pm, lane, state.status == LANE_HALTED ? state.in_a_row : 0);
	lane_clear(pm->name, lane);
	lane_in_a_row(pm->name, lane, Min(state.in_a_row, retried), false);
}

/*
 * Resumes a process manager whose units are locked.
 */
static void
resume_one(ProcessManager *pm, bool named)
{
	owner_check(pm);
	if (!pm->at_home && !resume_adopt(pm, named))
		return;
	if (!pm->at_home)
	{
		/* Leases of the original are not valid here. */
		lease_void(pm);
		consumer_role_adopt(pm);
	}
	resume_update(pm);
	shell_type_record(pm->name, pm->owner);
	consumer_role_record(pm->name);
	shell_type_depend_all(pm->name);
	for (int lane = 0; lane < pm->lanes; lane++)
		resume_lane(pm, lane);
	if (pm->handler != NULL)
		unattended_warn(pm->name);
	if (named || pm->paused)
		ereport(LOG, (errmsg("process manager \"%s\" in database \"%s\" was resumed by \"%s\"",
							 pm->name, report_database(), GetUserNameFromId(GetUserId(), false))));
}

static void
resume_attempt(void *arg)
{
	resume_one((ProcessManager *) arg, false);
}

/*
 * Resumes a process manager that the user did not name.  If it cannot be
 * resumed, raises a notice with the reason.
 */
static void
resume_unnamed(ProcessManager *pm, TimestampTz until)
{
	ErrorData *error;
	bool locked;

	within_refuse(pm->name);
	pm = manager_lock_until(pm->name, until, &locked);
	if (!locked)
		ereport(NOTICE,
				(errmsg("process manager \"%s\" was left as it is: it is running", pm->name),
				 errhint("Call pm.resume for it by name, which waits.")));
	else if (pm != NULL && !attempt(resume_attempt, pm, &error))
		ereport(NOTICE,
				(errmsg("process manager \"%s\" was left as it is: %s", pm->name, error->message),
				 error->hint ? errhint("%s", error->hint) : 0));
}

static void
resume_attempt_log(void *arg)
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

		if (!attempt(resume_attempt_log, source, &error))
			ereport(NOTICE,
					(errmsg("log \"%s\" was left as it is: %s", source->name, error->message),
					 error->hint ? errhint("%s", error->hint) : 0));
	}
}

/*
 * Resumes all that the caller may.
 */
static void
resume_all(void)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RESUME_PATIENCE);
	ListCell *lc;

	highwater_require_fresh_snapshots("pm.resume");
	exec_require_writable("pm.resume");
	foreach(lc, registry_load(InvalidOid))
	{
		ProcessManager *pm = lfirst(lc);

		if (OidIsValid(pm->owner) && has_privs_of_role(GetUserId(), pm->owner))
			resume_unnamed(pm, until);
	}
	resume_logs();
}

/*
 * pm.resume(name); NULL: all that the caller may
 */
Datum
pm_resume(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
	{
		resume_all();
		/* Those of logs that were dropped have no owner who could adopt them. */
		if (superuser())
			erasure_adopt(NULL);
	}
	else
		resume_one(manager_lock_for("pm.resume", text_to_cstring(PG_GETARG_TEXT_PP(0))), true);
	registry_changed();
	wakeup_announce();
	PG_RETURN_VOID();
}
