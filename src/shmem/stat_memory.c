/*
 * stat_memory.c
 *		The counters of lanes in shared memory.
 *
 * There is room for pm.max_stats lanes in the whole cluster.  The room is reserved when the
 * server starts, so counting allocates nothing and cannot fail: it is done when a
 * transaction has committed, where an error would stop the server.  The postmaster, which
 * writes the counters to a file (stat_file.c), could not read dynamic shared memory either.
 */
#include "pm.h"

#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "base/guc.h"
#include "shmem/stat_memory.h"

StatShared *Stats = NULL;
HTAB *StatEntries = NULL;

void
stat_memory_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(StatShared)));
	RequestAddinShmemSpace(hash_estimate_size(guc_max_stats, sizeof(StatEntry)));
}

bool
stat_memory_startup(void)
{
	HASHCTL ctl;
	bool found;

	Stats = ShmemInitStruct("pm stat", sizeof(StatShared), &found);
	if (!found)
	{
		LWLockInitialize(&Stats->lock, compat_new_tranche("pm stat"));
		Stats->began = GetCurrentTimestamp();
		Stats->crowded = false;
	}
	compat_register_tranche(Stats->lock.tranche, "pm stat");
	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(StatKey);
	ctl.entrysize = sizeof(StatEntry);
	StatEntries = compat_shmem_hash("pm stat entries", guc_max_stats, &ctl, HASH_ELEM | HASH_BLOBS);
	return !found;
}

void
stat_memory_key(StatKey *key, const char *manager, int lane)
{
	memset(key, 0, sizeof(StatKey));
	key->database = MyDatabaseId;
	key->lane = lane;
	strlcpy(key->manager, manager, NAMEDATALEN);
}

bool
stat_memory_full(void)
{
	return hash_get_num_entries(StatEntries) >= guc_max_stats;
}

StatEntry *
stat_memory_enter(const StatKey *key, uint32 hash, Oid owner)
{
	HASHACTION action = stat_memory_full() ? HASH_FIND : HASH_ENTER_NULL;
	bool found;
	StatEntry *entry = hash_search_with_hash_value(StatEntries, key, hash, action, &found);

	if (entry == NULL || found)
		return entry;
	SpinLockInit(&entry->mutex);
	entry->owner = owner;
	entry->counted_at = GetCurrentTimestamp();
	/* It may have been given up before. */
	entry->reset_at = Stats->crowded ? entry->counted_at : 0;
	memset(&entry->counts, 0, sizeof(StatCounts));
	return entry;
}

void
stat_memory_add(StatEntry *entry, const StatCounts *add, Oid owner)
{
	TimestampTz now = GetCurrentTimestamp();

	SpinLockAcquire(&entry->mutex);
	stat_counts_add(&entry->counts, add);
	entry->counted_at = now;
	if (OidIsValid(owner))
		entry->owner = owner;
	SpinLockRelease(&entry->mutex);
}
