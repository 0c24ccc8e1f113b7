/*
 * highwater_ask.c
 *		What those who ask for a mark once need besides: patience, and words.
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
#include "shmem/slot.h"

/* How long a session without shared memory waits for writers to end, in ms. */
#define HIGHWATER_PATIENCE 5000

/*
 * The transactions that may write the log now, in words.
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
		/* A prepared transaction keeps its vxid, but its session goes on. */
		if (pid != 0 && compat_proc_lxid(proc) == writers[i].localTransactionId)
			appendStringInfo(&names, "process %d", pid);
		else
			appendStringInfoString(&names, "a prepared transaction (see pg_prepared_xacts)");
	}
	return count > 0 ? names.data : pstrdup("nobody any more");
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
 * The mark now, known: somebody who has the sequence is waited for, as
 * nextval() would.
 */
Highwater
highwater_known(Oid relid, Oid seqid, HighwaterView view, const char *log)
{
	Highwater result = highwater_now(relid, seqid, view);

	while (result.status == HIGHWATER_UNKNOWN)
	{
		LockRelationOid(seqid, AccessShareLock);
		UnlockRelationOid(seqid, AccessShareLock);
		if (get_rel_relkind(seqid) == '\0')
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
							errmsg("the sequence of log \"%s\" is gone", log)));
		result = highwater_now(relid, seqid, view);
	}
	return result;
}

/*
 * The mark for a caller that asks once.  Where shared memory keeps it this is
 * highwater_compute(); elsewhere this backend has not been watching, knows of
 * no writer when it began, and gives those of now some time to end.
 */
Highwater
highwater_await(Oid relid, Oid seqid, HighwaterView view, const char *log)
{
	static uint32 event;
	Highwater result = highwater_known(relid, seqid, view, log);
	int64 wanted = result.last;
	TimestampTz give_up;

	if (Slots != NULL || result.status != HIGHWATER_HELD)
		return result;

	give_up = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), HIGHWATER_PATIENCE);
	while (result.status == HIGHWATER_HELD && result.mark < wanted)
	{
		if (GetCurrentTimestamp() >= give_up)
		{
			ereport(
				NOTICE,
				(errmsg(
					 "log \"%s\" is not read to its end, a transaction that writes it is still open",
					 log),
				 errdetail("It is held back by %s.", highwater_name_writers(relid)),
				 errhint("The rest is read when that has ended.")));
			break;
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 10,
						 compat_wait_event(&event, "PmWriters"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		result = highwater_now(relid, seqid, view);
	}
	return result;
}

/*
 * What to say of a log whose sequence was set back.
 */
char *
highwater_set_back(const char *log, int64 last, int64 reached, char **hint)
{
	*hint = psprintf(
		"New events would be taken for old ones. As the owner of its table, run "
		"SELECT pg_catalog.setval(pg_catalog.pg_get_serial_sequence(\"table\"::text, pos), %lld) "
		"FROM pm.log WHERE name = %s.",
		(long long) reached, quote_literal_cstr(log));
	return psprintf("the sequence of log \"%s\" was set back to %lld, behind position %lld", log,
					(long long) last, (long long) reached);
}

/*
 * Refuses such a log.
 */
void
highwater_refuse(const char *log, int64 last, int64 reached)
{
	char *hint;
	char *problem = highwater_set_back(log, last, reached, &hint);

	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("%s", problem),
					errhint("%s", hint)));
}

/*
 * Refuses callers whose snapshot would be older than the mark, and standbys,
 * whose lock table says nothing of the primary's writers.
 */
void
highwater_require_fresh_snapshots(const char *function)
{
	if (RecoveryInProgress())
		ereport(ERROR, (errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
						errmsg("%s cannot be used during recovery", function),
						errhint("Only the primary knows which writers are still running.")));
	if (IsolationUsesXactSnapshot())
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
			 errmsg("%s cannot be used in a %s transaction", function,
					IsolationIsSerializable() ? "SERIALIZABLE" : "REPEATABLE READ"),
			 errdetail(
				 "The transaction's snapshot is older than the high-water mark of now, and would hide events below it."),
			 errhint("Use READ COMMITTED.")));
}
