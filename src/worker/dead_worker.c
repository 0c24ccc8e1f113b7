/*
 * dead_worker.c
 *		Counts the attempts of handlers whose dispatcher died, or that crashed the server.
 *
 * A handler may end its session, ignore its timeout until the session is ended, or run
 * while the server crashes.  Then its dispatcher can no longer record the failure.
 * Lost calls (slot_lost.c) and crash marks (crash.c) tell which event or timer the
 * handler was called for, and the call counts as an attempt.  Otherwise dispatchers
 * would call the same handler for the same event again and again.
 *
 * The scheduler does this, in a transaction, before it starts a dispatcher that would
 * call the handler again.  The lost calls and crash marks are removed only when that
 * transaction has committed.
 */
#include "pm.h"

#include <signal.h>

#include "miscadmin.h"
#include "postmaster/postmaster.h"
#include "utils/timestamp.h"

#include "dispatch/blame.h"
#include "manager/lane.h"
#include "manager/manager_lock.h"
#include "manager/note.h"
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
 * The message for the failure of a handler, or of the function that computes
 * keys.
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
							"it was canceled" :
							"the handler did not return within handler_timeout (%lld ms), nor "
							"when it was canceled",
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
 * Has the server crashed while it went carefully after a promotion?  Then the primary before
 * it may have been lost with the same item.  A server that restarts by itself finds out
 * whether it crashes once more; until it has, somebody may have killed the dispatcher.
 */
static bool
dead_worker_noted(ProcessManager *pm, const Handling *what, BlameCause cause)
{
	LaneState state;
	Note note;

	if (cause != BLAME_CRASH || restart_after_crash)
		return false;
	lane_state(pm, what->lane, &state);
	if (state.careful_to == 0 || !note_get(pm, what->lane, &note) || note.left)
		return false;
	note_forget(pm->name, what->lane);
	return !note.shared && note_is(&note.what, what);
}

/*
 * Counts one attempt.  False if that must wait, because another session has
 * locked the unit, or because the process manager has changed since it was
 * loaded.
 */
static bool
dead_worker_count(List *managers, const Handling *what, BlameCause cause, bool overdue)
{
	ListCell *lc;

	foreach(lc, managers)
	{
		ProcessManager *pm = lfirst(lc);

		/*
		 * If the number of lanes has changed, it is not known to which lane the
		 * event belongs now.  It will be tried again, and counted if it fails in
		 * the same way.
		 */
		if (pm->id != what->manager || pm->lanes != what->lanes || !pm->at_home)
			continue;
		/* Compare under the lock, because its last holder may have changed the registration. */
		if (!manager_lock_unit(pm->id, what->lane, true) || registry_version() != pm->version)
			return false;
		(void) blame(pm, what, dead_worker_error(pm, what, cause, overdue),
					 dead_worker_noted(pm, what, cause) ? BLAME_FAILOVER : cause);
	}
	return true;
}

/*
 * Has the postmaster not yet noticed the end of the process?  If the server is
 * being stopped, the postmaster may have ended the dispatcher and be about to end
 * us too, and then the handler is not the cause.  Another process may get the same
 * pid later, so this is assumed only for some time.
 */
static bool
dead_worker_is_ending(LostCall *call)
{
	return kill(call->pid, 0) == 0 &&
		   !TimestampDifferenceExceeds(call->died_at, GetCurrentTimestamp(), DEAD_WORKER_ENDING);
}

/*
 * Counts the calls during which a dispatcher died.  False if some of them must
 * wait.
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
 * Counts the calls that were running when the server crashed.  False if some of
 * them must wait.
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
 * Called when the counts of the two functions above are committed: removes the
 * lost calls and crash marks.
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
