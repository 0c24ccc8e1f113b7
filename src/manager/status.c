/*
 * status.c
 *		Helper functions for the functions behind the monitoring views.
 *
 * Every role may call the functions behind the views (status_log.c,
 * status_worker.c, status_unit.c, blocker.c), even directly.  So each of them
 * returns only what the caller may know.
 */
#include "pm.h"

#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"
#include "utils/wait_event.h"

#include "manager/status.h"

void
status_put(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

void
status_put_transaction(FunctionCallInfo fcinfo, VirtualTransactionId vxid, int pid)
{
	Datum values[2];
	bool nulls[2] = {false, pid == 0};

	values[0] = CStringGetTextDatum(
		psprintf("%d/%u", compat_vxid_index(vxid), vxid.localTransactionId));
	values[1] = Int32GetDatum(pid);
	status_put(fcinfo, values, nulls);
}

/*
 * A prepared transaction keeps its virtual transaction ID, but its session runs
 * other transactions.
 */
int
status_session(VirtualTransactionId vxid)
{
	PGPROC *proc = compat_vxid_index(vxid) < 0 ? NULL : compat_vxid_proc(vxid);

	return proc != NULL && compat_proc_lxid(proc) == vxid.localTransactionId ? proc->pid : 0;
}

uint32
status_wait_event(PGPROC *proc)
{
	return *((volatile uint32 *) &proc->wait_event_info);
}

bool
status_waits_for_lock(uint32 wait_event)
{
	return (wait_event & 0xFF000000) == PG_WAIT_LOCK;
}

void
status_put_wait_event(uint32 info, Datum *values, bool *nulls)
{
	nulls[0] = nulls[1] = info == 0;
	if (info == 0)
		return;
	values[0] = CStringGetTextDatum(pgstat_get_wait_event_type(info));
	values[1] = CStringGetTextDatum(pgstat_get_wait_event(info));
}
