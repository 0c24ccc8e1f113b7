/*
 * worker.c
 *		Starting workers and noticing their end; what all workers do alike.
 *
 * A worker gets its slot from who starts it, and finds it by the index in
 * bgw_main_arg.  None but the launcher is restarted by the postmaster: who
 * started a worker decides whether it is still wanted.
 */
#include "pm.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "libpq/pqsignal.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/exec.h"
#include "base/guc.h"
#include "shmem/slot.h"
#include "shmem/slot_activity.h"
#include "shmem/slot_database.h"
#include "shmem/slot_place.h"
#include "worker/worker.h"

static uint32 wakes_seen = 0;

/*
 * The first thing a worker does.  SIGUSR1 stays with the default handler,
 * which takes part in barriers: DROP DATABASE elsewhere waits for that.
 */
void
worker_begin(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
}

/*
 * Connects, as this role and no other: ALTER ROLE or ALTER DATABASE ... SET may
 * have made the session one of another role, which a person can leave as well.
 * What RESET goes back to is the role itself, too.
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
}

/*
 * Goes of its own accord: whoever started us may start another at once.
 */
void
worker_leave(void)
{
	slot_activity_set(ACTIVITY_IDLE);
	slot_leaves();
	proc_exit(0);
}

/*
 * Did a member that has ended leave so?
 */
bool
worker_left(StartedWorker *member)
{
	return slot_left(member->slot, member->generation);
}

/*
 * Or was its handler cancelled to give way to others?
 */
bool
worker_gave_way(StartedWorker *member)
{
	return slot_gave_way(member->slot, member->generation);
}

/*
 * Or has it died in the midst of a handler?
 */
bool
worker_lost(StartedWorker *member)
{
	return slot_died(member->slot, member->generation);
}

/*
 * Begins a transaction: READ COMMITTED whatever the role's defaults say, since
 * the snapshots must be younger than the marks.
 */
void
worker_transaction(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	XactIsoLevel = XACT_READ_COMMITTED;
	XactReadOnly = false;
	XactDeferrable = false;
}

/*
 * Is the extension there, the one this worker has seen first, and of the
 * library's version?  In a transaction.
 */
bool
worker_extension(void)
{
	static Oid extension = InvalidOid;
	Oid oid = get_extension_oid("pm", true);
	ExecScope scope;
	char *installed;
	bool same;

	if (!OidIsValid(oid) || (OidIsValid(extension) && oid != extension) ||
		!OidIsValid(exec_catalog_relid("process_manager")))
		return false;
	extension = oid;

	exec_begin_owner(&scope);
	exec_command(
		"SELECT extversion FROM pg_catalog.pg_extension WHERE extname OPERATOR(pg_catalog.=) 'pm'");
	/* It may have been dropped since: the cache above can be older (18), the query's snapshot is
	 * younger. */
	installed = SPI_processed > 0 ? exec_text(0, 1) : NULL;
	same = installed != NULL && strcmp(installed, PM_VERSION) == 0;
	if (installed != NULL && !same)
		ereport(
			LOG,
			(errmsg("pm does not run in database \"%s\": its version is %s, the library's is %s",
					get_database_name(MyDatabaseId), installed, PM_VERSION),
			 errhint(
				 "Run ALTER EXTENSION pm UPDATE, or restart the server with the new library.")));
	exec_end(&scope);
	return same;
}

/*
 * May a dispatcher connect as this role, or stay?  pm.status tells why not.
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
 * A round of a worker's loop begins: what wakes it from here on keeps it from
 * sleeping at the round's end.  Takes in changed settings.
 */
void
worker_begin_round(void)
{
	wakes_seen = slot_my_wakes();
	pg_memory_barrier();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

/*
 * Has something happened since the round began?  The latch does not say: what
 * the round has done may have waited on it, and reset it.
 */
static bool
worker_woken(List *workers)
{
	ListCell *lc;
	pid_t pid;

	if (slot_my_wakes() != wakes_seen || ConfigReloadPending)
		return true;
	foreach(lc, workers)
		if (GetBackgroundWorkerPid(((StartedWorker *) lfirst(lc))->handle, &pid) == BGWH_STOPPED)
			return true;
	return false;
}

/*
 * Sleeps until woken, or until a member of the workers ends; at most ms.
 */
void
worker_nap(const char *wait_event, long ms, List *workers)
{
	static uint32 event; /* a process has one loop to sleep in */

	pgstat_report_activity(STATE_IDLE, NULL);
	if (!worker_woken(workers))
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms,
						 compat_wait_event(&event, wait_event));
	ResetLatch(MyLatch);
	/* There is nothing here to cancel. */
	QueryCancelPending = false;
	CHECK_FOR_INTERRUPTS();
}

/*
 * Starts a worker for (database, role), where there are to be so many.  Its end
 * will set our latch.
 */
WorkerStart
worker_start(List **workers, WorkerKind kind, Oid database, Oid role, int colleagues)
{
	BackgroundWorker worker;
	StartedWorker *member;
	MemoryContext old;
	BackgroundWorkerHandle *handle;
	uint32 generation;
	int slot;

	slot = slot_claim(kind, database, role, colleagues, &generation);
	if (slot < 0)
		return slot == SLOT_SHARE_TAKEN ? WORKER_START_SHARE_TAKEN :
			   slot == SLOT_ROLE_FULL	? WORKER_START_ROLE_FULL :
										  WORKER_START_NO_PLACE;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "pm", BGW_MAXLEN);
	snprintf(worker.bgw_function_name, BGW_MAXLEN, "pm_%s_main", worker_kind_name(kind));
	snprintf(worker.bgw_name, BGW_MAXLEN, "pm %s", worker_kind_name(kind));
	snprintf(worker.bgw_type, BGW_MAXLEN, "pm %s", worker_kind_name(kind));
	worker.bgw_main_arg = slot_arg(slot, generation);
	worker.bgw_notify_pid = MyProcPid;

	old = MemoryContextSwitchTo(TopMemoryContext);
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
	{
		MemoryContextSwitchTo(old);
		slot_unclaim(slot, generation);
		slot_database_set_refused(database, true);
		slot_place_scarce();
		return WORKER_START_NO_SLOT;
	}
	slot_database_set_refused(database, false);
	member = palloc(sizeof(StartedWorker));
	member->slot = slot;
	member->generation = generation;
	member->database = database;
	member->role = role;
	member->started_at = GetCurrentTimestamp();
	member->handle = handle;
	*workers = lappend(*workers, member);
	MemoryContextSwitchTo(old);
	return WORKER_START_STARTED;
}

/*
 * How many members for a role have been started and are not known to have
 * ended.
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
 * A member that has ended, taken off the list, or NULL.  Its slot, if it did
 * not give it up itself, is still claimed: slot_unclaim() and pfree() it.
 */
StartedWorker *
worker_gone(List **workers)
{
	ListCell *lc;

	foreach(lc, *workers)
	{
		StartedWorker *member = lfirst(lc);
		pid_t pid;

		if (GetBackgroundWorkerPid(member->handle, &pid) != BGWH_STOPPED)
			continue;
		*workers = foreach_delete_current(*workers, lc);
		pfree(member->handle);
		return member;
	}
	return NULL;
}
