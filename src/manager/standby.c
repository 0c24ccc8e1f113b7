/*
 * standby.c
 *		Reports waits for synchronous standbys, with a hint, also to sessions that wait behind them.
 *
 * A transaction that waits for a synchronous standby has committed, but it keeps its
 * locks, and nobody sees what it has written, until the standby confirms.  If the
 * standby is gone, this lasts until a person does something.  So a command that waits
 * for the lock of a unit, such as pm.pause, must say what it waits for.
 */
#include "pm.h"

#include "fmgr.h"
#include "replication/syncrep.h"
#include "storage/procarray.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/wait_event.h"

#include "base/attempt.h"
#include "manager/standby.h"
#include "manager/status.h"

PG_FUNCTION_INFO_V1(pm_standby_hint);

/*
 * How long a command waits for a lock until it looks for the cause, ms.  It looks again,
 * waiting twice as long each time, since a transaction may begin to wait for a standby later.
 */
#define STANDBY_PATIENCE 1500

/*
 * A lock may be held by a session that waits for another lock, and so on.  At most this many
 * locks are followed.
 */
#define STANDBY_CHAIN 5

bool
standby_waits(PGPROC *proc)
{
	return status_wait_event(proc) == WAIT_EVENT_SYNC_REP;
}

char *
standby_hint(void)
{
	return psprintf("SELECT application_name, state, sync_state FROM pg_stat_replication shows the "
					"standbys that are connected. Start the missing one, or take it out of "
					"synchronous_standby_names, which is \"%s\", and reload the configuration.",
					SyncRepStandbyNames);
}

/*
 * pm_catalog.standby_hint()
 */
Datum
pm_standby_hint(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(standby_hint()));
}

/* ---------- sessions that wait behind such a transaction ---------- */

typedef struct StandbyLock
{
	const LOCKTAG *tag;
	LOCKMODE mode;
	int patience; /* ms */
} StandbyLock;

/*
 * Takes the lock, with an error if that takes longer than the patience.  The wait is not cut
 * into attempts without waiting, because a dispatcher that runs one batch after the other
 * would take the lock again between two of them.
 */
static void
standby_lock_attempt(void *arg)
{
	StandbyLock *lock = arg;
	int level = NewGUCNestLevel();
	char patience[16];

	snprintf(patience, sizeof(patience), "%d", lock->patience);
	(void) set_config_option("lock_timeout", patience, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
	(void) LockAcquire(lock->tag, lock->mode, false, false);
	AtEOXact_GUC(true, level);
}

/*
 * The process that waits for a standby: the given one, or one that blocks it; 0: there is none.
 */
static int
standby_waiter(int pid, int depth)
{
	PGPROC *proc = BackendPidGetProc(pid);
	ArrayType *blockers;
	int waiter = 0;

	if (proc == NULL)
		return 0;
	if (standby_waits(proc))
		return pid;
	if (depth >= STANDBY_CHAIN || !status_waits_for_lock(status_wait_event(proc)))
		return 0;
	blockers = DatumGetArrayTypeP(DirectFunctionCall1(pg_blocking_pids, Int32GetDatum(pid)));
	for (int i = 0; i < ArrayGetNItems(ARR_NDIM(blockers), ARR_DIMS(blockers)) && waiter == 0; i++)
		waiter = standby_waiter(((int32 *) ARR_DATA_PTR(blockers))[i], depth + 1);
	return waiter;
}

/*
 * If a transaction that waits for a standby is in the way, says so.
 */
static bool
standby_say(const StandbyLock *lock)
{
	VirtualTransactionId *holders;
	int count;
	int waiter = 0;

	holders = GetLockConflicts(lock->tag, lock->mode, &count);
	for (int i = 0; i < count && waiter == 0; i++)
		waiter = standby_waiter(status_session(holders[i]), 0);
	if (waiter == 0)
		return false;
	ereport(NOTICE, (errmsg("process %d, for whose lock this command waits, has committed its "
							"transaction and waits for a synchronous standby",
							waiter),
					 errhint("%s", standby_hint())));
	return true;
}

void
standby_lock(const LOCKTAG *tag, LOCKMODE mode)
{
	StandbyLock lock = {tag, mode, STANDBY_PATIENCE};
	bool said = false;
	ErrorData *error;

	if (LockAcquire(tag, mode, false, true) != LOCKACQUIRE_NOT_AVAIL)
		return;
	/* Without standbys, and with a timeout of the user, nobody waits for long without a reason. */
	while (SyncRepStandbyNames != NULL && SyncRepStandbyNames[0] != '\0' && LockTimeout == 0 &&
		   !said)
	{
		if (attempt(standby_lock_attempt, &lock, &error))
			return;
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
			ReThrowError(error);
		said = standby_say(&lock);
		lock.patience = Min(lock.patience * 2, INT_MAX / 2);
	}
	(void) LockAcquire(tag, mode, false, false);
}
