/*
 * erasures.c
 *		Completes, in the scheduler, what pm.erase has left to do.
 *
 * This is a part of the scheduler.  It runs no code of users: it changes only private tables
 * (manager/erase_pass.c).  For each log, one transaction erases what the process managers
 * that are free have kept.  Those whose units are locked are tried again, less and less
 * often.  When a session has changed a registration, the scheduler tries at once, because
 * that session held the lock.
 *
 * Units of a busy process manager are free only between two batches.  So it waits a short
 * time for one of these units, and gets the lock as soon as a batch ends.  It does not
 * wait for sessions.
 *
 * While this waits, the scheduler starts no dispatchers.  So a round ends after a short time,
 * and takes only a small part of the scheduler's time.
 */
#include "pm.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "manager/erase_pass.h"
#include "manager/registry.h"
#include "shmem/wakeup.h"
#include "worker/erasures.h"
#include "worker/role.h"
#include "worker/worker.h"

/* The time between two rounds, ms; doubles up to the maximum. */
#define ERASURES_NAP	 100
#define ERASURES_NAP_MAX 5000

/* The time between two rounds is at least this many times the duration of a round. */
#define ERASURES_SHARE 20

/* No other log is begun when a round has taken this long, ms. */
#define ERASURES_ROUND 100

/* How long it waits for one unit, ms: at first longer than most batches last, then doubled. */
#define ERASURES_AWAIT	   200
#define ERASURES_AWAIT_MAX 400

void
erasures_begin(Erasures *erasures)
{
	erasures->context = AllocSetContextCreate(TopMemoryContext, "pm erasures",
											  ALLOCSET_DEFAULT_SIZES);
	erasures->nap = ERASURES_NAP;
	erasures->await = ERASURES_AWAIT;
}

/*
 * One log, in a transaction.  An error, such as a full disk, must not end the scheduler: it is
 * logged, and what is left is done later.
 */
static bool
erasures_try(Erasures *erasures, const char *log, const char *await, List **busy)
{
	volatile bool complete = false;

	PG_TRY();
	{
		worker_transaction();
		MemoryContextSwitchTo(erasures->context);
		if (await != NULL)
			(void) set_config_option("lock_timeout", psprintf("%dms", erasures->await), PGC_USERSET,
									 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
		complete = erase_later(log, await, busy);
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		complete = false;
		/* A batch may take longer. */
		worker_recover(erasures->context,
					   await == NULL || geterrcode() != ERRCODE_LOCK_NOT_AVAILABLE);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(erasures->context);
	return complete;
}

/*
 * All that is left to do for a log.  Returns whether nothing is left.
 */
static bool
erasures_log(Erasures *erasures, const char *log)
{
	List *busy = NIL;
	const char *await;

	if (erasures_try(erasures, log, NULL, &busy))
		return true;
	if (busy == NIL)
		return false;
	await = list_nth(busy, erasures->await_turn++ % list_length(busy));
	return erasures_try(erasures, log, await, NULL);
}

static List *
erasures_logs(Erasures *erasures)
{
	List *logs;

	worker_transaction();
	erasures->generation = wakeup_registry_generation();
	erasures->version = registry_version();
	MemoryContextSwitchTo(erasures->context);
	logs = erasure_logs();
	CommitTransactionCommand();
	MemoryContextSwitchTo(erasures->context);
	return logs;
}

/*
 * Is it time for a round?
 */
static bool
erasures_are_due(Erasures *erasures, TimestampTz now)
{
	if (erasures->version != registry_version() ||
		erasures->generation != wakeup_registry_generation())
	{
		erasures->nap = ERASURES_NAP;
		erasures->due = Min(erasures->due, erasures->not_before);
	}
	/* The clock may have been set back. */
	return erasures->due <= now || erasures->looked_at > now;
}

TimestampTz
erasures_round(Erasures *erasures)
{
	MemoryContext caller = CurrentMemoryContext;
	TimestampTz now = GetCurrentTimestamp();
	bool complete = true;
	List *logs;
	int first = erasures->turn;
	int count = 0;
	long took = 0;

	if (!erasures_are_due(erasures, now))
		return erasures->due;
	erasures->looked_at = now;
	logs = erasures_logs(erasures);
	while (count < list_length(logs) && took < ERASURES_ROUND)
	{
		complete &= erasures_log(erasures, list_nth(logs, (first + count) % list_length(logs)));
		count++;
		took = TimestampDifferenceMilliseconds(now, GetCurrentTimestamp());
		CHECK_FOR_INTERRUPTS();
	}
	complete &= count == list_length(logs);
	erasures->turn = complete ? 0 : (first + count) % list_length(logs);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(erasures->context);

	now = GetCurrentTimestamp();
	took *= ERASURES_SHARE;
	erasures->not_before = TimestampTzPlusMilliseconds(now, Max(ERASURES_NAP, took));
	erasures->due = complete ? DT_NOEND :
							   TimestampTzPlusMilliseconds(now, Max(erasures->nap, took));
	erasures->nap = complete ? ERASURES_NAP : Min(erasures->nap * 2, ERASURES_NAP_MAX);
	erasures->await = complete ? ERASURES_AWAIT : ERASURES_AWAIT_MAX;
	return erasures->due;
}

TimestampTz
erasures_due_away(const Erasures *erasures)
{
	if (erasures->due == DT_NOEND)
		return DT_NOEND;
	return Max(erasures->due, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ROLE_AWAY_HELD));
}
