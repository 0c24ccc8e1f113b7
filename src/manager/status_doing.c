/*
 * status_doing.c
 *		Takes a snapshot of the workers for one query, and describes what a slow one is doing.
 *
 * pm.status calls these functions for each of its rows, but the workers are read only
 * once for each query, because one dispatcher may keep many units waiting.
 */
#include "pm.h"

#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "manager/standby.h"
#include "manager/status.h"
#include "manager/status_doing.h"
#include "shmem/handling.h"
#include "shmem/slot_database.h"
#include "shmem/slot_view.h"

/* A worker that has been doing the same for longer than this is slow, ms. */
#define STATUS_DOING_SLOW 1000

StatusView *
status_view(FmgrInfo *flinfo)
{
	MemoryContext old;
	StatusView *view = flinfo->fn_extra;

	if (view != NULL)
		return view;
	old = MemoryContextSwitchTo(flinfo->fn_mcxt);
	view = palloc0(sizeof(StatusView));
	view->context = flinfo->fn_mcxt;
	view->now = GetCurrentTimestamp();
	view->nworkers = slot_view(&view->workers);
	view->doing = palloc0(sizeof(StatusVerdict) * Max(view->nworkers, 1));
	view->refused_at = slot_database_refused_at(MyDatabaseId);
	MemoryContextSwitchTo(old);
	flinfo->fn_extra = view;
	return view;
}

/*
 * What a worker's handler has been called for, as a clause.
 */
static const char *
status_doing_event(const WorkerView *worker)
{
	const Handling *handling = &worker->now.handling;

	if (handling->manager == 0)
		return "it is between two events";
	if (handling->log[0] == '\0')
		return "it handles a timer";
	return psprintf("it handles the event at position %lld of log \"%s\"",
					(long long) handling->position, handling->log);
}

/*
 * What blocks a process that waits for a lock, as a clause.
 */
static const char *
status_doing_blocked(int pid)
{
	ArrayType *array = DatumGetArrayTypeP(
		DirectFunctionCall1(pg_blocking_pids, Int32GetDatum(pid)));
	int32 *pids = (int32 *) ARR_DATA_PTR(array);
	int count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));

	if (count == 0)
		return "the transaction that blocked it has just ended";
	for (int i = 0; i < count; i++)
		if (pids[i] != 0)
			return psprintf("process %d blocks it", pids[i]);
	/* Prepared transactions have no process. */
	return "a prepared transaction blocks it";
}

static const char *
status_doing_wait_event(uint32 info)
{
	if (info == 0)
		return "none";
	return psprintf("%s %s", pgstat_get_wait_event_type(info), pgstat_get_wait_event(info));
}

static void
status_doing_handling(WorkerView *worker, uint32 info, long long seconds, StatusVerdict *doing)
{
	if (worker->now.overdue)
	{
		doing->situation = "overdue";
		doing->reason = psprintf("the handler does not return and ignores handler_timeout; %s",
								 status_doing_event(worker));
		doing->hint = "Replace the handler. Code that never checks for interrupts can only be "
					  "ended by pg_ctl restart -m immediate.";
	}
	else if (status_waits_for_lock(info))
	{
		doing->reason = psprintf("the handler has waited for a lock for %lld s; %s; %s", seconds,
								 status_doing_blocked(worker->pid), status_doing_event(worker));
		doing->hint = "SELECT * FROM pm.blocker shows what blocks it.";
	}
	else
	{
		doing->reason = psprintf("the handler has been running for %lld s in process %d "
								 "(wait event: %s); %s",
								 seconds, worker->pid, status_doing_wait_event(info),
								 status_doing_event(worker));
		doing->hint = "It is canceled after handler_timeout, "
					  "which counts as a failure of the event.";
	}
}

/*
 * It may commit a batch, or the record of a failure.
 */
static void
status_doing_standby(long long seconds, StatusVerdict *doing)
{
	doing->standby = true;
	doing->reason = psprintf("its commit has waited for a synchronous standby for %lld s", seconds);
	doing->hint = standby_hint();
}

static void
status_doing_committing(WorkerView *worker, uint32 info, long long seconds, StatusVerdict *doing)
{
	doing->reason = psprintf("its commit has been running for %lld s in process %d "
							 "(wait event: %s)",
							 seconds, worker->pid, status_doing_wait_event(info));
	doing->hint = "The wait event shows what the server is doing or waiting for.";
}

static void
status_doing_reading(WorkerView *worker, uint32 info, long long seconds, StatusVerdict *doing)
{
	if (status_waits_for_lock(info))
	{
		doing->reason = psprintf("its dispatcher has waited for a lock for %lld s; %s", seconds,
								 status_doing_blocked(worker->pid));
		doing->hint = "SELECT * FROM pm.blocker shows what blocks it.";
		return;
	}
	doing->reason = psprintf("its dispatcher has been reading for %lld s in process %d "
							 "(wait event: %s)",
							 seconds, worker->pid, status_doing_wait_event(info));
	doing->hint = "The wait event shows what the server is doing or waiting for.";
}

uint32
status_doing_wait(const WorkerView *worker)
{
	/* The process may have ended, and another process may use its entry now. */
	if (!worker->in_use || worker->proc == NULL || worker->proc->pid != worker->pid)
		return 0;
	return status_wait_event(worker->proc);
}

long
status_doing_age(StatusView *view, int worker)
{
	WorkerView *slot = &view->workers[worker];
	TimestampTz since = slot->now.since;

	/* A batch may take a long time although each of its calls is short. */
	if (slot->now.activity == ACTIVITY_HANDLING)
		since = Max(since, slot->now.called_at);
	return TimestampDifferenceMilliseconds(since, view->now);
}

static void
status_doing_activity(WorkerView *worker, uint32 info, long long seconds, StatusVerdict *doing)
{
	switch (worker->now.activity)
	{
		case ACTIVITY_HANDLING:
			status_doing_handling(worker, info, seconds, doing);
			break;
		case ACTIVITY_COMMITTING:
			status_doing_committing(worker, info, seconds, doing);
			break;
		case ACTIVITY_READING:
			status_doing_reading(worker, info, seconds, doing);
			break;
		case ACTIVITY_STARTING:
		case ACTIVITY_IDLE:
			break;
	}
}

StatusVerdict *
status_doing(StatusView *view, int worker)
{
	WorkerView *slot = &view->workers[worker];
	StatusVerdict *doing = &view->doing[worker];
	long age = status_doing_age(view, worker);
	uint32 info;
	MemoryContext old;

	if (doing->situation != NULL)
		return doing;
	doing->situation = "running";
	if (age < STATUS_DOING_SLOW || slot->now.activity == ACTIVITY_IDLE)
		return doing;
	doing->situation = "stuck";
	old = MemoryContextSwitchTo(view->context);
	info = status_doing_wait(slot);
	if (info == WAIT_EVENT_SYNC_REP)
		status_doing_standby(age / 1000, doing);
	else
		status_doing_activity(slot, info, age / 1000, doing);
	MemoryContextSwitchTo(old);
	return doing;
}
