/*
 * wakeup.c
 *		Wakes workers when a transaction ends.
 *
 * This runs in the backends of writers.  While a transaction runs, pm notes what
 * the transaction will have to announce; the transaction callback announces it.
 * Logs are announced at commit and at abort, since an abort lets the high-water
 * mark rise too.
 *
 * The callback runs after the transaction has left the proc array and before it
 * releases its locks.  That is late enough, because a reader that computes the
 * mark ignores lock holders whose transaction has ended.  The callback must not
 * fail, so it allocates nothing.
 *
 * When a prepared transaction ends, no callback of ours runs, so readers that wait
 * for it poll.  PREPARE TRANSACTION wakes them, so that they notice that they have to.  If
 * the scheduler of the database is away, the launcher starts one, which then knows
 * when to poll.
 */
#include "pm.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "shmem/slot_database.h"
#include "shmem/slot_fetch.h"
#include "shmem/slot_interest.h"
#include "shmem/slot_log.h"
#include "shmem/slot_memory.h"
#include "shmem/slot_sent.h"
#include "shmem/slot_wake.h"
#include "shmem/wakeup.h"

/* A log that this backend has written. */
typedef struct WakeupLog
{
	Oid relid;	/* hash key */
	bool armed; /* by this transaction */
	LogRef slot;
} WakeupLog;

/* A list that keeps its memory, since none can be allocated at the end of a transaction. */
typedef struct WakeupList
{
	int count;
	int room;
	void *elements;
} WakeupList;

/* A process manager to whose instances this transaction sends something. */
typedef struct WakeupSent
{
	int manager;
	Oid owner;
} WakeupSent;

static HTAB *logs = NULL;
static WakeupList armed;	   /* of WakeupLog *: the logs that this transaction writes */
static WakeupList forgotten;   /* of Oid: the logs that it drops */
static WakeupList sent;		   /* of WakeupSent, each once */
static WakeupList freed;	   /* of int: the process managers whose consumers may get something */
static bool any_armed = false; /* there is something to do at the end of this transaction */
static bool registry_changed = false;
static bool announced = false;
static bool moved = false;

/*
 * Makes room for one more element, and returns where it is to be stored.
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
	freed.count = armed.count = forgotten.count = sent.count = 0;
}

static void
wakeup_send(void)
{
	for (int i = 0; i < sent.count; i++)
		slot_sent(((WakeupSent *) sent.elements)[i].manager,
				  ((WakeupSent *) sent.elements)[i].owner);
}

/*
 * Wakes the processes that wait for the logs that the transaction has written.
 */
static void
wakeup_logs(void)
{
	for (int i = 0; i < armed.count; i++)
	{
		WakeupLog *log = ((WakeupLog **) armed.elements)[i];

		/* The log may have another slot by now, in which workers have set their bits. */
		if (!slot_log_valid(&log->slot))
			slot_log_ref(log->relid, false, &log->slot);
		slot_interest_wake(log->relid, &log->slot);
	}
}

static void
wakeup_at_end(bool commit)
{
	wakeup_logs();
	if (armed.count > 0 || registry_changed || sent.count > 0)
		slot_database_touch(MyDatabaseId);
	if (!commit)
		return;
	wakeup_send();
	for (int i = 0; i < forgotten.count; i++)
		slot_log_forget(((Oid *) forgotten.elements)[i]);
	if (registry_changed)
	{
		pg_atomic_fetch_add_u64(&Slots->registry_generation, 1);
		slot_wake_kind(WORKER_SCHEDULER, MyDatabaseId);
		slot_wake_kind(WORKER_DISPATCHER, MyDatabaseId);
	}
	if (registry_changed || moved)
		ConditionVariableBroadcast(&Slots->moved);
	for (int i = 0; i < sent.count; i++)
		slot_fetch_wake(((WakeupSent *) sent.elements)[i].manager);
	for (int i = 0; i < freed.count; i++)
		slot_fetch_wake(((int *) freed.elements)[i]);
	if (registry_changed)
		slot_fetch_wake(0);
	if (announced)
		slot_database_announce();
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
	{
		slot_database_touch(MyDatabaseId);
		wakeup_logs();
		/*
		 * The dispatchers find the sender's lock, and look again until it is free
		 * (sent.c).
		 */
		wakeup_send();
	}
	else if (Slots != NULL)
		wakeup_at_end(commit);
	wakeup_clear();
}

void
wakeup_install(void)
{
	RegisterXactCallback(wakeup_xact_callback, NULL);
}

void
wakeup_log(Oid relid)
{
	/* A transaction that writes one log many times finds it without a look-up. */
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

void
wakeup_registry(void)
{
	any_armed = registry_changed = true;
}

void
wakeup_announce(void)
{
	any_armed = announced = true;
}

void
wakeup_forget(Oid relid)
{
	*(Oid *) wakeup_add(&forgotten, sizeof(Oid)) = relid;
	any_armed = true;
}

bool
wakeup_has_sent(int manager)
{
	for (int i = 0; i < sent.count; i++)
		if (((WakeupSent *) sent.elements)[i].manager == manager)
			return true;
	return false;
}

void
wakeup_sent(int manager, Oid owner)
{
	WakeupSent *added;

	if (wakeup_has_sent(manager))
		return;
	added = wakeup_add(&sent, sizeof(WakeupSent));
	added->manager = manager;
	added->owner = owner;
	any_armed = true;
}

void
wakeup_moved(void)
{
	any_armed = moved = true;
}

/* ---------- waiting for what was announced ---------- */

void
wakeup_fetchers(int manager)
{
	*(int *) wakeup_add(&freed, sizeof(int)) = manager;
	any_armed = true;
}

uint64
wakeup_registry_generation(void)
{
	return Slots ? pg_atomic_read_u64(&Slots->registry_generation) : 0;
}

void
wakeup_prepare_to_wait(void)
{
	if (Slots != NULL)
		ConditionVariablePrepareToSleep(&Slots->moved);
}

void
wakeup_wait_moved(long ms, uint32 wait_event)
{
	(void) ConditionVariableTimedSleep(&Slots->moved, ms, wait_event);
}
