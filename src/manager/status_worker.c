/*
 * status_worker.c
 *		Functions about the library and its workers, for pm.worker and the other views.
 */
#include "pm.h"

#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "base/guc.h"
#include "base/version.h"
#include "manager/status.h"
#include "shmem/handling.h"
#include "shmem/slot.h"
#include "shmem/slot_view.h"

PG_FUNCTION_INFO_V1(pm_status_library);
PG_FUNCTION_INFO_V1(pm_status_version_problem);
PG_FUNCTION_INFO_V1(pm_status_workers);

/*
 * pm_catalog.library(): preloaded, launcher, recovery, version, fits (the library
 * serves the version of this database's extension), system_identifier, served
 * (this database has workers)
 */
Datum
pm_status_library(PG_FUNCTION_ARGS)
{
	Datum values[7];
	bool nulls[7] = {false, false, false, false, false, false, false};
	WorkerView *workers;
	int nworkers;
	bool served = false;
	char *installed = version_installed();
	VersionFit fit = installed != NULL ? version_fit(installed) : VERSION_TOO_OLD;

	InitMaterializedSRF(fcinfo, 0);
	nworkers = slot_view(&workers);
	for (int i = 0; i < nworkers; i++)
		served |= workers[i].in_use && workers[i].database == MyDatabaseId && workers[i].pid != 0;
	values[0] = BoolGetDatum(slot_preloaded());
	values[1] = BoolGetDatum(guc_launcher);
	values[2] = BoolGetDatum(RecoveryInProgress());
	values[3] = CStringGetTextDatum(PM_VERSION);
	values[4] = BoolGetDatum(fit == VERSION_SAME || fit == VERSION_OLDER);
	values[5] = Int64GetDatum((int64) GetSystemIdentifier());
	values[6] = BoolGetDatum(served);
	status_put(fcinfo, values, nulls);
	return (Datum) 0;
}

/*
 * pm_catalog.version_problem(): reason, hint.  No row if the library serves the
 * version of this database's extension.
 */
Datum
pm_status_version_problem(PG_FUNCTION_ARGS)
{
	char *installed = version_installed();
	VersionFit fit = installed != NULL ? version_fit(installed) : VERSION_SAME;
	Datum values[2];
	bool nulls[2] = {false, false};

	InitMaterializedSRF(fcinfo, 0);
	if (fit != VERSION_NEWER && fit != VERSION_TOO_OLD)
		return (Datum) 0;
	if (fit == VERSION_NEWER)
	{
		values[0] = CStringGetTextDatum(psprintf(
			"no worker runs, because the library of pm has version %s, which is older than "
			"version %s of the extension",
			PM_VERSION, installed));
		values[1] = CStringGetTextDatum(
			psprintf("Install version %s of the library and restart the server.", installed));
	}
	else
	{
		values[0] = CStringGetTextDatum(
			psprintf("no worker runs, because the extension has version %s, and version %s of the "
					 "library serves extensions from version %s on",
					 installed, PM_VERSION, PM_OLDEST_SERVED));
		values[1] = CStringGetTextDatum("Run ALTER EXTENSION pm UPDATE in this database.");
	}
	status_put(fcinfo, values, nulls);
	return (Datum) 0;
}

/*
 * May the caller know about the worker?  pg_monitor may know about all workers,
 * other roles about those that serve a role of which they are a member.
 */
static bool
status_worker_may_see(const WorkerView *worker)
{
	return has_privs_of_role(GetUserId(), ROLE_PG_MONITOR) ||
		   (OidIsValid(worker->role) && has_privs_of_role(GetUserId(), worker->role));
}

/*
 * A row of pm_catalog.workers().
 */
static void
status_worker_put(FunctionCallInfo fcinfo, const WorkerView *worker)
{
	const Handling *handling = &worker->now.handling;
	bool handles = handling->manager != 0;
	uint32 wait_event = 0;
	Datum values[14];
	bool nulls[14] = {false};

	/* The process may have ended, and another process may use its entry now. */
	if (worker->proc != NULL && worker->proc->pid == worker->pid)
		wait_event = status_wait_event(worker->proc);

	values[0] = Int32GetDatum(worker->pid);
	nulls[0] = worker->pid == 0;
	values[1] = CStringGetTextDatum(worker_kind_name(worker->kind));
	values[2] = ObjectIdGetDatum(worker->database);
	nulls[2] = !OidIsValid(worker->database);
	values[3] = ObjectIdGetDatum(worker->role);
	nulls[3] = !OidIsValid(worker->role);
	values[4] = CStringGetTextDatum(worker_kind_activity_name(worker->now.activity));
	values[5] = TimestampTzGetDatum(worker->now.since);
	values[6] = CStringGetTextDatum(worker->now.name);
	values[7] = Int32GetDatum(handling->lane);
	nulls[6] = nulls[7] = !handles;
	values[8] = CStringGetTextDatum(handling->log);
	values[9] = Int64GetDatum(handling->position);
	nulls[8] = nulls[9] = !handles || handling->log[0] == '\0';
	values[10] = BoolGetDatum(worker->now.overdue);
	values[11] = TimestampTzGetDatum(worker->started_at);
	status_put_wait_event(wait_event, &values[12], &nulls[12]);
	status_put(fcinfo, values, nulls);
}

/*
 * pm_catalog.workers(): pid, kind, database, role, state, since,
 * process_manager, lane, log, position, overdue, started_at, wait_event_type,
 * wait_event
 */
Datum
pm_status_workers(PG_FUNCTION_ARGS)
{
	WorkerView *workers;
	int nworkers;

	InitMaterializedSRF(fcinfo, 0);
	nworkers = slot_view(&workers);
	for (int i = 0; i < nworkers; i++)
		if (workers[i].in_use && status_worker_may_see(&workers[i]))
			status_worker_put(fcinfo, &workers[i]);
	return (Datum) 0;
}
