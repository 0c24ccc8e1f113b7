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
 * PREPARE TRANSACTION wakes no reader: the writer lives on, and nobody hears of
 * its end.  Readers that wait for it poll; a database whose scheduler is away
 * gets one, which knows then when to look again.
 */
#include "pm.h"

#include "access/xact.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "shmem/slot.h"
#include "shmem/wakeup.h"

/* A log that this backend has written. */
typedef struct WakeupLog
{
	Oid relid; /* hash key */
	bool armed;
	LogRef slot;
} WakeupLog;

/* A list that keeps its memory: there is none to be had at the end. */
typedef struct WakeupList
{
	int count;
	int room;
	void *elements;
} WakeupList;

static HTAB *logs = NULL;
static WakeupList armed;	 /* of WakeupLog *, those that this transaction writes */
static WakeupList forgotten; /* of Oid, those that it drops */
static bool any_armed = false;
static bool registry_changed = false;
static bool announced = false;
static bool moved = false;

/*
 * The place of one more element.
 */
static void *
wakeup_add(WakeupList *list, Size size)
{
	if (list->count == list->room)
	{
		int room = Max(16, list->room * 2);

		list->elements = list->elements == NULL ?
							 MemoryContextAlloc(TopMemoryContext, size * room) :
							 repalloc_huge(list->elements, size * room);
		list->room = room;
	}
	return (char *) list->elements + size * list->count++;
}

static void
wakeup_clear(void)
{
	for (int i = 0; i < armed.count; i++)
		((WakeupLog **) armed.elements)[i]->armed = false;
	any_armed = registry_changed = announced = moved = false;
	armed.count = forgotten.count = 0;
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
	for (int i = 0; i < armed.count; i++)
	{
		WakeupLog *log = ((WakeupLog **) armed.elements)[i];

		/* It may have another slot now, which whoever waits for it has asked in. */
		if (!slot_log_valid(&log->slot))
			slot_log_ref(log->relid, false, &log->slot);
		if (log->slot.slot != NULL)
			slot_log_wake(log->slot.slot);
	}
	if (armed.count > 0 || registry_changed)
		slot_database_touch(MyDatabaseId);
	if (!commit)
		return;
	for (int i = 0; i < forgotten.count; i++)
		slot_forget_log(((Oid *) forgotten.elements)[i]);
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
	bool commit = (event == XACT_EVENT_COMMIT);

	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (!any_armed)
		return;
	if (Slots != NULL && event == XACT_EVENT_PREPARE)
		slot_database_touch(MyDatabaseId);
	else if (Slots != NULL)
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
	static WakeupLog *last = NULL;
	WakeupLog *log = last;
	bool found;

	if (logs == NULL)
	{
		HASHCTL ctl;

		memset(&ctl, 0, sizeof(ctl));
		ctl.keysize = sizeof(Oid);
		ctl.entrysize = sizeof(WakeupLog);
		logs = hash_create("pm wake-ups", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	if (log == NULL || log->relid != relid)
	{
		log = hash_search(logs, &relid, HASH_ENTER, &found);
		if (!found)
		{
			log->armed = false;
			log->slot.slot = NULL;
		}
		last = log;
	}
	any_armed = true;
	if (log->armed)
		return;
	*(WakeupLog **) wakeup_add(&armed, sizeof(WakeupLog *)) = log;
	log->armed = true;
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
 * This transaction drops a log: its slot goes if it commits.
 */
void
wakeup_forget(Oid relid)
{
	*(Oid *) wakeup_add(&forgotten, sizeof(Oid)) = relid;
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
