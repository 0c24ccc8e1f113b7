/*
 * status.c
 *		What the monitoring views ask of C: the workers, the marks, who holds
 *		them, the library.
 *
 * Everybody may call these functions, through the views or not: each tells
 * only what the caller may know.
 */
#include "pm.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "guc.h"
#include "log.h"
#include "log_index.h"
#include "slot.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(pm_status_library);
PG_FUNCTION_INFO_V1(pm_status_workers);
PG_FUNCTION_INFO_V1(pm_status_log);
PG_FUNCTION_INFO_V1(pm_status_holders);
PG_FUNCTION_INFO_V1(pm_status_oldest);

static void
status_put(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * May the caller hear of the log?
 */
static bool
status_may_see(PmLog *log)
{
	return has_privs_of_role(GetUserId(), ROLE_PG_MONITOR) || log_may_select(log, GetUserId());
}

/*
 * pm_catalog.library(): preloaded, launcher, recovery, version,
 * system_identifier
 */
Datum
pm_status_library(PG_FUNCTION_ARGS)
{
	Datum		values[5];
	bool		nulls[5] = {false, false, false, false, false};

	InitMaterializedSRF(fcinfo, 0);
	values[0] = BoolGetDatum(Slots != NULL);
	values[1] = BoolGetDatum(guc_launcher);
	values[2] = BoolGetDatum(RecoveryInProgress());
	values[3] = CStringGetTextDatum(PM_VERSION);
	values[4] = Int64GetDatum((int64) GetSystemIdentifier());
	status_put(fcinfo, values, nulls);
	return (Datum) 0;
}

/*
 * pm_catalog.workers(): pid, kind, database, role, state, since,
 * process_manager, lane, log, position, overdue, started_at
 */
Datum
pm_status_workers(PG_FUNCTION_ARGS)
{
	static const char *const kinds[] = {"launcher", "scheduler", "dispatcher"};
	static const char *const states[] = {"starting", "idle", "reading", "handling", "committing"};

	bool		monitor = has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);

	InitMaterializedSRF(fcinfo, 0);
	if (Slots == NULL)
		return (Datum) 0;
	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];
		WorkerSlot	copy;
		Datum		values[12];
		bool		nulls[12];

		LWLockAcquire(&Slots->lock, LW_SHARED);
		SpinLockAcquire(&slot->mutex);
		copy = *slot;
		SpinLockRelease(&slot->mutex);
		LWLockRelease(&Slots->lock);
		if (!copy.in_use || !(monitor || (OidIsValid(copy.role) && has_privs_of_role(GetUserId(), copy.role))))
			continue;

		memset(nulls, false, sizeof(nulls));
		values[0] = Int32GetDatum(copy.pid);
		nulls[0] = copy.pid == 0;
		values[1] = CStringGetTextDatum(kinds[copy.kind]);
		values[2] = ObjectIdGetDatum(copy.database);
		nulls[2] = !OidIsValid(copy.database);
		values[3] = ObjectIdGetDatum(copy.role);
		nulls[3] = !OidIsValid(copy.role);
		values[4] = CStringGetTextDatum(states[copy.now.activity]);
		values[5] = TimestampTzGetDatum(copy.now.since);
		nulls[6] = nulls[7] = copy.now.handling.manager == 0;
		values[6] = CStringGetTextDatum(copy.now.name);
		values[7] = Int32GetDatum(copy.now.handling.lane);
		nulls[8] = nulls[9] = nulls[6] || copy.now.handling.log[0] == '\0';
		values[8] = CStringGetTextDatum(copy.now.handling.log);
		values[9] = Int64GetDatum(copy.now.handling.position);
		values[10] = BoolGetDatum(copy.now.overdue);
		values[11] = TimestampTzGetDatum(copy.started_at);
		status_put(fcinfo, values, nulls);
	}
	return (Datum) 0;
}

/*
 * Was the log's sequence set back?  Readers notice where it is below what they
 * have seen.  Where nobody had looked yet, an event above the last value shows
 * it, once it has turned out that the sequence has not gone on to there.
 */
static bool
status_set_back(PmLog *log, Highwater *mark)
{
	int64		position;

	if (mark->status == HIGHWATER_REWOUND)
		return true;
	if (mark->status == HIGHWATER_UNKNOWN || !ConditionalLockRelationOid(log->relid, AccessShareLock))
		return false;
	position = log->stale ? 0 : log_index_last(log, mark->last);
	UnlockRelationOid(log->relid, AccessShareLock);
	if (position == 0)
		return false;
	*mark = highwater_compute(log->relid, log->seqid, HIGHWATER_EVERYBODY);
	mark->reached = Max(mark->reached, position);
	return mark->status != HIGHWATER_UNKNOWN && mark->last < position;
}

/*
 * pm_catalog.log_state(log): high_water_mark, last_position, problem, hint
 */
Datum
pm_status_log(PG_FUNCTION_ARGS)
{
	bool		locked;
	PmLog	   *log = log_get_nowait(text_to_cstring(PG_GETARG_TEXT_PP(0)), &locked);
	Datum		values[4];
	bool		nulls[4] = {true, true, true, true};

	InitMaterializedSRF(fcinfo, 0);
	if (log == NULL)
	{
		nulls[2] = nulls[3] = false;
		values[2] = CStringGetTextDatum(locked ? "the log's table is locked" : "the log does not exist");
		values[3] = CStringGetTextDatum(locked ? "SELECT * FROM pm.blocker shows who it is." : "Stop following it with pm.unfollow.");
		status_put(fcinfo, values, nulls);
		return (Datum) 0;
	}
	if (*log->table != '\0' && !status_may_see(log))
	{
		status_put(fcinfo, values, nulls);
		return (Datum) 0;
	}
	if (log->problem != NULL)
	{
		nulls[2] = false;
		values[2] = CStringGetTextDatum(log->problem);
		nulls[3] = log->hint == NULL;
		if (log->hint != NULL)
			values[3] = CStringGetTextDatum(log->hint);
	}
	/* A mark of a log that cannot be relied on must not get into shared memory. */
	if (log->problem == NULL && !RecoveryInProgress())
	{
		Highwater	mark = highwater_compute(log->relid, log->seqid, HIGHWATER_EVERYBODY);
		bool		set_back = status_set_back(log, &mark);

		if (mark.status != HIGHWATER_UNKNOWN)
		{
			nulls[0] = nulls[1] = false;
			values[0] = Int64GetDatum(mark.mark);
			values[1] = Int64GetDatum(mark.last);
		}
		if (set_back)
		{
			char	   *hint;

			nulls[2] = nulls[3] = false;
			values[2] = CStringGetTextDatum(highwater_set_back(log->name, mark.last, mark.reached, &hint));
			values[3] = CStringGetTextDatum(hint);
		}
	}
	status_put(fcinfo, values, nulls);
	return (Datum) 0;
}

/*
 * pm_catalog.mark_holders(log): virtual transactions, as pg_locks prints them
 */
Datum
pm_status_holders(PG_FUNCTION_ARGS)
{
	bool		locked;
	PmLog	   *log = log_get_nowait(text_to_cstring(PG_GETARG_TEXT_PP(0)), &locked);
	VirtualTransactionId *holders;
	int			count;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (log == NULL || log->problem != NULL || RecoveryInProgress() || !status_may_see(log))
		return (Datum) 0;
	holders = highwater_writers(log->relid, &count);
	for (int i = 0; i < count; i++)
	{
		Datum		values[1];
		bool		nulls[1] = {false};

		values[0] = CStringGetTextDatum(psprintf("%d/%u", compat_vxid_index(holders[i]),
												 holders[i].localTransactionId));
		status_put(fcinfo, values, nulls);
	}
	return (Datum) 0;
}

/*
 * pm_catalog.oldest_unhandled(log, position): when the first event above the
 * position was recorded
 */
Datum
pm_status_oldest(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool		locked;
	PmLog	   *log = log_get_nowait(name, &locked);
	TimestampTz recorded_at;

	if (log == NULL || log->problem != NULL || !status_may_see(log) ||
		!ConditionalLockRelationOid(log->relid, AccessShareLock))
		PG_RETURN_NULL();
	/* Locking took in what changed before. */
	if (log->stale)
	{
		PmLog	   *again = log_get_nowait(name, &locked);

		if (again == NULL || again->relid != log->relid || again->problem != NULL || !status_may_see(again))
			PG_RETURN_NULL();
		log = again;
	}
	if (!log_index_first(log, PG_GETARG_INT64(1), &recorded_at))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(recorded_at);
}
