/*
 * wakeup.c
 *		Waking the workers when a transaction ends.
 *
 * Runs in the writers' backends.  Whatever a transaction will have to announce
 * is noted while it runs and done in the transaction callback, at commit and
 * at abort alike: an abort releases the high-water mark too.
 *
 * The callback runs after the transaction has left the proc array and before
 * it releases its locks.  That is early enough, since a reader of the mark
 * passes over lock holders whose transaction has ended.  It may not fail, so
 * it allocates nothing.
 *
 * PREPARE TRANSACTION wakes nobody: the writer lives on, and nobody hears of
 * its end.  Readers that wait for it poll.
 */
#include "pm.h"

#include "access/xact.h"
#include "slot.h"
#include "wakeup.h"

/* Logs known to this backend; further ones wake every dispatcher. */
#define WAKEUP_MAX_LOGS 64

typedef struct WakeupLog
{
	Oid			relid;
	bool		armed;
	LogSlot    *slot;
	uint64		generation;
} WakeupLog;

static WakeupLog logs[WAKEUP_MAX_LOGS];
static int	nlogs = 0;
static bool any_armed = false;
static bool overflow = false;
static bool registry_changed = false;
static bool announced = false;
static bool moved = false;
static Oid	forgotten[WAKEUP_MAX_LOGS];
static int	nforgotten = 0;

static void
wakeup_clear(void)
{
	for (int i = 0; i < nlogs; i++)
		logs[i].armed = false;
	any_armed = overflow = registry_changed = announced = moved = false;
	nforgotten = 0;
}

/*
 * The launcher shall look at this database (again).
 */
static void
wakeup_launcher(void)
{
	DatabaseSlot *slot;

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	slot = slot_database(MyDatabaseId, true);
	if (slot != NULL)
		slot->announced++;
	LWLockRelease(&Slots->lock);
	slot_wake_kind(WORKER_LAUNCHER, InvalidOid);
}

static void
wakeup_at_end(bool commit)
{
	for (int i = 0; i < nlogs; i++)
	{
		WakeupLog  *log = &logs[i];

		if (!log->armed)
			continue;
		log->slot = slot_log_cached(log->relid, log->slot, &log->generation);
		if (log->slot != NULL)
			slot_log_wake(log->slot);
	}
	if (overflow)
		slot_wake_kind(WORKER_DISPATCHER, MyDatabaseId);
	if (!commit)
		return;
	for (int i = 0; i < nforgotten; i++)
		slot_forget_logs(MyDatabaseId, forgotten[i]);
	if (registry_changed)
	{
		pg_atomic_fetch_add_u64(&Slots->registry_generation, 1);
		slot_wake_kind(WORKER_SCHEDULER, MyDatabaseId);
		slot_wake_kind(WORKER_DISPATCHER, MyDatabaseId);
	}
	if (registry_changed || moved)
		ConditionVariableBroadcast(&Slots->moved);
	if (announced)
		wakeup_launcher();
}

static void
wakeup_xact_callback(XactEvent event, void *arg)
{
	bool		commit = (event == XACT_EVENT_COMMIT);

	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (!any_armed)
		return;
	if (Slots != NULL && event != XACT_EVENT_PREPARE)
		wakeup_at_end(commit);
	wakeup_clear();
}

void
wakeup_install(void)
{
	RegisterXactCallback(wakeup_xact_callback, NULL);
}

/*
 * This transaction writes the log: wake its readers at the end.
 */
void
wakeup_log(Oid relid)
{
	any_armed = true;
	for (int i = 0; i < nlogs; i++)
		if (logs[i].relid == relid)
		{
			logs[i].armed = true;
			return;
		}
	if (nlogs == WAKEUP_MAX_LOGS)
	{
		overflow = true;
		return;
	}
	logs[nlogs].relid = relid;
	logs[nlogs].armed = true;
	logs[nlogs].slot = NULL;
	logs[nlogs].generation = 0;
	nlogs++;
}

/*
 * This transaction changes registrations: wake the workers if it commits.
 */
void
wakeup_registry(void)
{
	any_armed = registry_changed = true;
}

/*
 * This transaction makes the database one that the launcher should look at.
 */
void
wakeup_announce(void)
{
	any_armed = announced = true;
}

/*
 * This transaction drops a log: its slot goes if it commits.  Beyond what
 * there is room for, slots stay, unused, until the server restarts.
 */
void
wakeup_forget(Oid relid)
{
	if (nforgotten < WAKEUP_MAX_LOGS)
		forgotten[nforgotten++] = relid;
	any_armed = true;
}

/*
 * This transaction moves a cursor: wake who waits in pm.wait_for.
 */
void
wakeup_moved(void)
{
	any_armed = moved = true;
}
