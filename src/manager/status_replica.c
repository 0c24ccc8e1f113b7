/*
 * status_replica.c
 *		A function about replica logs for pm.status.
 */
#include "pm.h"

#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "log/log_index_ask.h"
#include "log/log_open.h"
#include "log/log_right.h"
#include "manager/status.h"

PG_FUNCTION_INFO_V1(pm_status_newest);

/*
 * pm_catalog.newest_event(log, worker): when the last event of a replica log was recorded; NULL
 * while the worker that applies changes has nothing to do
 */
Datum
pm_status_newest(PG_FUNCTION_ARGS)
{
	bool locked;
	bool found = false;
	bool known;
	int64 position;
	PGPROC *worker = BackendPidGetProc(PG_GETARG_INT32(1));
	PmLog *log;
	TimestampTz recorded_at;

	if (worker == NULL || status_wait_event(worker) == WAIT_EVENT_LOGICAL_APPLY_MAIN)
		PG_RETURN_NULL();
	log = log_open_nowait(text_to_cstring(PG_GETARG_TEXT_PP(0)), &locked);
	if (log != NULL)
	{
		found = log->problem == NULL && log->kind == LOG_REPLICA &&
				(has_privs_of_role(GetUserId(), ROLE_PG_MONITOR) ||
				 log_may_select(log, GetUserId())) &&
				log_index_last(log, PG_INT64_MIN, &position, &known) &&
				log_index_first(log, position - 1, &recorded_at);
		UnlockRelationOid(log->relid, AccessShareLock);
	}
	if (!found)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(recorded_at);
}
