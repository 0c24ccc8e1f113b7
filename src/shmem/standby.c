/*
 * standby.c
 *		Waits, after a promotion, until a standby follows this server.
 *
 * What this server notes before it calls a handler (note.c) is of use only if the
 * next primary has it.  With synchronous replication the commit of the note waits for
 * that.  Otherwise we look at what the walsenders know of their standbys.  It is not
 * known how many standbys there are, nor when they will follow this server, so all waits
 * are limited: the server must work without a standby too.
 */
#include "pm.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/timestamp.h"

#include "base/guc.h"
#include "shmem/slot_memory.h"
#include "shmem/standby.h"

/* How long a connected standby may take to write what was sent, ms. */
#define STANDBY_WRITES 1000

/* How often to look whether it has, ms. */
#define STANDBY_LOOK 1

void
standby_begin(void)
{
	uint64 unset = 0;

	/* The launcher may have been started again. */
	(void) pg_atomic_compare_exchange_u64(&Slots->primary_since, &unset, GetCurrentTimestamp());
}

/*
 * Does this process send WAL to a standby?  A subscription has a walsender in its database, and
 * pg_receivewal never says what it has replayed.  Neither can become the primary, and what
 * they report comes late.
 */
static bool
standby_is(pid_t pid, XLogRecPtr replayed)
{
	PGPROC *proc;

	if (pid == 0 || XLogRecPtrIsInvalid(replayed))
		return false;
	proc = BackendPidGetProc(pid);
	return proc != NULL && !OidIsValid(proc->databaseId);
}

/*
 * Has any standby written the WAL up to this point?
 */
static bool
standby_has(XLogRecPtr end)
{
	for (int i = 0; i < max_wal_senders; i++)
	{
		WalSnd *sender = &WalSndCtl->walsnds[i];
		XLogRecPtr replayed;
		bool has;
		pid_t pid;

		SpinLockAcquire(&sender->mutex);
		pid = sender->pid;
		replayed = sender->apply;
		has = sender->state == WALSNDSTATE_STREAMING && sender->write >= end;
		SpinLockRelease(&sender->mutex);
		if (has && standby_is(pid, replayed))
			return true;
	}
	return false;
}

/*
 * Is it so long after the promotion that nothing waits for a standby any more?
 */
static bool
standby_waited(void)
{
	TimestampTz since = (TimestampTz) pg_atomic_read_u64(&Slots->primary_since);

	return TimestampDifferenceExceeds(since, GetCurrentTimestamp(), guc_promotion_wait);
}

bool
standby_missing(void)
{
	return max_wal_senders > 0 && !standby_has(InvalidXLogRecPtr) && !standby_waited();
}

void
standby_await(XLogRecPtr end)
{
	static uint32 event;
	TimestampTz began = GetCurrentTimestamp();

	/* On a busy machine a standby may be slow, so this limit applies only after that time. */
	while (standby_has(InvalidXLogRecPtr) && !standby_has(end) &&
		   !(standby_waited() &&
			 TimestampDifferenceExceeds(began, GetCurrentTimestamp(), STANDBY_WRITES)))
	{
		/* The next batch reacts to these. */
		if (ProcDiePending || QueryCancelPending)
			break;
		/* Not on the latch, which others may have set. */
		(void) WaitLatch(NULL, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, STANDBY_LOOK,
						 compat_wait_event(&event, "PmStandbyAwait"));
	}
}
