/*
 * status_unit.c
 *		Finds out why a unit that has work is not run, or which worker runs it.
 *
 * Called for the rows of pm.status whose unit has something to do now.
 */
#include "pm.h"

#include "catalog/pg_authid.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/procarray.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/exec.h"
#include "base/guc.h"
#include "manager/standby.h"
#include "manager/status.h"
#include "manager/status_doing.h"
#include "shmem/slot.h"
#include "shmem/slot_place.h"
#include "shmem/slot_view.h"
#include "shmem/standby.h"

PG_FUNCTION_INFO_V1(pm_status_unit);

/* A worker that could not be started is tried again within this time, ms. */
#define STATUS_UNIT_REFUSED 35000

/* After this time a wait for a turn after a promotion is shown, ms. */
#define STATUS_UNIT_CAREFUL 1000

/* The unit that is asked about. */
typedef struct StatusUnit
{
	int manager;
	int lane;
	Oid owner;
} StatusUnit;

/* ---------- why there is no dispatcher ---------- */

/*
 * How many workers of a kind there are, in a database or (InvalidOid) in all.
 */
static int
status_unit_count(StatusView *view, WorkerKind kind, Oid database)
{
	int count = 0;

	for (int i = 0; i < view->nworkers; i++)
	{
		WorkerView *worker = &view->workers[i];

		if (worker->in_use && worker->kind == kind &&
			(!OidIsValid(database) || worker->database == database))
			count++;
	}
	return count;
}

/*
 * Is no worker slot free for another worker?
 */
static bool
status_unit_no_process(StatusView *view)
{
	bool full = true;

	if (view->refused_at != 0 &&
		!TimestampDifferenceExceeds(view->refused_at, view->now, STATUS_UNIT_REFUSED))
		return true;
	/* The launcher asks for one database at a time: this one may not have been refused. */
	if (slot_place_is_scarce())
		return true;
	for (int i = 0; i < view->nworkers; i++)
		full = full && view->workers[i].in_use;
	return full;
}

/*
 * Tells how many workers of each kind there are, but not which roles they
 * serve.  "role" is NULL if the missing worker is a scheduler.
 */
static void
status_unit_say_no_process(StatusView *view, const char *role, StatusVerdict *verdict)
{
	int schedulers = status_unit_count(view, WORKER_SCHEDULER, InvalidOid);
	int dispatchers = status_unit_count(view, WORKER_DISPATCHER, InvalidOid);
	int ours = status_unit_count(view, WORKER_LAUNCHER, InvalidOid) + schedulers + dispatchers;
	int others = Max(max_worker_processes - ours, 0);

	if (role == NULL)
		verdict->reason = psprintf("no background worker process is free for a scheduler of this "
								   "database; of %d, pm has %d (schedulers: %d, dispatchers: %d) "
								   "and others have %d",
								   max_worker_processes, ours, schedulers, dispatchers, others);
	else
		verdict->reason = psprintf("no background worker process is free for a dispatcher of role "
								   "\"%s\"; of %d, pm has %d (schedulers: %d, dispatchers: %d) "
								   "and others have %d",
								   role, max_worker_processes, ours, schedulers, dispatchers,
								   others);
	verdict->hint = psprintf("It is tried again. Raise max_worker_processes, now %d, "
							 "and restart the server.",
							 max_worker_processes);
}

static void
status_unit_say_starting(const char *reason, StatusVerdict *verdict)
{
	verdict->reason = reason;
	verdict->hint = "One is being started. If that takes more than a few seconds, the server's "
					"log says why.";
}

/*
 * How many dispatchers wait for a synchronous standby?
 */
static int
status_unit_standby(StatusView *view)
{
	int count = 0;

	for (int i = 0; i < view->nworkers; i++)
		if (view->workers[i].kind == WORKER_DISPATCHER &&
			status_doing_wait(&view->workers[i]) == WAIT_EVENT_SYNC_REP)
			count++;
	return count;
}

/*
 * Explains why no dispatcher serves the role.
 */
static void
status_unit_no_dispatcher(StatusView *view, StatusUnit *unit, StatusVerdict *verdict)
{
	char *role = GetUserNameFromId(unit->owner, true);
	int dispatchers = status_unit_count(view, WORKER_DISPATCHER, InvalidOid);
	int here = status_unit_count(view, WORKER_DISPATCHER, MyDatabaseId);

	verdict->situation = "dispatcher";
	/* Begin with the launcher, because each kind of worker is started by the kind before it. */
	if (status_unit_count(view, WORKER_LAUNCHER, InvalidOid) == 0)
	{
		verdict->reason = "no worker runs, because the launcher does not run";
		verdict->hint = psprintf("The launcher is started again within 5 s of a failure. If it is "
								 "not, no process was left for it: raise max_worker_processes, "
								 "now %d, and restart the server.",
								 max_worker_processes);
	}
	else if (status_unit_count(view, WORKER_SCHEDULER, MyDatabaseId) == 0)
	{
		if (status_unit_no_process(view))
			status_unit_say_no_process(view, NULL, verdict);
		else
			status_unit_say_starting("no scheduler runs in this database", verdict);
	}
	else if (dispatchers >= guc_max_workers && status_unit_standby(view) > 0)
	{
		verdict
			->reason = psprintf("no dispatcher runs for role \"%s\", because all places of "
								"pm.max_workers are taken (in this database: %d, in others: %d), "
								"and %d of these dispatchers wait for a synchronous standby",
								role, here, dispatchers - here, status_unit_standby(view));
		verdict->hint = standby_hint();
	}
	else if (dispatchers >= guc_max_workers)
	{
		verdict->reason = psprintf("no dispatcher runs for role \"%s\", because all places of "
								   "pm.max_workers are taken (in this database: %d, in others: %d)",
								   role, here, dispatchers - here);
		verdict->hint = psprintf("The role gets its turn. For more places, raise pm.max_workers, "
								 "now %d, and restart the server.",
								 guc_max_workers);
	}
	else if (status_unit_no_process(view))
		status_unit_say_no_process(view, role, verdict);
	else
		status_unit_say_starting(psprintf("no dispatcher runs for role \"%s\"", role), verdict);
}

/* ---------- the unit ---------- */

/*
 * The dispatcher of the role whose share the unit is in, as slot_share_rank()
 * assigns it; -1 if there is none.  *starting says whether one is being started.
 */
static int
status_unit_dispatcher(StatusView *view, StatusUnit *unit, bool *starting)
{
	int serving = 0;
	int rank;

	*starting = false;
	for (int i = 0; i < view->nworkers; i++)
	{
		if (!slot_view_serves(&view->workers[i], WORKER_DISPATCHER, MyDatabaseId, unit->owner))
			continue;
		if (view->workers[i].serving)
			serving++;
		else
			*starting = true;
	}
	if (serving == 0)
		return -1;
	/* The dispatchers of a role share its units in the order of their slots. */
	rank = (unit->manager + unit->lane) % serving;
	for (int i = 0; i < view->nworkers; i++)
		if (slot_view_serves(&view->workers[i], WORKER_DISPATCHER, MyDatabaseId, unit->owner) &&
			view->workers[i].serving && rank-- == 0)
			return i;
	return -1;
}

/*
 * The worker that has locked the unit, or -1.  *other is a reason if a session
 * that is not a worker of the role has locked it.
 */
static int
status_unit_holder(StatusView *view, StatusUnit *unit, const char **other)
{
	LOCKTAG tag;
	VirtualTransactionId *holders;
	int count;
	int pid;

	*other = NULL;
	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, exec_catalog_relid("process_manager"),
					   (Oid) unit->manager, (uint16) unit->lane);
	/* GetLockConflicts() leaves out the session that asks. */
	if (compat_lock_held_by_me(&tag, ExclusiveLock))
	{
		*other = "this session has locked it";
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
	*other = pid == 0 ? "a prepared transaction has locked it" : "another session has locked it";
	return -1;
}

/*
 * The unit waits for its dispatcher, which is doing something else.
 */
static void
status_unit_busy(StatusView *view, int worker, StatusVerdict *verdict)
{
	StatusVerdict *doing = status_doing(view, worker);
	WorkerView *slot = &view->workers[worker];

	if (doing->reason == NULL)
		return;
	verdict->situation = "busy";
	if (doing->standby)
	{
		verdict->reason = psprintf("the commit of its dispatcher has waited for a synchronous "
								   "standby for %ld s",
								   status_doing_age(view, worker) / 1000);
		verdict->hint = doing->hint;
		return;
	}
	/*
	 * While the dispatcher reads, it is not handling anything for a process manager
	 * that could be named.
	 */
	if (slot->now.activity == ACTIVITY_READING || slot->now.name[0] == '\0')
	{
		verdict->reason = doing->reason;
		verdict->hint = doing->hint;
		return;
	}
	verdict->reason = psprintf("its dispatcher has been busy with process manager \"%s\" for %ld s",
							   slot->now.name, status_doing_age(view, worker) / 1000);
	verdict->hint = psprintf("SELECT reason, hint FROM pm.status WHERE process_manager = %s says "
							 "why. Process managers of another role have another dispatcher.",
							 quote_literal_cstr(slot->now.name));
}

/*
 * After a promotion, the dispatcher may wait before it calls the handler (note.c).  Returns
 * whether that is so.
 */
static bool
status_unit_careful(StatusView *view, const WorkerView *worker, StatusVerdict *verdict)
{
	if (worker->misses && standby_missing())
	{
		verdict->situation = "busy";
		verdict->reason = "this server was promoted, and no standby follows it yet";
		verdict->hint = "Events that the old primary may have been handling are handled when a "
						"standby follows, or pm.promotion_wait after the promotion.";
		return true;
	}
	if (worker->careful_waits == 0 ||
		!TimestampDifferenceExceeds(worker->careful_waits, view->now, STATUS_UNIT_CAREFUL))
		return false;
	verdict->situation = "busy";
	verdict->reason = psprintf("after a promotion, handlers are called one at a time, and its "
							   "dispatcher has waited for its turn for %ld s",
							   TimestampDifferenceMilliseconds(worker->careful_waits, view->now) /
								   1000);
	verdict->hint = "pm.worker shows which handler is being called. Roles share the time; a call "
					"does not hold up others for longer than a second.";
	return true;
}

static void
status_unit_judge(StatusView *view, StatusUnit *unit, StatusVerdict *verdict)
{
	const char *other;
	int worker = status_unit_holder(view, unit, &other);
	bool starting;

	verdict->situation = "running";
	if (other != NULL)
	{
		verdict->situation = "taken";
		verdict->reason = other;
		verdict->hint = "SELECT * FROM pm.blocker shows which session it is.";
		return;
	}
	/* A worker of the role handles it, whichever dispatcher's share it is in now. */
	if (worker >= 0)
	{
		*verdict = *status_doing(view, worker);
		return;
	}
	worker = status_unit_dispatcher(view, unit, &starting);
	if (worker >= 0 && !status_unit_careful(view, &view->workers[worker], verdict))
		status_unit_busy(view, worker, verdict);
	else if (worker >= 0)
		return;
	else if (starting)
	{
		verdict->situation = "dispatcher";
		verdict->reason = "its dispatcher is being started";
		verdict->hint = "If that takes more than a few seconds, the server's log says why.";
	}
	else
		status_unit_no_dispatcher(view, unit, verdict);
}

/*
 * pm_catalog.unit_now(manager, lane, owner): situation, reason, hint
 *
 * For members of the owner's role, and pg_monitor.
 */
Datum
pm_status_unit(PG_FUNCTION_ARGS)
{
	StatusUnit unit = {PG_GETARG_INT32(0), PG_GETARG_INT32(1), PG_GETARG_OID(2)};
	StatusVerdict verdict = {.situation = NULL};
	Datum values[3];
	bool nulls[3];

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (!slot_preloaded() || !(has_privs_of_role(GetUserId(), unit.owner) ||
							   has_privs_of_role(GetUserId(), ROLE_PG_MONITOR)))
		return (Datum) 0;
	status_unit_judge(status_view(fcinfo->flinfo), &unit, &verdict);
	values[0] = CStringGetTextDatum(verdict.situation);
	nulls[0] = false;
	nulls[1] = verdict.reason == NULL;
	values[1] = nulls[1] ? (Datum) 0 : CStringGetTextDatum(verdict.reason);
	nulls[2] = verdict.hint == NULL;
	values[2] = nulls[2] ? (Datum) 0 : CStringGetTextDatum(verdict.hint);
	status_put(fcinfo, values, nulls);
	return (Datum) 0;
}
