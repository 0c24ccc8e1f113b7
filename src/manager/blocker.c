/*
 * blocker.c
 *		Finds the sessions and prepared transactions that block others, for pm.blocker.
 *
 * Every role may see which locks there are and which session waits for which, as in
 * pg_locks.  Other wait events of a session are shown only to members of its role, as
 * in pg_stat_activity.  But every role may see that a session waits for a lock or for
 * a standby, since the hint in the view depends on that.
 */
#include "pm.h"

#include "catalog/pg_authid.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/wait_event.h"

#include "manager/status.h"
#include "shmem/slot_view.h"

PG_FUNCTION_INFO_V1(pm_blocker_waits_for);
PG_FUNCTION_INFO_V1(pm_blocker_session);

/*
 * Adds the prepared transactions that hold a lock that a session waits for.
 */
static void
blocker_put_prepared(FunctionCallInfo fcinfo, int pid)
{
	BlockedProcsData *data = GetBlockerStatusData(pid);

	for (int i = 0; i < data->nprocs; i++)
	{
		BlockedProcData *proc = &data->procs[i];

		for (int j = proc->first_lock; j < proc->first_lock + proc->num_locks; j++)
		{
			LockInstanceData *lock = &data->locks[j];
			VirtualTransactionId *holders;
			int count;

			/* Of the locks on the object, only the one that the session waits for. */
			if (lock->pid != proc->pid || lock->waitLockMode == NoLock)
				continue;
			holders = GetLockConflicts(&lock->locktag, lock->waitLockMode, &count);
			for (int k = 0; k < count; k++)
				if (status_session(holders[k]) == 0)
					status_put_transaction(fcinfo, holders[k], 0);
		}
	}
}

/*
 * pm_catalog.waits_for(pid): virtualtransaction, pid (NULL: it is prepared); the
 * transactions that a session waits for, in the order of pg_blocking_pids()
 */
Datum
pm_blocker_waits_for(PG_FUNCTION_ARGS)
{
	int pid = PG_GETARG_INT32(0);
	PGPROC *proc = BackendPidGetProc(pid);
	ArrayType *array;
	int32 *pids;
	bool prepared = false;

	InitMaterializedSRF(fcinfo, 0);
	/* Reading the wait event is cheaper than searching the lock manager's tables. */
	if (proc == NULL || !status_waits_for_lock(status_wait_event(proc)))
		return (Datum) 0;
	array = DatumGetArrayTypeP(DirectFunctionCall1(pg_blocking_pids, Int32GetDatum(pid)));
	pids = (int32 *) ARR_DATA_PTR(array);
	for (int i = 0; i < ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)); i++)
	{
		VirtualTransactionId vxid;

		/* pg_blocking_pids() has a zero for each prepared transaction. */
		prepared |= pids[i] == 0;
		proc = pids[i] == 0 ? NULL : BackendPidGetProc(pids[i]);
		if (proc == NULL)
			continue;
		GET_VXID_FROM_PGPROC(vxid, *proc);
		status_put_transaction(fcinfo, vxid, pids[i]);
	}
	if (prepared)
		blocker_put_prepared(fcinfo, pid);
	return (Datum) 0;
}

/*
 * pm_catalog.session(pid): worker (its kind, if it is one of pm),
 * wait_event_type, wait_event
 */
Datum
pm_blocker_session(PG_FUNCTION_ARGS)
{
	int pid = PG_GETARG_INT32(0);
	PGPROC *proc = BackendPidGetProc(pid);
	WorkerView *workers;
	int nworkers;
	uint32 info;
	Datum values[3];
	bool nulls[3] = {true, true, true};

	InitMaterializedSRF(fcinfo, 0);
	if (proc == NULL)
		return (Datum) 0;
	nworkers = slot_view(&workers);
	for (int i = 0; i < nworkers; i++)
	{
		if (!workers[i].in_use || workers[i].pid != pid)
			continue;
		values[0] = CStringGetTextDatum(worker_kind_name(workers[i].kind));
		nulls[0] = false;
	}
	info = status_wait_event(proc);
	if (status_waits_for_lock(info) || info == WAIT_EVENT_SYNC_REP ||
		has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS) ||
		(OidIsValid(proc->roleId) && has_privs_of_role(GetUserId(), proc->roleId)))
		status_put_wait_event(info, &values[1], &nulls[1]);
	status_put(fcinfo, values, nulls);
	return (Datum) 0;
}
