/*
 * stat.c
 *		Counts what process managers do, in shared memory.
 *
 * What a transaction has counted is kept in this process until the transaction commits, by
 * subtransaction, so that what is undone does not count.  A batch adds its counts once, at
 * its end, and takes a lock twice: when it looks whether there is room for its entry, if
 * there may be none, and when it commits.
 *
 * PREPARE TRANSACTION forgets the counts: when such a transaction is committed, none of our
 * code runs.  So counters can outlive their process manager, or its lanes.  They are removed
 * when a process manager of the same name, or such a lane, is added.
 *
 * The callback runs when the transaction has committed.  It must not fail, so it allocates
 * nothing.
 */
#include "pm.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/shared_memory.h"
#include "shmem/stat.h"
#include "shmem/stat_file.h"
#include "shmem/stat_memory.h"
#include "shmem/stat_room.h"

typedef enum StatAction
{
	STAT_ADD,
	STAT_FORGET, /* lanes from key.lane to to - 1 */
	STAT_MERGE	 /* the same lanes, into lane 0 */
} StatAction;

/* Something to do when the transaction commits. */
typedef struct StatPending
{
	StatAction action;
	StatKey key;
	uint32 hash; /* of key */
	SubTransactionId subid;
	int to;
	Oid owner;
	StatCounts add;
} StatPending;

/* In the order in which it was counted; so the IDs of subtransactions never decrease. */
static StatPending *pending = NULL;
static int npending = 0;
static int room = 0;

/* ---------- at the end of the transaction ---------- */

static void
stat_add(const StatPending *one)
{
	StatEntry *entry;

	LWLockAcquire(&Stats->lock, LW_SHARED);
	entry = hash_search_with_hash_value(StatEntries, &one->key, one->hash, HASH_FIND, NULL);
	if (entry == NULL)
	{
		LWLockRelease(&Stats->lock);
		LWLockAcquire(&Stats->lock, LW_EXCLUSIVE);
		entry = stat_memory_enter(&one->key, one->hash, one->owner);
	}
	if (entry != NULL)
		stat_memory_add(entry, &one->add, one->owner);
	LWLockRelease(&Stats->lock);
}

/*
 * Removes the entries of lanes, and adds what they have counted to *sum.
 */
static void
stat_remove(const StatPending *one, StatCounts *sum)
{
	StatKey key = one->key;

	for (; key.lane < one->to; key.lane++)
	{
		StatEntry *entry = hash_search(StatEntries, &key, HASH_FIND, NULL);

		if (entry == NULL)
			continue;
		stat_counts_add(sum, &entry->counts);
		(void) hash_search(StatEntries, &key, HASH_REMOVE, NULL);
	}
}

static void
stat_take_away(const StatPending *one)
{
	StatCounts sum = {0};

	LWLockAcquire(&Stats->lock, LW_EXCLUSIVE);
	stat_remove(one, &sum);
	if (one->action == STAT_MERGE)
	{
		StatKey key = one->key;
		StatEntry *entry;

		key.lane = 0;
		entry = stat_memory_enter(&key, get_hash_value(StatEntries, &key), InvalidOid);
		if (entry != NULL)
			stat_memory_add(entry, &sum, InvalidOid);
	}
	LWLockRelease(&Stats->lock);
}

static void
stat_xact_callback(XactEvent event, void *arg)
{
	if (npending == 0 ||
		(event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE))
		return;
	for (int i = 0; event == XACT_EVENT_COMMIT && i < npending; i++)
		if (pending[i].action == STAT_ADD)
			stat_add(&pending[i]);
		else
			stat_take_away(&pending[i]);
	npending = 0;
}

/* ---------- what a transaction has counted ---------- */

/*
 * What was added for the same lane since the last action other than STAT_ADD, in the same
 * subtransaction and before the nth; NULL if there is nothing.
 */
static StatPending *
stat_same(int nth, const StatKey *key, uint32 hash, SubTransactionId subid)
{
	while (--nth >= 0 && pending[nth].action == STAT_ADD && pending[nth].subid == subid)
		if (pending[nth].hash == hash && memcmp(&pending[nth].key, key, sizeof(StatKey)) == 0)
			return &pending[nth];
	return NULL;
}

static void
stat_sum(StatPending *one, const StatCounts *add, Oid owner)
{
	stat_counts_add(&one->add, add);
	if (OidIsValid(owner))
		one->owner = owner;
}

/*
 * What a subtransaction has counted now belongs to its parent, which may have counted the
 * same lanes.  What it has done last stands at the end.
 */
static void
stat_give_to_parent(SubTransactionId subid, SubTransactionId parent)
{
	int first = npending;
	int kept;

	while (first > 0 && pending[first - 1].subid == subid)
		first--;
	kept = first;
	for (int i = first; i < npending; i++)
	{
		StatPending one = pending[i];
		StatPending *same;

		one.subid = parent;
		same = one.action != STAT_ADD ? NULL : stat_same(kept, &one.key, one.hash, parent);
		if (same != NULL)
			stat_sum(same, &one.add, one.owner);
		else
			pending[kept++] = one;
	}
	npending = kept;
}

/*
 * IDs of subtransactions increase, so those inside the one that is undone have higher IDs.
 */
static void
stat_subxact_callback(SubXactEvent event, SubTransactionId subid, SubTransactionId parent,
					  void *arg)
{
	if (npending == 0)
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		stat_give_to_parent(subid, parent);
	else if (event == SUBXACT_EVENT_ABORT_SUB)
		while (npending > 0 && pending[npending - 1].subid >= subid)
			npending--;
}

static StatPending *
stat_append(StatAction action, const StatKey *key, uint32 hash)
{
	StatPending *one;

	if (npending == room)
	{
		int more = Max(16, room * 2);

		pending = pending == NULL ?
					  MemoryContextAlloc(TopMemoryContext, sizeof(StatPending) * more) :
					  repalloc_huge(pending, sizeof(StatPending) * more);
		room = more;
	}
	one = &pending[npending++];
	memset(one, 0, sizeof(StatPending));
	one->action = action;
	one->key = *key;
	one->hash = hash;
	one->subid = GetCurrentSubTransactionId();
	return one;
}

/* ---------- counting ---------- */

void
stat_count(const char *manager, int lane, Oid owner, const StatCounts *add)
{
	StatPending *one;
	StatKey key;
	uint32 hash;

	/* A rehearsal has no name. */
	if (Stats == NULL || manager[0] == '\0')
		return;
	stat_memory_key(&key, manager, lane);
	hash = get_hash_value(StatEntries, &key);
	one = stat_same(npending, &key, hash, GetCurrentSubTransactionId());
	if (one == NULL)
	{
		/* At the commit it would be too late. */
		if (stat_memory_full())
			stat_room_make(&key, hash, owner);
		one = stat_append(STAT_ADD, &key, hash);
	}
	stat_sum(one, add, owner);
}

void
stat_count_failed(const char *manager, int lane, int failures, int conflicts)
{
	StatCounts add = {.failures = failures, .conflicts = conflicts};

	if (failures > 0 || conflicts > 0)
		stat_count(manager, lane, InvalidOid, &add);
}

static void
stat_take_away_later(StatAction action, const char *manager, int from, int to)
{
	StatKey key;

	if (Stats == NULL || manager[0] == '\0' || from >= to)
		return;
	stat_memory_key(&key, manager, from);
	stat_append(action, &key, get_hash_value(StatEntries, &key))->to = to;
}

void
stat_forget(const char *manager, int from, int lanes)
{
	stat_take_away_later(STAT_FORGET, manager, from, lanes);
}

void
stat_merge(const char *manager, int from, int lanes)
{
	stat_take_away_later(STAT_MERGE, manager, from, lanes);
}

List *
stat_databases(void)
{
	HASH_SEQ_STATUS seq;
	StatEntry *entry;
	List *databases = NIL;

	LWLockAcquire(&Stats->lock, LW_SHARED);
	hash_seq_init(&seq, StatEntries);
	while ((entry = hash_seq_search(&seq)) != NULL)
		databases = list_append_unique_oid(databases, entry->key.database);
	LWLockRelease(&Stats->lock);
	return databases;
}

void
stat_forget_database(Oid database)
{
	HASH_SEQ_STATUS seq;
	StatEntry *entry;

	LWLockAcquire(&Stats->lock, LW_EXCLUSIVE);
	hash_seq_init(&seq, StatEntries);
	while ((entry = hash_seq_search(&seq)) != NULL)
		if (entry->key.database == database)
			(void) hash_search(StatEntries, &entry->key, HASH_REMOVE, NULL);
	LWLockRelease(&Stats->lock);
}

/* ---------- the counters ---------- */

void
stat_reset(const char *manager, int lane, Oid owner)
{
	TimestampTz now = GetCurrentTimestamp();
	StatEntry *entry;
	StatKey key;
	uint32 hash;

	if (Stats == NULL)
		return;
	stat_memory_key(&key, manager, lane);
	hash = get_hash_value(StatEntries, &key);
	if (stat_memory_full())
		stat_room_make(&key, hash, owner);
	LWLockAcquire(&Stats->lock, LW_EXCLUSIVE);
	entry = stat_memory_enter(&key, hash, owner);
	if (entry != NULL)
	{
		memset(&entry->counts, 0, sizeof(StatCounts));
		entry->reset_at = now;
	}
	LWLockRelease(&Stats->lock);
}

bool
stat_read(const char *manager, int lane, StatCounts *counts, TimestampTz *since)
{
	StatEntry *entry;
	StatKey key;

	if (Stats == NULL)
		return false;
	memset(counts, 0, sizeof(StatCounts));
	stat_memory_key(&key, manager, lane);
	LWLockAcquire(&Stats->lock, LW_SHARED);
	*since = Stats->began;
	entry = hash_search(StatEntries, &key, HASH_FIND, NULL);
	if (entry != NULL)
	{
		SpinLockAcquire(&entry->mutex);
		*counts = entry->counts;
		*since = Max(*since, entry->reset_at);
		SpinLockRelease(&entry->mutex);
	}
	LWLockRelease(&Stats->lock);
	return true;
}

static void
stat_startup(void)
{
	bool fresh = stat_memory_startup();

	/* Where processes are not forked, each of them sets up shared memory for itself. */
	if (IsUnderPostmaster)
		return;
	if (fresh)
		stat_file_read();
	on_shmem_exit(stat_file_at_exit, (Datum) 0);
}

void
stat_install(void)
{
	shared_memory_add(stat_memory_request, stat_startup);
	RegisterXactCallback(stat_xact_callback, NULL);
	RegisterSubXactCallback(stat_subxact_callback, NULL);
}
