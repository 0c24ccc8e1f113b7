/*
 * stat_room.c
 *		Makes room for the counters of a lane.
 *
 * When there is no room for another lane, the role that has the most entries gives one up:
 * the one that was counted longest ago.  So each role has an equal share, and one role cannot
 * take the room of another.  A role that itself has the most replaces only entries that were
 * not counted recently, so that lanes that are all in use do not replace each other.
 */
#include "pm.h"

#include "utils/timestamp.h"

#include "shmem/stat_room.h"

/* An entry that has changed within this time is not given up for one of the same role, ms. */
#define STAT_ROOM_KEEPS 60000

/* If a role has no room for a lane, its sessions try again after this time, ms. */
#define STAT_ROOM_NAP 5000

typedef struct StatRole
{
	Oid role; /* hash key */
	int entries;
} StatRole;

static TimestampTz refused_until = 0;

/*
 * The role that has the most entries: "role" itself, if no other has more.
 */
static Oid
stat_room_most(Oid role)
{
	HASHCTL ctl;
	HASH_SEQ_STATUS seq;
	HTAB *roles;
	StatEntry *entry;
	StatRole *most;
	StatRole *one;

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(StatRole);
	ctl.hcxt = CurrentMemoryContext;
	roles = hash_create("pm stat roles", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	most = hash_search(roles, &role, HASH_ENTER, NULL);
	most->entries = 0;
	hash_seq_init(&seq, StatEntries);
	while ((entry = hash_seq_search(&seq)) != NULL)
	{
		bool found;

		one = hash_search(roles, &entry->owner, HASH_ENTER, &found);
		one->entries = found ? one->entries + 1 : 1;
	}
	hash_seq_init(&seq, roles);
	while ((one = hash_seq_search(&seq)) != NULL)
		if (one->entries > most->entries)
			most = one;
	role = most->role;
	hash_destroy(roles);
	return role;
}

/*
 * Gives up the entry of a role that was counted longest ago, if that is before a time.
 */
static bool
stat_room_give_up(Oid role, TimestampTz before)
{
	HASH_SEQ_STATUS seq;
	StatEntry *entry;
	StatEntry *oldest = NULL;

	hash_seq_init(&seq, StatEntries);
	while ((entry = hash_seq_search(&seq)) != NULL)
		if (entry->owner == role && (oldest == NULL || entry->counted_at < oldest->counted_at))
			oldest = entry;
	if (oldest == NULL || oldest->counted_at > before)
		return false;
	(void) hash_search(StatEntries, &oldest->key, HASH_REMOVE, NULL);
	Stats->crowded = true;
	return true;
}

void
stat_room_make(const StatKey *key, uint32 hash, Oid owner)
{
	TimestampTz now = GetCurrentTimestamp();
	bool found;

	LWLockAcquire(&Stats->lock, LW_SHARED);
	(void) hash_search_with_hash_value(StatEntries, key, hash, HASH_FIND, &found);
	LWLockRelease(&Stats->lock);
	if (found || now < refused_until)
		return;
	LWLockAcquire(&Stats->lock, LW_EXCLUSIVE);
	(void) hash_search_with_hash_value(StatEntries, key, hash, HASH_FIND, &found);
	if (!found && stat_memory_full())
	{
		Oid most = stat_room_most(owner);
		TimestampTz before = most == owner ? now - STAT_ROOM_KEEPS * INT64CONST(1000) : DT_NOEND;

		if (!stat_room_give_up(most, before))
			refused_until = TimestampTzPlusMilliseconds(now, STAT_ROOM_NAP);
	}
	LWLockRelease(&Stats->lock);
}
