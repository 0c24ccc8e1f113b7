/*
 * status_unit.c
 *		What is being done for a unit that has work: by whom, or why by nobody.
 *
 * pm.status asks once a row.  The workers are looked at once a query, since
 * one dispatcher may keep many units waiting.
 */
#include "pm.h"

#include "catalog/pg_authid.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/procarray.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/exec.h"
#include "base/guc.h"
#include "manager/status.h"
#include "shmem/slot.h"

PG_FUNCTION_INFO_V1(pm_status_unit);

/* What takes longer than this is said, ms. */
#define STATUS_UNIT_SOON 1000
/* A worker that could not be started is tried again within this time, ms. */
#define STATUS_UNIT_REFUSED 35000

typedef struct Verdict
{
	const char *kase;	/* taken, dispatcher, busy, overdue, stuck or running */
	const char *reason; /* NULL: nothing to be said */
	const char *hint;
} Verdict;

/* What one query has seen of the workers. */
typedef struct UnitView
{
	TimestampTz now;
	int nworkers;
	WorkerSlot *workers;
	Verdict *doing;			/* of each worker: kase NULL until it is known */
	TimestampTz refused_at; /* no process was free for a worker of this database */
} UnitView;

/* The unit that is asked about. */
typedef struct StatusUnit
{
	int manager;
	int lane;
	Oid owner;
} StatusUnit;

static UnitView *
status_unit_view(FmgrInfo *flinfo)
{
	MemoryContext old;
	UnitView *view = flinfo->fn_extra;
	DatabaseSlot *database;

	if (view != NULL)
		return view;
	old = MemoryContextSwitchTo(flinfo->fn_mcxt);
	view = palloc0(sizeof(UnitView));
	view->now = GetCurrentTimestamp();
	view->nworkers = Slots->nworkers;
	view->workers = palloc(sizeof(WorkerSlot) * Max(view->nworkers, 1));
	view->doing = palloc0(sizeof(Verdict) * Max(view->nworkers, 1));
	LWLockAcquire(&Slots->lock, LW_SHARED);
	for (int i = 0; i < view->nworkers; i++)
	{
		SpinLockAcquire(&Slots->workers[i].mutex);
		view->workers[i] = Slots->workers[i];
		SpinLockRelease(&Slots->workers[i].mutex);
	}
	database = slot_database(MyDatabaseId, false);
	view->refused_at = database != NULL ? database->refused_at : 0;
	LWLockRelease(&Slots->lock);
	MemoryContextSwitchTo(old);
	flinfo->fn_extra = view;
	return view;
}

/* ---------- a dispatcher that takes its time ---------- */

static const char *
status_unit_where(WorkerSlot *slot)
{
	if (slot->now.handling.manager == 0)
		return "between two events";
	if (slot->now.handling.log[0] == '\0')
		return "at a timer";
	return psprintf("at position %lld of log \"%s\"", (long long) slot->now.handling.position,
					slot->now.handling.log);
}

/*
 * Whom a process that waits for a lock waits for.
 */
static const char *
status_unit_behind(int pid)
{
	ArrayType *array = DatumGetArrayTypeP(
		DirectFunctionCall1(pg_blocking_pids, Int32GetDatum(pid)));
	int32 *pids = (int32 *) ARR_DATA_PTR(array);
	int count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));

	if (count == 0)
		return "one that has just ended";
	for (int i = 0; i < count; i++)
		if (pids[i] != 0)
			return psprintf("process %d", pids[i]);
	return "a prepared transaction";
}

static const char *
status_unit_wait(uint32 info)
{
	return info == 0 ?
			   "none" :
			   psprintf("%s %s", pgstat_get_wait_event_type(info), pgstat_get_wait_event(info));
}

/*
 * A handler that has run for so many seconds.
 */
static void
status_unit_handling(WorkerSlot *slot, uint32 info, long long seconds, Verdict *doing)
{
	if (slot->now.overdue)
	{
		doing->kase = "overdue";
		doing->reason = psprintf("the handler does not return %s, and does not heed its timeout",
								 status_unit_where(slot));
		doing->hint =
			"Replace it. Code that never checks for interrupts can only be ended by pg_ctl restart -m immediate.";
	}
	else if ((info & 0xFF000000) == PG_WAIT_LOCK)
	{
		doing->reason = psprintf("the handler has waited for a lock for %lld s %s, behind %s",
								 seconds, status_unit_where(slot), status_unit_behind(slot->pid));
		doing->hint = "SELECT * FROM pm.blocker shows who is in its way.";
	}
	else
	{
		doing->reason =
			psprintf("the handler has been running for %lld s %s in process %d (wait event: %s)",
					 seconds, status_unit_where(slot), slot->pid, status_unit_wait(info));
		doing->hint =
			"It is cancelled after handler_timeout, which counts as a failure of the event.";
	}
}

static void
status_unit_committing(WorkerSlot *slot, uint32 info, long long seconds, Verdict *doing)
{
	if (info == WAIT_EVENT_SYNC_REP)
	{
		doing->reason = psprintf("its commit has waited for a synchronous standby for %lld s",
								 seconds);
		doing->hint =
			"Bring the standby back, or take it out of synchronous_standby_names and reload the configuration.";
		return;
	}
	doing
		->reason = psprintf("its commit has been running for %lld s in process %d (wait event: %s)",
							seconds, slot->pid, status_unit_wait(info));
	doing->hint = "The wait event says what the server does, or waits for.";
}

static void
status_unit_reading(WorkerSlot *slot, uint32 info, long long seconds, Verdict *doing)
{
	if ((info & 0xFF000000) == PG_WAIT_LOCK)
	{
		doing->reason = psprintf("its dispatcher has waited for a lock for %lld s, behind %s",
								 seconds, status_unit_behind(slot->pid));
		doing->hint = "SELECT * FROM pm.blocker shows who is in its way.";
		return;
	}
	doing->reason =
		psprintf("its dispatcher has been reading for %lld s in process %d (wait event: %s)",
				 seconds, slot->pid, status_unit_wait(info));
	doing->hint = "The wait event says what the server does, or waits for.";
}

/*
 * For how long a worker has been at what it does, in ms.
 */
static long
status_unit_age(UnitView *view, WorkerSlot *slot)
{
	TimestampTz since = slot->now.since;

	/* A batch may be long, and each of its calls short. */
	if (slot->now.activity == ACTIVITY_HANDLING)
		since = Max(since, slot->now.called_at);
	return TimestampDifferenceMilliseconds(since, view->now);
}

/*
 * What a dispatcher does, if it takes its time over it.
 */
static Verdict *
status_unit_doing(UnitView *view, int index, MemoryContext context)
{
	WorkerSlot *slot = &view->workers[index];
	Verdict *doing = &view->doing[index];
	long age = status_unit_age(view, slot);
	uint32 info;
	MemoryContext old;

	if (doing->kase != NULL)
		return doing;
	doing->kase = "running";
	if (age < STATUS_UNIT_SOON || slot->now.activity == ACTIVITY_IDLE)
		return doing;
	doing->kase = "stuck";
	old = MemoryContextSwitchTo(context);
	info = slot->proc != NULL && slot->proc->pid == slot->pid ? status_wait_event(slot->proc) : 0;
	switch (slot->now.activity)
	{
		case ACTIVITY_HANDLING:
			status_unit_handling(slot, info, age / 1000, doing);
			break;
		case ACTIVITY_COMMITTING:
			status_unit_committing(slot, info, age / 1000, doing);
			break;
		case ACTIVITY_READING:
			status_unit_reading(slot, info, age / 1000, doing);
			break;
		case ACTIVITY_STARTING:
		case ACTIVITY_IDLE:
			break;
	}
	MemoryContextSwitchTo(old);
	return doing;
}

/* ---------- who has no place ---------- */

static int
status_unit_count(UnitView *view, WorkerKind kind, Oid database)
{
	int count = 0;

	for (int i = 0; i < view->nworkers; i++)
	{
		WorkerSlot *slot = &view->workers[i];

		if (slot->in_use && slot->kind == kind &&
			(!OidIsValid(database) || slot->database == database))
			count++;
	}
	return count;
}

/*
 * Is there no process for a worker?  Then says who has them: how many, and of
 * which kind, but not whose.
 */
static bool
status_unit_no_process(UnitView *view, const char *what, Verdict *verdict)
{
	int schedulers = status_unit_count(view, WORKER_SCHEDULER, InvalidOid);
	int dispatchers = status_unit_count(view, WORKER_DISPATCHER, InvalidOid);
	int ours = status_unit_count(view, WORKER_LAUNCHER, InvalidOid) + schedulers + dispatchers;
	bool refused = view->refused_at != 0 &&
				   !TimestampDifferenceExceeds(view->refused_at, view->now, STATUS_UNIT_REFUSED);
	bool full = true;

	/* The launcher asks for one database at a time. */
	refused |= slot_place_is_scarce();
	for (int i = 0; i < view->nworkers; i++)
		full = full && view->workers[i].in_use;
	if (!refused && !full)
		return false;
	verdict->reason = psprintf(
		"no background worker process is free for %s: of %d, pm has %d (%d schedulers, %d dispatchers), others have %d",
		what, max_worker_processes, ours, schedulers, dispatchers,
		Max(max_worker_processes - ours, 0));
	verdict->hint =
		psprintf("It is tried again. Raise max_worker_processes, now %d, and restart the server.",
				 max_worker_processes);
	return true;
}

/*
 * No dispatcher serves the role: why?
 */
static void
status_unit_no_dispatcher(UnitView *view, StatusUnit *unit, Verdict *verdict)
{
	char *role = GetUserNameFromId(unit->owner, true);
	int dispatchers = status_unit_count(view, WORKER_DISPATCHER, InvalidOid);

	verdict->kase = "dispatcher";
	if (status_unit_count(view, WORKER_LAUNCHER, InvalidOid) == 0)
	{
		verdict->reason = "no worker runs, there is no launcher";
		verdict->hint = psprintf(
			"It comes back within 5 s of a failure. If it does not, max_worker_processes, now %d, left no place for it: raise that and restart the server.",
			max_worker_processes);
	}
	else if (status_unit_count(view, WORKER_SCHEDULER, MyDatabaseId) == 0)
	{
		if (status_unit_no_process(view, "a scheduler of this database", verdict))
			return;
		verdict->reason = "no scheduler runs in this database";
		verdict->hint = "One is being started. If that lasts, the server's log says why.";
	}
	else if (dispatchers >= guc_max_workers)
	{
		verdict->reason = psprintf(
			"no dispatcher runs for role \"%s\", the %d places of pm.max_workers are taken: %d in this database, %d in others",
			role, guc_max_workers, status_unit_count(view, WORKER_DISPATCHER, MyDatabaseId),
			dispatchers - status_unit_count(view, WORKER_DISPATCHER, MyDatabaseId));
		verdict->hint = psprintf(
			"It waits for its turn. To have more places, raise pm.max_workers, now %d, and restart the server.",
			guc_max_workers);
	}
	else if (!status_unit_no_process(view, psprintf("a dispatcher of role \"%s\"", role), verdict))
	{
		verdict->reason = psprintf("no dispatcher runs for role \"%s\"", role);
		verdict->hint = "One is being started. If that lasts, the server's log says why.";
	}
}

/* ---------- the unit ---------- */

/*
 * The dispatcher whose share of its role's units the unit is in, as
 * slot_rank() has it; -1 if there is none, *starting if there will be one.
 */
static int
status_unit_dispatcher(UnitView *view, StatusUnit *unit, bool *starting)
{
	int serving = 0;
	int rank;

	*starting = false;
	for (int i = 0; i < view->nworkers; i++)
	{
		if (!slot_serves(&view->workers[i], WORKER_DISPATCHER, MyDatabaseId, unit->owner))
			continue;
		if (view->workers[i].serving)
			serving++;
		else
			*starting = true;
	}
	if (serving == 0)
		return -1;
	rank = (unit->manager + unit->lane) % serving;
	for (int i = 0; i < view->nworkers; i++)
		if (slot_serves(&view->workers[i], WORKER_DISPATCHER, MyDatabaseId, unit->owner) &&
			view->workers[i].serving && rank-- == 0)
			return i;
	return -1;
}

/*
 * Who holds the unit's lock?  A worker's index, or -1; then *other says whether
 * somebody else does.
 */
static int
status_unit_holder(UnitView *view, StatusUnit *unit, const char **other)
{
	LOCKTAG tag;
	VirtualTransactionId *holders;
	int count;
	int pid;

	*other = NULL;
	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, exec_catalog_relid("process_manager"),
					   (Oid) unit->manager, (uint16) unit->lane);
	if (compat_lock_held_by_me(&tag, ExclusiveLock))
	{
		*other = "this session has it in hand";
		return -1;
	}
	holders = GetLockConflicts(&tag, ExclusiveLock, &count);
	if (count == 0)
		return -1;
	pid = status_session(holders[0]);
	for (int i = 0; i < view->nworkers; i++)
		if (view->workers[i].in_use && view->workers[i].pid == pid && pid != 0 &&
			view->workers[i].role == unit->owner)
			return i;
	*other = pid == 0 ? "a prepared transaction has it in hand" : "another session has it in hand";
	return -1;
}

static void
status_unit_judge(UnitView *view, StatusUnit *unit, Verdict *verdict, MemoryContext context)
{
	const char *other;
	int index = status_unit_holder(view, unit, &other);
	bool starting;
	Verdict *doing;
	WorkerSlot *slot;

	verdict->kase = "running";
	if (other != NULL)
	{
		verdict->kase = "taken";
		verdict->reason = other;
		verdict->hint = "SELECT * FROM pm.blocker shows who it is.";
		return;
	}
	if (index >= 0)
	{
		*verdict = *status_unit_doing(view, index, context);
		return;
	}
	index = status_unit_dispatcher(view, unit, &starting);
	if (index < 0 && starting)
	{
		verdict->kase = "dispatcher";
		verdict->reason = "its dispatcher is being started";
		verdict->hint = "If that lasts, the server's log says why.";
		return;
	}
	if (index < 0)
	{
		status_unit_no_dispatcher(view, unit, verdict);
		return;
	}
	doing = status_unit_doing(view, index, context);
	if (doing->reason == NULL)
		return;
	slot = &view->workers[index];
	verdict->kase = "busy";
	if (slot->now.activity == ACTIVITY_READING || slot->now.name[0] == '\0')
	{
		verdict->reason = doing->reason;
		verdict->hint = doing->hint;
		return;
	}
	verdict->reason = psprintf("its dispatcher has been busy with process manager \"%s\" for %ld s",
							   slot->now.name, status_unit_age(view, slot) / 1000);
	verdict->hint = psprintf(
		"SELECT reason, hint FROM pm.status WHERE process_manager = %s tells more. Process managers of another role have another dispatcher.",
		quote_literal_cstr(slot->now.name));
}

/*
 * pm_catalog.unit_now(manager, lane, owner): kase, reason, hint
 *
 * For members of the owner's role, and pg_monitor.
 */
Datum
pm_status_unit(PG_FUNCTION_ARGS)
{
	StatusUnit unit = {PG_GETARG_INT32(0), PG_GETARG_INT32(1), PG_GETARG_OID(2)};
	Verdict verdict = {NULL, NULL, NULL};
	Datum values[3];
	bool nulls[3];

	InitMaterializedSRF(fcinfo, 0);
	if (Slots == NULL || !(has_privs_of_role(GetUserId(), unit.owner) ||
						   has_privs_of_role(GetUserId(), ROLE_PG_MONITOR)))
		return (Datum) 0;
	status_unit_judge(status_unit_view(fcinfo->flinfo), &unit, &verdict, fcinfo->flinfo->fn_mcxt);
	values[0] = CStringGetTextDatum(verdict.kase);
	nulls[0] = false;
	nulls[1] = verdict.reason == NULL;
	values[1] = nulls[1] ? (Datum) 0 : CStringGetTextDatum(verdict.reason);
	nulls[2] = verdict.hint == NULL;
	values[2] = nulls[2] ? (Datum) 0 : CStringGetTextDatum(verdict.hint);
	status_put(fcinfo, values, nulls);
	return (Datum) 0;
}
