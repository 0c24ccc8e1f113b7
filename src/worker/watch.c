/*
 * watch.c
 *		Finds out which of the logs that a dispatcher follows have moved.
 *
 * This worker's bit in the slot of each followed log asks the writers to wake
 * it.  When the worker is awake, the number of wake-ups in the slot tells for
 * which logs to read the sequence, and the sequence tells whether the log has
 * moved, that is, has new positions.
 *
 * This relies on the order of the steps: a writer reads the bits after its
 * transaction has ended, and slot_interest() is a full barrier between setting
 * our bit and reading the sequence.  So either we see the writer's position, or
 * the writer sees our bit.  Some ends of transactions wake no worker (COMMIT
 * PREPARED, or a transaction that held back a mark and wrote nothing).  So all
 * logs are read every pm.poll_interval.
 */
#include "pm.h"

#include "access/xact.h"
#include "utils/timestamp.h"

#include "base/guc.h"
#include "log/log_open.h"
#include "log/log_sequences.h"
#include "log/sequence.h"
#include "shmem/slot_interest.h"
#include "shmem/slot_log.h"
#include "worker/watch.h"
#include "worker/worker.h"

/* How often a log without a slot asks for one again, in ms. */
#define WATCH_ASK 10000

/* With more logs than this, they are not built when the watch begins. */
#define WATCH_FEW 64

/* A followed log. */
typedef struct Watch
{
	char *log;
	bool watching; /* false while its table is locked: the columns below are not known */
	Oid relid;
	Oid seqid;
	LogRef slot;   /* may be none: then writers of other logs wake us, too */
	uint64 wakes;  /* of the slot or group when the sequence was last read */
	int64 last;	   /* the sequence's last value then; PG_INT64_MAX: it could not be read */
	List *follows; /* of Follow */
} Watch;

/* A watch by its log's name. */
typedef struct WatchEntry
{
	char log[LOG_MAX_NAME]; /* hash key */
	Watch *watch;
} WatchEntry;

/*
 * Begins to watch a log, unless its table is locked just now.
 */
static void
watch_open(Watches *watches, Watch *watch)
{
	bool locked;
	PmLog *log = log_get_nowait(watch->log, &locked);

	watches->incomplete |= locked;
	if (log == NULL)
		return;
	watch->watching = true;
	watch->relid = log->relid;
	watch->seqid = log->seqid;
	slot_interest(watch->relid, &watch->slot);
}

/*
 * Begins to watch all logs.  Building a log takes a long time, because its table must be
 * opened and checked, and is needed only when events are read.  So if there are many logs,
 * only what this file needs is looked up, in one statement.
 */
static void
watch_open_many(Watches *watches)
{
	List *names = NIL;
	ListCell *lc;

	foreach(lc, watches->all)
		names = lappend(names, ((Watch *) lfirst(lc))->log);
	foreach(lc, log_sequences(names))
	{
		LogSequence *sequence = lfirst(lc);
		WatchEntry *entry = hash_search(watches->by_name, sequence->name, HASH_FIND, NULL);

		/* The sequence of an attached log is found when the log is built. */
		if (entry == NULL || !OidIsValid(sequence->seqid))
			continue;
		entry->watch->watching = true;
		entry->watch->relid = sequence->relid;
		entry->watch->seqid = sequence->seqid;
		slot_interest(sequence->relid, &entry->watch->slot);
	}
}

/*
 * Clears all bits.  Writers that do not wake us meanwhile are not missed,
 * because each log that is added is read once in any case.
 */
void
watch_begin(Watches *watches)
{
	HASHCTL ctl;

	slot_interest_end();
	watches->all = NIL;
	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = LOG_MAX_NAME;
	ctl.entrysize = sizeof(WatchEntry);
	ctl.hcxt = CurrentMemoryContext;
	watches->by_name = hash_create("pm watches", 64, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

/*
 * Adds a unit that follows a log.  Both arguments must live as long as the
 * watches.
 */
void
watch_add(Watches *watches, char *log, Follow *follow)
{
	bool found;
	WatchEntry *entry = hash_search(watches->by_name, log, HASH_ENTER, &found);

	if (!found)
	{
		entry->watch = palloc0(sizeof(Watch));
		entry->watch->log = log;
		/* A number that no slot reaches, so that the log is read the first time. */
		entry->watch->wakes = PG_UINT64_MAX;
		watches->all = lappend(watches->all, entry->watch);
	}
	follow->last = &entry->watch->last;
	entry->watch->follows = lappend(entry->watch->follows, follow);
}

/*
 * Called when all logs have been added.
 */
void
watch_end(Watches *watches)
{
	ListCell *lc;

	if (list_length(watches->all) > WATCH_FEW)
		watch_open_many(watches);
	else
		foreach(lc, watches->all)
			watch_open(watches, lfirst(lc));
	hash_destroy(watches->by_name);
	watches->by_name = NULL;
}

/*
 * Has one of its writers ended since the sequence was last read, as far as is known?
 */
static bool
watch_woken(Watch *watch)
{
	return slot_interest_wakes(watch->relid, &watch->slot) != watch->wakes;
}

/*
 * May a log have moved?
 */
static bool
watch_may_have_moved(Watch *watch, bool all)
{
	if (all || !watch->watching)
		return true;
	return (watch->slot.slot != NULL && !slot_log_valid(&watch->slot)) || watch_woken(watch);
}

/*
 * Sets this worker's bit if it is missing.  A log may have lost its slot, and
 * our bit with it, or may have been given one, and then we have been woken.  With
 * "ask", tries again to get a slot for a log that had none.
 */
static void
watch_renew(Watches *watches, Watch *watch, bool ask)
{
	if (!watch->watching)
		watch_open(watches, watch);
	else if (watch->slot.slot != NULL ? !slot_log_valid(&watch->slot) : ask || watch_woken(watch))
		slot_interest(watch->relid, &watch->slot);
}

/*
 * Has the log moved since it was last read?
 */
static bool
watch_has_moved(Watch *watch)
{
	int64 last;

	/*
	 * Read the number of wake-ups before the sequence, so that a writer that
	 * ends in between makes us read once more, and is not missed.
	 */
	if (watch->watching)
		watch->wakes = slot_interest_wakes(watch->relid, &watch->slot);
	pg_memory_barrier();
	/* If the sequence cannot be read, the batch finds out why, and reports it. */
	if (!sequence_look(watch->seqid, &last))
	{
		watch->last = PG_INT64_MAX;
		return true;
	}
	if (last == watch->last)
		return false;
	watch->last = last;
	return true;
}

/*
 * Has this much time passed since then?  If so, begins to measure the time again.
 * Also true if the clock was set back.
 */
static bool
watch_time_again(TimestampTz *since, TimestampTz now, int ms)
{
	if (now >= *since && !TimestampDifferenceExceeds(*since, now, ms))
		return false;
	*since = now;
	return true;
}

static void
watch_tell(Watch *watch)
{
	ListCell *lc;

	foreach(lc, watch->follows)
	{
		Follow *follow = lfirst(lc);

		follow->moved = true;
		*follow->unit_dirty = true;
		*follow->unit_first = false;
	}
}

/*
 * Costs one page read for each log that may have moved, and no snapshot.  If no
 * log may have moved, not even a transaction is begun.
 */
void
watch_look(Watches *watches)
{
	TimestampTz now = GetCurrentTimestamp();
	bool all = watch_time_again(&watches->looked_at, now, guc_poll_interval);
	bool ask = all && watch_time_again(&watches->asked_at, now, WATCH_ASK);
	bool begun = false;
	ListCell *lc;

	watches->incomplete = false;
	foreach(lc, watches->all)
	{
		Watch *watch = lfirst(lc);

		if (!watch_may_have_moved(watch, all))
			continue;
		if (!begun)
			worker_transaction();
		begun = true;
		watch_renew(watches, watch, ask);
		if (watch_has_moved(watch))
			watch_tell(watch);
	}
	if (begun)
		CommitTransactionCommand();
}
