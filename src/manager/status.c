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
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/wait_event.h"

#include "base/guc.h"
#include "log/highwater_ask.h"
#include "log/log_index.h"
#include "log/log_open.h"
#include "log/log_right.h"
#include "log/log_trouble.h"
#include "manager/status.h"
#include "shmem/slot.h"

PG_FUNCTION_INFO_V1(pm_status_library);
PG_FUNCTION_INFO_V1(pm_status_workers);
PG_FUNCTION_INFO_V1(pm_status_log);
PG_FUNCTION_INFO_V1(pm_status_denied);
PG_FUNCTION_INFO_V1(pm_status_holders);
PG_FUNCTION_INFO_V1(pm_status_oldest);

void
status_put(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * The process whose transaction that is, 0 for a prepared one: that keeps its
 * virtual id, but its session goes on to other things.
 */
int
status_session(VirtualTransactionId vxid)
{
	PGPROC *proc = compat_vxid_index(vxid) < 0 ? NULL : compat_vxid_proc(vxid);

	return proc != NULL && compat_proc_lxid(proc) == vxid.localTransactionId ? proc->pid : 0;
}

/*
 * What a process waits for just now.
 */
uint32
status_wait_event(PGPROC *proc)
{
	return *((volatile uint32 *) &proc->wait_event_info);
}

/*
 * As pg_stat_activity has it: type, name.
 */
void
status_put_wait_event(uint32 info, Datum *values, bool *nulls)
{
	nulls[0] = nulls[1] = info == 0;
	if (info == 0)
		return;
	values[0] = CStringGetTextDatum(pgstat_get_wait_event_type(info));
	values[1] = CStringGetTextDatum(pgstat_get_wait_event(info));
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
 * system_identifier, served (this database has workers)
 */
Datum
pm_status_library(PG_FUNCTION_ARGS)
{
	Datum values[6];
	bool nulls[6] = {false, false, false, false, false, false};
	bool served = false;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; Slots != NULL && i < Slots->nworkers; i++)
		served |= Slots->workers[i].in_use && Slots->workers[i].database == MyDatabaseId &&
				  Slots->workers[i].pid != 0;
	values[0] = BoolGetDatum(Slots != NULL);
	values[1] = BoolGetDatum(guc_launcher);
	values[2] = BoolGetDatum(RecoveryInProgress());
	values[3] = CStringGetTextDatum(PM_VERSION);
	values[4] = Int64GetDatum((int64) GetSystemIdentifier());
	values[5] = BoolGetDatum(served);
	status_put(fcinfo, values, nulls);
	return (Datum) 0;
}

/*
 * pm_catalog.workers(): pid, kind, database, role, state, since,
 * process_manager, lane, log, position, overdue, started_at, wait_event_type,
 * wait_event
 */
Datum
pm_status_workers(PG_FUNCTION_ARGS)
{
	static const char *const kinds[] = {"launcher", "scheduler", "dispatcher"};
	static const char *const states[] = {"starting", "idle", "reading", "handling", "committing"};

	bool monitor = has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);

	InitMaterializedSRF(fcinfo, 0);
	if (Slots == NULL)
		return (Datum) 0;
	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];
		WorkerSlot copy;
		Datum values[14];
		bool nulls[14];

		LWLockAcquire(&Slots->lock, LW_SHARED);
		SpinLockAcquire(&slot->mutex);
		copy = *slot;
		SpinLockRelease(&slot->mutex);
		LWLockRelease(&Slots->lock);
		if (!copy.in_use ||
			!(monitor || (OidIsValid(copy.role) && has_privs_of_role(GetUserId(), copy.role))))
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
		status_put_wait_event(copy.proc != NULL && copy.proc->pid == copy.pid ?
								  status_wait_event(copy.proc) :
								  0,
							  &values[12], &nulls[12]);
		status_put(fcinfo, values, nulls);
	}
	return (Datum) 0;
}

/* What pm_catalog.log_state() has found out of a log. */
#define STATUS_LOG_COLUMNS 5
typedef struct StatusLog
{
	char name[SLOT_LOG_NAME]; /* hash key */
	Datum values[STATUS_LOG_COLUMNS];
	bool nulls[STATUS_LOG_COLUMNS];
} StatusLog;

static void
status_log_problem(StatusLog *state, const char *problem, const char *hint)
{
	state->values[2] = CStringGetTextDatum(problem);
	state->nulls[2] = false;
	state->nulls[3] = hint == NULL;
	if (hint != NULL)
		state->values[3] = CStringGetTextDatum(hint);
}

/*
 * Was the log's sequence set back?  Readers notice where it is below what they
 * have seen.  Where nobody had looked yet, an event above the last value shows
 * it, once it has turned out that the sequence has not gone on to there.
 */
static bool
status_set_back(PmLog *log, Highwater *mark)
{
	int64 position;
	bool known;

	if (mark->status == HIGHWATER_REWOUND)
		return true;
	if (mark->status == HIGHWATER_UNKNOWN || !log_index_last(log, mark->last, &position, &known))
		return false;
	*mark = highwater_compute(log->relid, log->seqid, HIGHWATER_EVERYBODY);
	mark->reached = Max(mark->reached, position);
	return mark->status != HIGHWATER_UNKNOWN && mark->last < position;
}

/*
 * By whom is the mark held back?  "standby": by nobody but transactions that
 * are committed and wait for a synchronous standby.  "prepared": by nobody but
 * prepared transactions.  "writer": by others, too.
 */
static const char *
status_held_by(Oid relid)
{
	VirtualTransactionId *holders;
	int count;
	int standby = 0;
	int prepared = 0;

	holders = highwater_writers(relid, &count);
	for (int i = 0; i < count; i++)
	{
		int pid = status_session(holders[i]);
		PGPROC *proc = pid == 0 ? NULL : BackendPidGetProc(pid);

		if (pid == 0)
			prepared++;
		else if (proc != NULL && status_wait_event(proc) == WAIT_EVENT_SYNC_REP)
			standby++;
	}
	if (count == 0)
		return NULL;
	return standby == count ? "standby" : prepared == count ? "prepared" : "writer";
}

/*
 * The mark of a log that can be relied on.
 */
static void
status_log_mark(StatusLog *state, PmLog *log)
{
	Highwater mark = highwater_compute(log->relid, log->seqid, HIGHWATER_EVERYBODY);
	bool set_back = status_set_back(log, &mark);
	const char *held_by;
	char *hint;

	if (mark.status == HIGHWATER_UNKNOWN)
	{
		status_log_problem(state, psprintf("the sequence of log \"%s\" is locked", log->name),
						   "SELECT * FROM pm.blocker shows which session holds the lock.");
		return;
	}
	state->nulls[0] = state->nulls[1] = false;
	state->values[0] = Int64GetDatum(mark.mark);
	state->values[1] = Int64GetDatum(mark.last);
	if (set_back)
	{
		const char *problem = highwater_set_back(log->name, mark.last, mark.reached, &hint);

		status_log_problem(state, problem, hint);
	}
	held_by = mark.status == HIGHWATER_HELD ? status_held_by(log->relid) : NULL;
	state->nulls[4] = held_by == NULL;
	if (held_by != NULL)
		state->values[4] = CStringGetTextDatum(held_by);
}

static void
status_log_look(StatusLog *state, const char *name)
{
	bool locked;
	PmLog *log = log_open_nowait(name, &locked);
	LogTrouble trouble;

	memset(state->nulls, true, sizeof(state->nulls));
	if (log == NULL)
	{
		status_log_problem(state, locked ? "the log's table is locked" : "the log does not exist",
						   locked ? "SELECT * FROM pm.blocker shows which session holds the lock." :
									"Stop following it with pm.unfollow.");
		return;
	}
	if (*log->table != '\0' && !status_may_see(log))
		/* nothing is told */;
	else if (log->problem != NULL)
		status_log_problem(state, log->problem, log->hint);
	/* A mark of a log that cannot be relied on must not get into shared memory. */
	else if (!RecoveryInProgress())
	{
		status_log_mark(state, log);
		if (state->nulls[2] && !log_index_exists(log))
		{
			log_trouble_no_index(&trouble, log);
			status_log_problem(state, trouble.message, trouble.hint);
		}
	}
	UnlockRelationOid(log->relid, AccessShareLock);
}

/*
 * pm_catalog.log_state(log): high_water_mark, last_position, problem, hint,
 * held_by
 *
 * Many process managers may follow the same log: each is looked at once a query.
 */
Datum
pm_status_log(PG_FUNCTION_ARGS)
{
	FmgrInfo *flinfo = fcinfo->flinfo;
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	StatusLog *state;
	bool found = false;

	InitMaterializedSRF(fcinfo, 0);
	/* No log has such a name. */
	if (strlen(name) >= SLOT_LOG_NAME)
		name[SLOT_LOG_NAME - 1] = '\0';
	if (flinfo->fn_extra == NULL)
	{
		HASHCTL ctl;

		memset(&ctl, 0, sizeof(ctl));
		ctl.keysize = SLOT_LOG_NAME;
		ctl.entrysize = sizeof(StatusLog);
		ctl.hcxt = flinfo->fn_mcxt;
		flinfo->fn_extra = hash_create("pm log states", 64, &ctl,
									   HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	}
	state = hash_search(flinfo->fn_extra, name, HASH_FIND, NULL);
	if (state == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(flinfo->fn_mcxt);
		StatusLog fresh;

		/* Entered when it is whole: an error may come between. */
		status_log_look(&fresh, name);
		state = hash_search(flinfo->fn_extra, name, HASH_ENTER, &found);
		memcpy(state->values, fresh.values, sizeof(fresh.values));
		memcpy(state->nulls, fresh.nulls, sizeof(fresh.nulls));
		MemoryContextSwitchTo(old);
	}
	status_put(fcinfo, state->values, state->nulls);
	return (Datum) 0;
}

/*
 * pm_catalog.log_denied(log, reader): problem, hint; the right that a role lacks
 * to read the log
 */
Datum
pm_status_denied(PG_FUNCTION_ARGS)
{
	bool locked;
	PmLog *log = log_get_nowait(text_to_cstring(PG_GETARG_TEXT_PP(0)), &locked);
	Oid reader = PG_GETARG_OID(1);
	LogTrouble trouble;
	Datum values[2];
	bool nulls[2] = {false, false};

	InitMaterializedSRF(fcinfo, 0);
	if (log == NULL || log->problem != NULL ||
		!(has_privs_of_role(GetUserId(), ROLE_PG_MONITOR) ||
		  has_privs_of_role(GetUserId(), reader)) ||
		!log_trouble_rights(&trouble, log, reader))
		return (Datum) 0;
	values[0] = CStringGetTextDatum(trouble.message);
	values[1] = CStringGetTextDatum(trouble.hint);
	status_put(fcinfo, values, nulls);
	return (Datum) 0;
}

/*
 * pm_catalog.mark_holders(log): virtual transaction, as pg_locks prints it, pid
 * (NULL: prepared)
 */
Datum
pm_status_holders(PG_FUNCTION_ARGS)
{
	bool locked;
	PmLog *log = log_get_nowait(text_to_cstring(PG_GETARG_TEXT_PP(0)), &locked);
	VirtualTransactionId *holders;
	int count;

	InitMaterializedSRF(fcinfo, 0);
	if (log == NULL || log->problem != NULL || RecoveryInProgress() || !status_may_see(log))
		return (Datum) 0;
	holders = highwater_writers(log->relid, &count);
	for (int i = 0; i < count; i++)
	{
		int pid = status_session(holders[i]);
		Datum values[2];
		bool nulls[2] = {false, pid == 0};

		values[0] = CStringGetTextDatum(
			psprintf("%d/%u", compat_vxid_index(holders[i]), holders[i].localTransactionId));
		values[1] = Int32GetDatum(pid);
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
	bool locked;
	bool found = false;
	PmLog *log = log_open_nowait(text_to_cstring(PG_GETARG_TEXT_PP(0)), &locked);
	TimestampTz recorded_at;

	if (log != NULL)
	{
		found = log->problem == NULL && status_may_see(log) &&
				log_index_first(log, PG_GETARG_INT64(1), &recorded_at);
		UnlockRelationOid(log->relid, AccessShareLock);
	}
	if (!found)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(recorded_at);
}
