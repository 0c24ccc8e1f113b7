/*
 * highwater_ask.c
 *		Gets the high-water mark for functions that read up to it: waits, and reports.
 *
 * highwater.c computes the mark, and never waits.
 */
#include "pm.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "log/guard.h"
#include "log/highwater_ask.h"
#include "log/log_open.h"
#include "log/partition.h"
#include "shmem/slot.h"

/* How long a session without shared memory waits for writers to end, in ms. */
#define HIGHWATER_PATIENCE 5000

/* How long it sleeps between two looks, in ms. */
#define HIGHWATER_PAUSE 10

/*
 * The transactions that may write the log now, for a message; NULL if there are
 * none.
 */
static char *
highwater_name_writers(Oid relid)
{
	VirtualTransactionId *writers;
	StringInfoData names;
	int count;

	writers = highwater_writers(relid, &count);
	initStringInfo(&names);
	for (int i = 0; i < count; i++)
	{
		PGPROC *proc = compat_vxid_index(writers[i]) < 0 ? NULL : compat_vxid_proc(writers[i]);
		int pid = proc ? proc->pid : 0;

		if (i > 0)
			appendStringInfoString(&names, ", ");
		/* A prepared transaction keeps its vxid, but its backend has another one now. */
		if (pid != 0 && compat_proc_lxid(proc) == writers[i].localTransactionId)
			appendStringInfo(&names, "process %d", pid);
		else
			appendStringInfoString(&names, "a prepared transaction (see pg_prepared_xacts)");
	}
	return count > 0 ? names.data : NULL;
}

/*
 * A transaction that reads its own events up to the mark must not write there
 * afterwards.  The guard is told here, so that no caller can forget it.
 */
Highwater
highwater_now(Oid relid, Oid seqid, HighwaterView view)
{
	Highwater result = highwater_compute(relid, seqid, view);

	if (view == HIGHWATER_OWN && result.status != HIGHWATER_UNKNOWN)
		guard_read_up_to(relid, result.mark);
	return result;
}

/*
 * The sequence is gone.  Finds the new table and sequence, if pm.partition_log has given them to
 * the log.
 */
static void
highwater_find_again(Oid *relid, Oid *seqid, const char *name)
{
	PmLog *log = log_get(name, true);

	if (log == NULL || log->seqid == *seqid || partition_root(*relid) != log->relid)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the sequence of log \"%s\" is gone", name)));
	*relid = log->relid;
	*seqid = log->seqid;
}

static Highwater
highwater_wait_known(Oid *relid, Oid *seqid, HighwaterView view, const char *log)
{
	Highwater result = highwater_now(*relid, *seqid, view);

	while (result.status == HIGHWATER_UNKNOWN)
	{
		/* Wait for the lock on the sequence, as nextval() would. */
		LockRelationOid(*seqid, AccessShareLock);
		UnlockRelationOid(*seqid, AccessShareLock);
		if (get_rel_relkind(*seqid) == '\0')
			highwater_find_again(relid, seqid, log);
		/* Or for that on a partition that is partitioned itself. */
		highwater_await_tables(*relid);
		result = highwater_now(*relid, *seqid, view);
	}
	return result;
}

Highwater
highwater_known(Oid relid, Oid seqid, HighwaterView view, const char *log)
{
	return highwater_wait_known(&relid, &seqid, view, log);
}

/*
 * Reports that the mark is held back, and by which transactions.
 */
static void
highwater_notice_held(Oid relid, const char *log)
{
	char *writers = highwater_name_writers(relid);

	ereport(NOTICE,
			(errmsg("log \"%s\" is not read to its end, because a transaction that writes to it "
					"is still open",
					log),
			 writers != NULL ? errdetail("It is held back by: %s.", writers) : 0,
			 errhint("The rest is read when that transaction has ended.")));
}

/*
 * If the mark is in shared memory, there is nothing to wait for, because the
 * looks of all backends have raised it.  Without shared memory this may be the
 * first look of this backend.  Then it knows of no generation that could be
 * settled, so it waits some time for the writers that are open now to end.
 */
Highwater
highwater_await(Oid relid, Oid seqid, HighwaterView view, const char *log)
{
	static uint32 event;
	Highwater result = highwater_wait_known(&relid, &seqid, view, log);
	int64 wanted = result.last;
	TimestampTz give_up;

	if (slot_preloaded() || result.status != HIGHWATER_HELD)
		return result;

	give_up = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), HIGHWATER_PATIENCE);
	while (result.status == HIGHWATER_HELD && result.mark < wanted)
	{
		if (GetCurrentTimestamp() >= give_up)
		{
			highwater_notice_held(relid, log);
			break;
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, HIGHWATER_PAUSE,
						 compat_wait_event(&event, "PmWriters"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		result = highwater_now(relid, seqid, view);
	}
	return result;
}

/*
 * A snapshot for the whole transaction is older than the mark.  The lock table
 * of a standby does not have the writers of the primary.
 */
void
highwater_require_fresh_snapshots(const char *function)
{
	if (RecoveryInProgress())
		ereport(ERROR, (errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
						errmsg("%s cannot be used during recovery", function),
						errhint("Only the primary knows which writers are still running.")));
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("%s cannot be used in a %s transaction", function,
						IsolationIsSerializable() ? "SERIALIZABLE" : "REPEATABLE READ"),
				 errdetail(
					 "The transaction's snapshot is older than the current high-water mark, and "
					 "would hide events below it."),
				 errhint("Use READ COMMITTED.")));
}

void
highwater_require_position(const PmLog *log, int64 position)
{
	Highwater mark = highwater_await(log->relid, log->seqid, HIGHWATER_OWN, log->name);

	if (position < 0 || position > mark.mark)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("position %lld is not between 0 and the high-water mark of log \"%s\"",
						(long long) position, log->name),
				 errdetail("The high-water mark is %lld.", (long long) mark.mark)));
}
