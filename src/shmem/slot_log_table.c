/*
 * slot_log_table.c
 *		Creates the shared memory of the logs when the server starts.
 *
 * There is room for pm.max_logs logs in the whole cluster.  The memory for a
 * log is reserved, but it is not touched before a log uses it.
 */
#include "pm.h"

#include "common/hashfn.h"
#include "storage/shmem.h"

#include "base/guc.h"
#include "base/shared_memory.h"
#include "shmem/slot_log_table.h"
#include "shmem/slot_memory.h"

LogShared *LogSlots;
HTAB *LogEntries;
HTAB *LogOwners;

static inline Size
slot_log_table_size(void)
{
	return add_size(offsetof(LogShared, slots), mul_size(guc_max_logs, sizeof(LogSlot)));
}

static void
slot_log_table_request(void)
{
	RequestAddinShmemSpace(slot_log_table_size());
	RequestAddinShmemSpace(hash_estimate_size(guc_max_logs, sizeof(LogEntry)));
	RequestAddinShmemSpace(hash_estimate_size(guc_max_logs, sizeof(LogOwner)));
}

static void
slot_log_table_init_waiters(LogWaiters *waiters, int number)
{
	waiters->number = number;
	for (int w = 0; w < SLOT_WAKE_WORDS; w++)
		pg_atomic_init_u64(&waiters->interest[w], 0);
	pg_atomic_init_u32(&waiters->fetchers, 0);
	pg_atomic_init_u64(&waiters->wakes, 0);
}

/*
 * Runs after the workers' shared memory has been made.
 */
static void
slot_log_table_startup(void)
{
	bool found;
	HASHCTL ctl;

	LogSlots = ShmemInitStruct("pm logs", slot_log_table_size(), &found);
	/* The slots are not initialized here: memory that no log uses is never touched. */
	if (!found)
	{
		LWLockInitialize(&LogSlots->lock, Slots->lock.tranche);
		LogSlots->nslots = 0;
		LogSlots->free = -1;
		LogSlots->searched = 0;
		LogSlots->all_used = 0;
		for (int i = 0; i < SLOT_LOG_GROUPS; i++)
			slot_log_table_init_waiters(&LogSlots->groups[i], guc_max_logs + i);
	}
	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(LogKey);
	ctl.entrysize = sizeof(LogEntry);
	LogEntries = compat_shmem_hash("pm log table", guc_max_logs, &ctl, HASH_ELEM | HASH_BLOBS);
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(LogOwner);
	LogOwners = compat_shmem_hash("pm log owners", guc_max_logs, &ctl, HASH_ELEM | HASH_BLOBS);
}

void
slot_log_table_install(void)
{
	shared_memory_add(slot_log_table_request, slot_log_table_startup);
}

void
slot_log_table_init(LogSlot *slot, int index)
{
	memset(slot, 0, sizeof(LogSlot));
	LWLockInitialize(&slot->lock, Slots->lock.tranche);
	pg_atomic_init_u64(&slot->incarnation, 1);
	pg_atomic_init_u32(&slot->seeded, 0);
	pg_atomic_init_u32(&slot->pins, 0);
	pg_atomic_init_u32(&slot->used_at, 0);
	pg_atomic_init_u64(&slot->mark, 0);
	pg_atomic_init_u64(&slot->reached, 0);
	slot_log_table_init_waiters(&slot->waiters, index);
	slot->generations.max_members = SLOT_MEMBERS;
	slot->generations.fixed = true;
	slot->generations.members = slot->members;
}

LogWaiters *
slot_log_table_group(const LogKey *key)
{
	uint32 hash = hash_combine(murmurhash32(key->relid), murmurhash32(key->database));

	return &LogSlots->groups[hash % SLOT_LOG_GROUPS];
}

LogWaiters *
slot_log_table_waiters(int number)
{
	return number < guc_max_logs ? &LogSlots->slots[number].waiters :
								   &LogSlots->groups[number - guc_max_logs];
}

int
slot_log_table_numbers(void)
{
	return guc_max_logs + SLOT_LOG_GROUPS;
}
