/*
 * worker.c
 *		Functions that all workers share, and functions that start workers.
 *
 * A worker gets its slot in shared memory from the process that starts it, and
 * finds it by the index in bgw_main_arg.  The postmaster restarts only the
 * launcher.  The process that started any other worker notices its end, and
 * decides whether to start it again.
 */
#include "pm.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "libpq/pqsignal.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/exec.h"
#include "base/guc.h"
#include "base/version.h"
#include "manager/standby.h"
#include "shmem/slot.h"
#include "shmem/slot_activity.h"
#include "shmem/slot_database.h"
#include "shmem/slot_place.h"
#include "worker/notice.h"
#include "worker/worker.h"

/* Wake-ups of this worker until its present round began. */
static uint32 wakes_seen = 0;

/*
 * The first thing that a worker does.  SIGUSR1 keeps its default handler, which
 * processes ProcSignalBarriers: DROP DATABASE in other sessions waits for
 * these.
 */
void
worker_begin(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
}

/*
 * Shows the worker's name in pg_stat_activity and log_line_prefix, unless a setting of the
 * role or the database gives another one.
 */
void
worker_show_name(void)
{
	if (application_name[0] == '\0')
		SetConfigOption("application_name", MyBgworkerEntry->bgw_name, PGC_USERSET, PGC_S_OVERRIDE);
}

/*
 * Connects as this role and no other.  Settings of the role or the database
 * (ALTER ROLE ... SET role) may have changed the role of the session.  A user
 * could reset that role, so it must give a handler neither more rights nor
 * fewer.  The settings are changed here in such a way that RESET returns to the
 * role itself.
 */
void
worker_connect(Oid database, Oid role)
{
	BackgroundWorkerInitializeConnectionByOid(database, role, 0);
	StartTransactionCommand();
	if (GetSessionUserId() != GetAuthenticatedUserId())
		SetConfigOption("session_authorization", GetUserNameFromId(GetAuthenticatedUserId(), false),
						PGC_USERSET, PGC_S_OVERRIDE);
	if (GetUserId() != GetSessionUserId())
		SetConfigOption("role", "none", PGC_USERSET, PGC_S_OVERRIDE);
	CommitTransactionCommand();
	worker_show_name();
}

/*
 * Ends the process of its own accord.  The process that started it may start
 * another one at once.
 */
void
worker_leave(void)
{
	slot_activity_set(ACTIVITY_IDLE);
	slot_leaves();
	proc_exit(0);
}

/*
 * Did a worker that has ended leave of its own accord?
 */
bool
worker_left(StartedWorker *worker)
{
	return slot_left(worker->slot, worker->generation);
}

/*
 * Was the worker's handler canceled to give way to others?
 */
bool
worker_gave_way(StartedWorker *worker)
{
	return slot_gave_way(worker->slot, worker->generation);
}

/*
 * Did the worker leave although it had more to do?
 */
bool
worker_unfinished(StartedWorker *worker)
{
	return slot_unfinished(worker->slot, worker->generation);
}

/*
 * Did the worker die while a handler ran?
 */
bool
worker_lost(StartedWorker *worker)
{
	return slot_died(worker->slot, worker->generation);
}

/* The extension that this worker has seen first. */
static Oid extension = InvalidOid;

/*
 * DROP EXTENSION locks the tables of the extension one after the other, and workers use
 * them in another order.  So that they do not cause a deadlock, DROP EXTENSION first
 * waits until no worker is in a transaction, and no other one begins (utility.c).  No
 * other code locks the extension with this column number.
 */
#define WORKER_LOCK_EXTENSION 1

static void
worker_lock_extension(Oid oid)
{
	LockDatabaseObject(ExtensionRelationId, oid, WORKER_LOCK_EXTENSION, AccessShareLock);
}

void
worker_hold_off(Oid oid)
{
	LOCKTAG tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, ExtensionRelationId, oid, WORKER_LOCK_EXTENSION);
	standby_lock(&tag, AccessExclusiveLock);
	AcceptInvalidationMessages();
}

/*
 * Called in a transaction that writes only what may be lost: its commit waits neither for the
 * disk nor for a synchronous standby.
 */
void
worker_commit_later(void)
{
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
}

/*
 * Begins a transaction.  It is READ COMMITTED, whatever the defaults of the role
 * say, since each snapshot must be younger than the mark that it is used with.
 */
void
worker_transaction(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	XactIsoLevel = XACT_READ_COMMITTED;
	XactReadOnly = false;
	XactDeferrable = false;
	if (OidIsValid(extension))
		worker_lock_extension(extension);
}

/*
 * Called in PG_CATCH(), for an error that must not end the worker.  "report": the error is
 * written to the server's log.
 */
void
worker_recover(MemoryContext caller, bool report)
{
	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(caller);
	if (report)
		EmitErrorReport();
	FlushErrorState();
	AbortCurrentTransaction();
	QueryCancelPending = false;
	RESUME_INTERRUPTS();
}

/*
 * Is the extension there, in a version that this library serves?  It must be
 * the same one as before: another one, created after a DROP, has other tables.
 * Runs in the caller's transaction.
 */
bool
worker_extension(void)
{
	Oid oid = get_extension_oid("pm", true);
	char *installed;
	VersionFit fit;

	if (OidIsValid(oid) && !OidIsValid(extension))
	{
		worker_lock_extension(oid);
		/* It may have been dropped meanwhile. */
		oid = get_extension_oid("pm", true);
	}
	if (!OidIsValid(oid) || (OidIsValid(extension) && oid != extension) ||
		!OidIsValid(exec_catalog_relid("process_manager")))
		return false;
	extension = oid;

	/* It may have been dropped since: from 18 on, the lookup above can come from a cache. */
	installed = version_installed();
	if (installed == NULL)
		return false;
	fit = version_fit(installed);
	notice_version(installed, fit);
	return fit == VERSION_SAME || fit == VERSION_OLDER;
}

/*
 * Called when worker_extension() returned false: is the extension gone, or is it another one
 * than before?
 */
bool
worker_extension_dropped(void)
{
	Oid oid = get_extension_oid("pm", true);

	return !OidIsValid(oid) || (OidIsValid(extension) && oid != extension);
}

/*
 * May a dispatcher connect as this role, or stay connected?  If not, pm.status
 * tells why.
 */
bool
worker_can_connect(Oid role)
{
	HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool can;

	if (!HeapTupleIsValid(tuple))
		return false;
	can = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin &&
		  compat_database_aclcheck(MyDatabaseId, role, ACL_CONNECT) == ACLCHECK_OK;
	ReleaseSysCache(tuple);
	return can;
}

/*
 * Begins a round of the worker's loop.  A wake-up after this keeps the worker from
 * sleeping at the end of the round.  Reads changed settings.
 */
void
worker_begin_round(void)
{
	/* Do this first, so that a wake-up while the settings are read counts. */
	wakes_seen = slot_my_wakes();
	pg_memory_barrier();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

/*
 * Has the worker been woken since the round began?  The latch does not tell,
 * because code that ran in the round, such as a handler, may have waited on the
 * latch and reset it.
 */
static bool
worker_woken(List *workers)
{
	ListCell *lc;
	pid_t pid;

	if (slot_my_wakes() != wakes_seen || ConfigReloadPending)
		return true;
	/* The end of a worker sets the latch without counting as a wake-up. */
	foreach(lc, workers)
		if (GetBackgroundWorkerPid(((StartedWorker *) lfirst(lc))->handle, &pid) == BGWH_STOPPED)
			return true;
	return false;
}

/*
 * Sleeps until something wakes this worker, or one of "workers" ends, or for "ms".
 */
void
worker_nap(const char *wait_event, long ms, List *workers)
{
	static uint32 event; /* a process sleeps in only one loop */

	pgstat_report_activity(STATE_IDLE, NULL);
	if (!worker_woken(workers))
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms,
						 compat_wait_event(&event, wait_event));
	ResetLatch(MyLatch);
	/* A cancel request that arrives while nothing runs was meant for what ran before. */
	QueryCancelPending = false;
	CHECK_FOR_INTERRUPTS();
}

/*
 * Fills in what the postmaster must know about a worker of this kind.
 */
void
worker_describe(BackgroundWorker *worker, WorkerKind kind)
{
	memset(worker, 0, sizeof(BackgroundWorker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	/* A standby cannot handle events, so workers start when it is promoted. */
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker->bgw_library_name, "pm", BGW_MAXLEN);
	snprintf(worker->bgw_function_name, BGW_MAXLEN, "pm_%s_main", worker_kind_name(kind));
	snprintf(worker->bgw_name, BGW_MAXLEN, "pm %s", worker_kind_name(kind));
	snprintf(worker->bgw_type, BGW_MAXLEN, "pm %s", worker_kind_name(kind));
}

/*
 * Adds a worker to those that this process has started.
 */
static void
worker_add(List **workers, int slot, uint32 generation, Oid database, Oid role,
		   BackgroundWorkerHandle *handle)
{
	StartedWorker *started = palloc(sizeof(StartedWorker));

	started->slot = slot;
	started->generation = generation;
	started->database = database;
	started->role = role;
	started->started_at = GetCurrentTimestamp();
	started->handle = handle;
	*workers = lappend(*workers, started);
}

WorkerStart
worker_start(List **workers, WorkerKind kind, Oid database, Oid role, int colleagues)
{
	BackgroundWorker worker;
	BackgroundWorkerHandle *handle;
	MemoryContext old;
	uint32 generation;
	bool registered;
	int slot;

	slot = slot_claim(kind, database, role, colleagues, &generation);
	if (slot < 0)
		return slot == SLOT_SHARE_TAKEN ? WORKER_START_SHARE_TAKEN :
			   slot == SLOT_ROLE_FULL	? WORKER_START_ROLE_FULL :
										  WORKER_START_NO_PLACE;

	worker_describe(&worker, kind);
	worker.bgw_main_arg = slot_arg(slot, generation);
	/* Its start and its end set our latch. */
	worker.bgw_notify_pid = MyProcPid;

	/* The handle and the list outlive the transaction. */
	old = MemoryContextSwitchTo(TopMemoryContext);
	registered = RegisterDynamicBackgroundWorker(&worker, &handle);
	if (registered)
		worker_add(workers, slot, generation, database, role, handle);
	MemoryContextSwitchTo(old);

	slot_database_set_refused(database, !registered);
	if (!registered)
	{
		slot_unclaim(slot, generation);
		slot_place_scarce();
		return WORKER_START_NO_SLOT;
	}
	return WORKER_START_STARTED;
}

/*
 * How many of the workers were started for a role and are not known to have ended?
 */
int
worker_count(List *workers, Oid role)
{
	ListCell *lc;
	int count = 0;

	foreach(lc, workers)
		if (((StartedWorker *) lfirst(lc))->role == role)
			count++;
	return count;
}

/*
 * Removes a worker that has ended from the list and returns it; NULL if there is
 * none.  The worker may not have given up its slot itself, so the caller must call
 * slot_unclaim().  The caller frees the struct.
 */
StartedWorker *
worker_gone(List **workers)
{
	ListCell *lc;

	foreach(lc, *workers)
	{
		StartedWorker *worker = lfirst(lc);
		pid_t pid;

		if (GetBackgroundWorkerPid(worker->handle, &pid) != BGWH_STOPPED)
			continue;
		*workers = foreach_delete_current(*workers, lc);
		pfree(worker->handle);
		return worker;
	}
	return NULL;
}
