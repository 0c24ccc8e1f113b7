/*
 * dead_worker.c
 *		Counting the attempts of handlers that took their dispatcher, or the
 *		server, with them.
 *
 * A handler may end its session, ignore its timeout until the session is ended,
 * or run while the server crashes.  Then nobody is left to record the failure.
 * Lost calls (slot_lost.c) and crash marks (crash.c) tell which event or timer it
 * was called for, and that counts as an attempt.  Otherwise a dispatcher would
 * call the same handler for the same event again and again.
 *
 * The scheduler does this, in a transaction, before it starts a dispatcher that
 * would call the handler again.  What is counted is forgotten only when that
 * transaction has committed.
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

/* The longest time that the end of a process may take, ms. */
#define DEAD_WORKER_ENDING 10000

static int taken[CRASH_MAX_FOUND]; /* crash marks that are counted in this transaction */
static int ntaken = 0;
static struct
{
	int index;
	uint64 number;
} counted[LOST_CALL_MAX]; /* lost calls, likewise */
static int ncounted = 0;

/*
 * What to say of a handler, or of the function that computes keys.
 */
static char *
dead_worker_message(ProcessManager *pm, const Handling *what, BlameCause cause, bool overdue)
{
	if (cause == BLAME_CRASH && what->outside)
		return pstrdup("the server crashed while the event was read or set aside");
	if (cause == BLAME_CRASH)
		return pstrdup(what->correlating ? "the server crashed while correlate ran" :
										   "the server crashed while the handler ran");
	if (overdue)
		return psprintf(what->correlating ?
							"correlate did not return within handler_timeout (%lld ms), nor when "
							"it was cancelled" :
							"the handler did not return within handler_timeout (%lld ms), nor "
							"when it was cancelled",
						(long long) pm->handler_timeout);
	return pstrdup(what->correlating ? "the session ended while correlate ran" :
									   "the session ended while the handler ran");
}

/*
 * The error that stands for what has happened.
 */
static ErrorData *
dead_worker_error(ProcessManager *pm, const Handling *what, BlameCause cause, bool overdue)
{
	ErrorData *error = palloc0(sizeof(ErrorData));

	error->sqlerrcode = cause == BLAME_CRASH ? ERRCODE_CRASH_SHUTDOWN :
						overdue				 ? ERRCODE_QUERY_CANCELED :
											   ERRCODE_ADMIN_SHUTDOWN;
	error->message = dead_worker_message(pm, what, cause, overdue);
	return error;
}

/*
 * Counts one attempt.  False if that has to wait, because somebody else has the
 * unit, or because it has changed since it was loaded.
 */
static bool
dead_worker_count(List *managers, const Handling *what, BlameCause cause, bool overdue)
{
	ListCell *lc;

	foreach(lc, managers)
	{
		ProcessManager *pm = lfirst(lc);

		/*
		 * With another number of lanes, it is not known to which lane it belongs
		 * now.  It will be tried again, and if it does the same, it is counted
		 * then.
		 */
		if (pm->id != what->manager || pm->lanes != what->lanes || !pm->at_home)
			continue;
		/* Compared under the lock: whoever had it may have changed the registration. */
		if (!manager_lock_unit(pm->id, what->lane, true) || registry_version() != pm->version)
			return false;
		(void) blame(pm, what, dead_worker_error(pm, what, cause, overdue), cause);
	}
	return true;
}

/*
 * Has the postmaster not yet seen the end of the process?  If it stops the server,
 * it may have ended the dispatcher and be about to end us too, and then the
 * handler is not to blame.  Another process may get the same number later, so this
 * is believed only for some time.
 */
static bool
dead_worker_is_ending(LostCall *call)
{
	return kill(call->pid, 0) == 0 &&
		   !TimestampDifferenceExceeds(call->died_at, GetCurrentTimestamp(), DEAD_WORKER_ENDING);
}

/*
 * Counts the calls that were lost with their dispatcher.  False if some of them
 * have to wait.
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
		else if (dead_worker_count(managers, &call.handling, BLAME_SESSION, call.overdue))
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
 * Counts the calls that were under way when the server crashed.  False if some of
 * them have to wait.
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
		if (dead_worker_count(managers, &what, BLAME_CRASH, false))
			taken[ntaken++] = entry;
		else
			all = false;
	}
	return all;
}

/*
 * What the two functions above have counted is committed: forgets it.
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
