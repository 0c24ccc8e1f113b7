/*
 * dead_worker.c
 *		Dispatchers that died in the midst of a handler.
 *
 * What a handler had in hand that ended its session, did not heed its timeout,
 * or took part in a crash of the server, is told by the worker's slot and by
 * the crash marks: that counts as an attempt.  Run by the scheduler, in a
 * transaction, before it starts a dispatcher that would call the same handler
 * again.
 */
#include "pm.h"

#include <signal.h>

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "dispatch/blame.h"
#include "manager/manager_lock.h"
#include "shmem/crash.h"
#include "shmem/slot_lost.h"
#include "worker/dead_worker.h"

/* How long the end of a process may take, at most, ms. */
#define DEAD_WORKER_ENDING 10000

static int taken[CRASH_MAX_FOUND]; /* crash marks that are dealt with in this transaction */
static int ntaken = 0;
static struct
{
	int index;
	uint64 number;
} counted[LOST_CALL_MAX]; /* lost calls, likewise */
static int ncounted = 0;

/*
 * The words for what has happened.
 */
static ErrorData *
dead_worker_error(ProcessManager *pm, const Handling *what, BlameCause cause, bool overdue)
{
	const char *function = what->correlating ? "correlate" : "the handler";
	ErrorData *error = palloc0(sizeof(ErrorData));

	if (cause == BLAME_CRASH)
	{
		error->sqlerrcode = ERRCODE_CRASH_SHUTDOWN;
		error->message = what->outside ?
							 pstrdup("the server crashed while the event was read or set aside") :
							 psprintf("the server crashed while %s ran", function);
	}
	else if (overdue)
	{
		error->sqlerrcode = ERRCODE_QUERY_CANCELED;
		error->message = psprintf(
			"%s did not return within handler_timeout (%lld ms), nor when it was cancelled",
			function, (long long) pm->handler_timeout);
	}
	else
	{
		error->sqlerrcode = ERRCODE_ADMIN_SHUTDOWN;
		error->message = psprintf("the session ended while %s ran", function);
	}
	return error;
}

/*
 * False while somebody else has the unit, or has changed it since it was loaded.
 */
static bool
dead_worker(List *managers, const Handling *what, BlameCause cause, bool overdue)
{
	ListCell *lc;

	foreach(lc, managers)
	{
		ProcessManager *pm = lfirst(lc);

		/* After a re-cut it is not known whose it is: it will be tried again, and counted then. */
		if (pm->id != what->manager || pm->lanes != what->lanes || !pm->at_home)
			continue;
		/* What is known of it may be of before whoever had the lock. */
		if (!manager_lock_unit(pm->id, what->lane, true) || registry_version() != pm->version)
			return false;
		(void) blame(pm, what, dead_worker_error(pm, what, cause, overdue), cause);
	}
	return true;
}

/*
 * Has the postmaster not yet seen the end of the process?  When it stops the
 * server, it may have ended the dispatcher and be about to end us, and then
 * nobody is to blame.  (Another process may get the same number, in time.)
 */
static bool
dead_worker_is_ending(LostCall *call)
{
	return kill(call->pid, 0) == 0 &&
		   !TimestampDifferenceExceeds(call->died_at, GetCurrentTimestamp(), DEAD_WORKER_ENDING);
}

/*
 * Counts what dispatchers had in hand that have died.  False if some are to be
 * looked at again, since a session has the unit.
 */
bool
dead_worker_lost(List *managers)
{
	LostCall call;
	int index = -1;
	bool all = true;

	ncounted = 0;
	while (ncounted < lengthof(counted) && (index = slot_lost_next(index + 1, &call)) >= 0)
	{
		if (dead_worker_is_ending(&call))
			all = false;
		else if (dead_worker(managers, &call.handling, BLAME_SESSION, call.overdue))
		{
			counted[ncounted].index = index;
			counted[ncounted++].number = call.number;
		}
		else
			all = false;
	}
	return all;
}

/*
 * The server has crashed: so for those who were there.  False if some are to be
 * looked at again.
 */
bool
dead_worker_crashed(List *managers)
{
	Handling what;
	int entry = -1;
	bool all = true;

	ntaken = 0;
	while (ntaken < lengthof(taken) && (entry = crash_next(MyDatabaseId, entry + 1, &what)) >= 0)
	{
		if (dead_worker(managers, &what, BLAME_CRASH, false))
			taken[ntaken++] = entry;
		else
			all = false;
	}
	return all;
}

/*
 * What dead_worker_lost() and dead_worker_crashed() have written down is committed.
 */
void
dead_worker_forget(void)
{
	for (int i = 0; i < ncounted; i++)
		slot_lost_forget(counted[i].index, counted[i].number);
	ncounted = 0;
	for (int i = 0; i < ntaken; i++)
		crash_forget(taken[i]);
	ntaken = 0;
}
