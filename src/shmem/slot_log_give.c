/*
 * slot_log_give.c
 *		Gives slots to logs, and takes them back.
 *
 * A log gets a slot when it is first read or written.  It loses the slot when it
 * is dropped, or when all slots are taken and another log needs one:
 *
 * - First, slots are taken from logs that no worker follows and that have not been
 *	 used for a while.
 * - Then each role that owns logs with a slot has an equal share.  A role that
 *	 has less than its share takes a slot from the role that has the most: the one
 *	 that has not been used for the longest time.
 * - A role that has its share gets no more slots.  For a log without a slot, each
 *	 backend determines the mark by itself (highwater.c), and the log shares its wake-ups
 *	 with others (slot_interest.c).
 *
 * No event is lost when a log loses its slot.  The mark starts again from the
 * furthest cursor, as it does when the server starts; until then the slot is not
 * "seeded" and its mark is not used.  The generations start empty, so the mark
 * rises later.  The workers that wait for the log are woken when it loses its slot, and
 * when it gets one, because they must wait in another place then.
 *
 * A transaction that has used the mark may be about to move a cursor there, so it
 * pins the slot until it has ended (slot_pin.c).  A pinned slot is only taken from
 * a log that is gone.
 */
#include "pm.h"

#include "utils/timestamp.h"

#include "base/guc.h"
#include "shmem/slot_log_give.h"
#include "shmem/slot_waiters.h"

/* A log that no worker follows counts as in use for this long, s. */
#define SLOT_LOG_IDLE 60

/* At most this many idle slots are taken back at a time, and this many slots searched. */
#define SLOT_LOG_TAKE	64
#define SLOT_LOG_SEARCH 2048

/* When no idle slot was found, they are searched again only after this time, ms. */
#define SLOT_LOG_PAUSE 1000

bool
slot_log_take(LogSlot *slot, bool gone)
{
	LogKey key = {slot->database, slot->relid};
	LogOwner *owner = hash_search(LogOwners, &slot->owner, HASH_FIND, NULL);

	Assert(LWLockHeldByMeInMode(&LogSlots->lock, LW_EXCLUSIVE));
	LWLockAcquire(&slot->lock, LW_EXCLUSIVE);
	if (!gone && pg_atomic_read_u32(&slot->pins) > 0)
	{
		LWLockRelease(&slot->lock);
		return false;
	}
	/*
	 * A backend that still has a pointer to the slot finds another incarnation, or
	 * other OIDs under the slot's lock, and looks the log up again.
	 */
	pg_atomic_fetch_add_u64(&slot->incarnation, 1);
	slot->database = InvalidOid;
	slot->relid = InvalidOid;
	LWLockRelease(&slot->lock);

	hash_search(LogEntries, &key, HASH_REMOVE, NULL);
	if (owner != NULL && --owner->count == 0)
		hash_search(LogOwners, &slot->owner, HASH_REMOVE, NULL);
	slot->next_free = LogSlots->free;
	LogSlots->free = slot->waiters.number;

	/* A writer that ends from here on wakes the processes that wait in the log's group. */
	slot_waiters_dismiss(&slot->waiters);
	return true;
}

/*
 * A log that was used "later than now" is idle too: the clock was set back.
 */
static bool
slot_log_is_idle(LogSlot *slot, uint32 seconds)
{
	uint32 used_at = pg_atomic_read_u32(&slot->used_at);

	return OidIsValid(slot->database) && !slot_log_table_wanted(&slot->waiters) &&
		   (seconds < used_at || seconds - used_at > SLOT_LOG_IDLE);
}

/*
 * Takes slots of logs that are not in use.  Returns whether it found any.  Others wait for
 * the lock meanwhile, so each call searches only some of the slots, and the next call
 * continues after them.
 */
static bool
slot_log_take_idle(TimestampTz now)
{
	uint32 seconds = slot_log_table_seconds(now);
	int taken = 0;

	if (now >= LogSlots->all_used &&
		!TimestampDifferenceExceeds(LogSlots->all_used, now, SLOT_LOG_PAUSE))
		return false;
	for (int i = 0; i < Min(LogSlots->nslots, SLOT_LOG_SEARCH) && taken < SLOT_LOG_TAKE; i++)
	{
		LogSlot *slot = &LogSlots->slots[LogSlots->searched];

		LogSlots->searched = (LogSlots->searched + 1) % LogSlots->nslots;
		if (slot_log_is_idle(slot, seconds) && slot_log_take(slot, false))
			taken++;
	}
	if (taken == 0)
		LogSlots->all_used = now;
	return taken > 0;
}

/*
 * The role that has the most slots, if it has more than this number.
 */
static Oid
slot_log_greediest(int most)
{
	HASH_SEQ_STATUS seq;
	LogOwner *owner;
	Oid greediest = InvalidOid;

	hash_seq_init(&seq, LogOwners);
	while ((owner = hash_seq_search(&seq)) != NULL)
		if (owner->count > most)
		{
			most = owner->count;
			greediest = owner->owner;
		}
	return greediest;
}

/*
 * Takes a slot from the role that has the most, for a role that has less than its
 * share.
 */
static bool
slot_log_take_share(Oid owner)
{
	LogOwner *mine = hash_search(LogOwners, &owner, HASH_FIND, NULL);
	int share = guc_max_logs / (hash_get_num_entries(LogOwners) + (mine == NULL ? 1 : 0));
	Oid greediest;
	LogSlot *victim = NULL;

	if (mine != NULL && mine->count >= share)
		return false;
	greediest = slot_log_greediest(share);
	for (int i = 0; i < LogSlots->nslots && OidIsValid(greediest); i++)
	{
		LogSlot *slot = &LogSlots->slots[i];

		if (OidIsValid(slot->database) && slot->owner == greediest &&
			pg_atomic_read_u32(&slot->pins) == 0 &&
			(victim == NULL ||
			 pg_atomic_read_u32(&slot->used_at) < pg_atomic_read_u32(&victim->used_at)))
			victim = slot;
	}
	return victim != NULL && slot_log_take(victim, false);
}

/*
 * Enters a log and its owner into the hash tables.  NULL when shared memory has no
 * room for the entries.
 */
static LogEntry *
slot_log_enter(const LogKey *key, Oid owner)
{
	bool found;
	LogEntry *entry = hash_search(LogEntries, key, HASH_ENTER_NULL, &found);
	LogOwner *share = entry ? hash_search(LogOwners, &owner, HASH_ENTER_NULL, &found) : NULL;

	if (share == NULL)
	{
		if (entry != NULL)
			hash_search(LogEntries, key, HASH_REMOVE, NULL);
		return NULL;
	}
	if (!found)
		share->count = 0;
	share->count++;
	return entry;
}

/*
 * A free slot.  The caller knows that there is one.
 */
static LogSlot *
slot_log_free(void)
{
	LogSlot *slot;

	if (LogSlots->free >= 0)
	{
		slot = &LogSlots->slots[LogSlots->free];
		LogSlots->free = slot->next_free;
		return slot;
	}
	slot = &LogSlots->slots[LogSlots->nslots];
	slot_log_table_init(slot, LogSlots->nslots);
	/* slot_log_table_nth() reads this without the lock. */
	pg_write_barrier();
	LogSlots->nslots++;
	return slot;
}

LogSlot *
slot_log_give(const LogKey *key, Oid owner)
{
	/*
	 * Read under the lock, for which many may wait.  With an older time, logs that
	 * were used meanwhile would look as if the clock had been set back, and lose
	 * their slots; and each backend that waited would go through all slots again.
	 */
	TimestampTz now = GetCurrentTimestamp();
	LogSlot *slot;
	LogEntry *entry;

	if (LogSlots->free < 0 && LogSlots->nslots == guc_max_logs && !slot_log_take_idle(now) &&
		!slot_log_take_share(owner))
		return NULL;
	entry = slot_log_enter(key, owner);
	if (entry == NULL)
		return NULL;
	slot = slot_log_free();
	entry->index = slot->waiters.number;

	LWLockAcquire(&slot->lock, LW_EXCLUSIVE);
	pg_atomic_fetch_add_u64(&slot->incarnation, 1);
	slot->database = key->database;
	slot->relid = key->relid;
	slot->owner = owner;
	slot->generations.mark = 0;
	slot->generations.reached = 0;
	slot->generations.used = 0;
	slot->generations.nmembers = 0;
	pg_atomic_write_u32(&slot->seeded, 0);
	pg_atomic_write_u64(&slot->mark, 0);
	pg_atomic_write_u64(&slot->reached, 0);
	pg_atomic_write_u32(&slot->used_at, slot_log_table_seconds(now));
	LWLockRelease(&slot->lock);

	/* A writer that ends from here on wakes only the processes that wait in the slot. */
	slot_waiters_wake(slot_log_table_group(key));
	return slot;
}
