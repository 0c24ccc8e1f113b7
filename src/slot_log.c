/*
 * slot_log.c
 *		Shared memory: the logs that workers wait for, the writers' hints.
 */
#include "pm.h"

#include "port/pg_bitutils.h"
#include "slot.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"

typedef struct LogKey
{
	Oid			database;
	Oid			relid;
} LogKey;

typedef struct LogEntry
{
	LogKey		key;
	int			index;
} LogEntry;

static char *log_slots;			/* SLOT_MAX_LOGS of log_slot_size bytes */
static Size log_slot_size;
static WriterHint *hints;		/* COMPAT_VXID_INDEX_MAX * SLOT_HINTS */
static HTAB *log_table;

static inline int
slot_max_members(void)
{
	return MaxBackends + max_prepared_xacts + 1;
}

static inline LogSlot *
slot_log_at(int index)
{
	return (LogSlot *) (log_slots + (Size) index * log_slot_size);
}

static inline Size
slot_hints_size(void)
{
	return mul_size(mul_size(COMPAT_VXID_INDEX_MAX, SLOT_HINTS), sizeof(WriterHint));
}

/*
 * Asks for what slot_log_shmem_startup() will take.
 */
void
slot_log_shmem_request(void)
{
	log_slot_size = MAXALIGN(sizeof(LogSlot)) +
		MAXALIGN(mul_size(slot_max_members(), sizeof(GenerationMember)));
	RequestAddinShmemSpace(mul_size(log_slot_size, SLOT_MAX_LOGS));
	RequestAddinShmemSpace(slot_hints_size());
	RequestAddinShmemSpace(hash_estimate_size(SLOT_MAX_LOGS, sizeof(LogEntry)));
}

/*
 * The caller holds AddinShmemInitLock, and has made Slots.
 */
void
slot_log_shmem_startup(void)
{
	bool		found;
	HASHCTL		ctl;

	log_slots = ShmemInitStruct("pm logs", log_slot_size * SLOT_MAX_LOGS, &found);
	if (!found)
	{
		memset(log_slots, 0, log_slot_size * SLOT_MAX_LOGS);
		for (int i = 0; i < SLOT_MAX_LOGS; i++)
		{
			LogSlot    *slot = slot_log_at(i);

			LWLockInitialize(&slot->lock, Slots->lock.tranche);
			pg_atomic_init_u64(&slot->mark, 0);
			pg_atomic_init_u64(&slot->reached, 0);
			pg_atomic_init_u32(&slot->seeded, 0);
			for (int w = 0; w < SLOT_WAKE_WORDS; w++)
				pg_atomic_init_u64(&slot->interest[w], 0);
			pg_atomic_init_u64(&slot->wakes, 0);
			slot->generations.max_members = slot_max_members();
			slot->generations.members = (GenerationMember *) ((char *) slot + MAXALIGN(sizeof(LogSlot)));
		}
	}

	hints = ShmemInitStruct("pm hints", slot_hints_size(), &found);
	if (!found)
	{
		memset(hints, 0, slot_hints_size());
		for (int i = 0; i < COMPAT_VXID_INDEX_MAX * SLOT_HINTS; i++)
			pg_atomic_init_u32(&hints[i].lxid, InvalidLocalTransactionId);
	}

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(LogKey);
	ctl.entrysize = sizeof(LogEntry);
	log_table = ShmemInitHash("pm log table", SLOT_MAX_LOGS, SLOT_MAX_LOGS, &ctl,
							  HASH_ELEM | HASH_BLOBS);
}

/*
 * Takes the interest bits of a worker off all logs.  Caller holds Slots->lock.
 */
void
slot_clear_interest(int index)
{
	uint64		bit = UINT64CONST(1) << (index % 64);

	Assert(LWLockHeldByMe(&Slots->lock));
	for (int i = 0; i < Slots->nlogs; i++)
		pg_atomic_fetch_and_u64(&slot_log_at(i)->interest[index / 64], ~bit);
}

/*
 * The slot of a log of this database.  NULL when there is none and !create,
 * when all are taken, or when the library is not preloaded.
 */
LogSlot *
slot_log(Oid relid, bool create)
{
	static bool warned = false;
	LogKey		key = {MyDatabaseId, relid};
	LogEntry   *entry;
	LogSlot    *slot = NULL;
	bool		found;

	if (Slots == NULL)
		return NULL;

	LWLockAcquire(&Slots->lock, LW_SHARED);
	entry = hash_search(log_table, &key, HASH_FIND, NULL);
	if (entry != NULL)
		slot = slot_log_at(entry->index);
	LWLockRelease(&Slots->lock);
	if (slot != NULL || !create)
		return slot;

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	entry = hash_search(log_table, &key, HASH_FIND, NULL);
	if (entry != NULL)
		slot = slot_log_at(entry->index);
	else
	{
		int			index;

		for (index = 0; index < Slots->nlogs; index++)
			if (!OidIsValid(slot_log_at(index)->database))
				break;
		if (index < SLOT_MAX_LOGS)
		{
			entry = hash_search(log_table, &key, HASH_ENTER_NULL, &found);
			if (entry != NULL)
			{
				entry->index = index;
				slot = slot_log_at(index);
				LWLockAcquire(&slot->lock, LW_EXCLUSIVE);
				slot->database = MyDatabaseId;
				slot->relid = relid;
				slot->generations.mark = 0;
				slot->generations.reached = 0;
				slot->generations.used = 0;
				slot->generations.nmembers = 0;
				pg_atomic_write_u64(&slot->mark, 0);
				pg_atomic_write_u64(&slot->reached, 0);
				pg_atomic_write_u32(&slot->seeded, 0);
				for (int w = 0; w < SLOT_WAKE_WORDS; w++)
					pg_atomic_write_u64(&slot->interest[w], 0);
				LWLockRelease(&slot->lock);
				Slots->nlogs = Max(Slots->nlogs, index + 1);
				pg_atomic_fetch_add_u64(&Slots->log_generation, 1);
			}
		}
	}
	LWLockRelease(&Slots->lock);
	if (slot == NULL && !warned)
	{
		warned = true;
		ereport(LOG,
				(errmsg("pm keeps %d logs in shared memory, and there are more", SLOT_MAX_LOGS),
				 errdetail("Further logs are found by polling.")));
	}
	return slot;
}

/*
 * The same, remembered by the caller: looks again only when some log has got
 * or lost its slot since.
 */
LogSlot *
slot_log_cached(Oid relid, LogSlot *cached, uint64 *generation)
{
	uint64		now;

	if (Slots == NULL)
		return NULL;
	now = pg_atomic_read_u64(&Slots->log_generation);
	if (now == *generation)
		return cached;
	*generation = now;
	return slot_log(relid, false);
}

/*
 * What a cursor has passed is settled, whatever the sequence says: known from
 * then on without looking at the cursors again, since they move up to marks.
 */
void
slot_log_seed(LogSlot *slot, Oid relid, int64 cursor)
{
	LWLockAcquire(&slot->lock, LW_EXCLUSIVE);
	if (slot->relid == relid && slot->database == MyDatabaseId)
	{
		slot->generations.mark = Max(slot->generations.mark, cursor);
		pg_atomic_write_u64(&slot->mark, (uint64) slot->generations.mark);
		slot_log_reach(slot, cursor);
		pg_atomic_write_u32(&slot->seeded, 1);
	}
	LWLockRelease(&slot->lock);
}

/*
 * A look has seen the sequence at "last": from here on no writer goes below
 * that.  The caller holds the slot's lock, and reads who holds the table's lock
 * only afterwards (highwater.c).
 */
void
slot_log_reach(LogSlot *slot, int64 last)
{
	Assert(LWLockHeldByMeInMode(&slot->lock, LW_EXCLUSIVE));
	if (last <= slot->generations.reached)
		return;
	slot->generations.reached = last;
	pg_atomic_write_u64(&slot->reached, (uint64) last);
	pg_memory_barrier();
}

/*
 * Says that this worker wants to be woken when a writer of the log ends.  A
 * full barrier: what a caller reads of the log afterwards includes every
 * writer that ended without seeing the bit.
 */
void
slot_log_interest(LogSlot *slot)
{
	int			index = MyWorkerSlot - Slots->workers;

	pg_atomic_fetch_or_u64(&slot->interest[index / 64], UINT64CONST(1) << (index % 64));
}

/*
 * This worker waits for no log any more.
 */
void
slot_no_interest(void)
{
	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	slot_clear_interest(MyWorkerSlot - Slots->workers);
	LWLockRelease(&Slots->lock);
}

/*
 * Wakes who waits for the log.
 */
void
slot_log_wake(LogSlot *slot)
{
	bool		anybody = false;

	for (int w = 0; w < SLOT_WAKE_WORDS; w++)
		anybody |= pg_atomic_read_u64(&slot->interest[w]) != 0;
	if (!anybody)
		return;
	/* Before they are woken: who finds the same count again has missed nobody. */
	pg_atomic_fetch_add_u64(&slot->wakes, 1);
	for (int w = 0; w < SLOT_WAKE_WORDS; w++)
	{
		uint64		bits = pg_atomic_read_u64(&slot->interest[w]);

		while (bits != 0)
		{
			int			bit = pg_rightmost_one_pos64(bits);

			slot_wake(w * 64 + bit);
			bits &= bits - 1;
		}
	}
}

/*
 * Frees the slots of a database's logs, or of one of them.  Who still holds a
 * pointer to the slot finds another log's OIDs in it, under the slot's lock,
 * and looks again.
 */
void
slot_forget_logs(Oid database, Oid relid)
{
	if (Slots == NULL)
		return;
	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	for (int i = 0; i < Slots->nlogs; i++)
	{
		LogSlot    *slot = slot_log_at(i);
		LogKey		key = {slot->database, slot->relid};

		if (!OidIsValid(slot->database) || slot->database != database ||
			(OidIsValid(relid) && slot->relid != relid))
			continue;
		LWLockAcquire(&slot->lock, LW_EXCLUSIVE);
		slot->database = InvalidOid;
		slot->relid = InvalidOid;
		LWLockRelease(&slot->lock);
		hash_search(log_table, &key, HASH_REMOVE, NULL);
		pg_atomic_fetch_add_u64(&Slots->log_generation, 1);
	}
	LWLockRelease(&Slots->lock);
}

/*
 * Frees the slots of this database that belong to none of these logs: of
 * tables that were dropped, or whose creation was rolled back.  Who is about
 * to commit one gets a new slot.
 */
void
slot_sweep_logs(List *relids)
{
	Oid			stale[16];
	int			n;

	do
	{
		n = 0;
		LWLockAcquire(&Slots->lock, LW_SHARED);
		for (int i = 0; i < Slots->nlogs && n < lengthof(stale); i++)
		{
			LogSlot    *slot = slot_log_at(i);

			if (slot->database == MyDatabaseId && !list_member_oid(relids, slot->relid))
				stale[n++] = slot->relid;
		}
		LWLockRelease(&Slots->lock);
		for (int i = 0; i < n; i++)
			slot_forget_logs(MyDatabaseId, stale[i]);
	} while (n == lengthof(stale));
}

/*
 * Publishes this transaction's hint for a log in one of its SLOT_HINTS
 * entries.  The tag goes last: a reader that sees it sees the rest.
 */
void
slot_hint_publish(int entry, Oid relid, int64 floor)
{
	WriterHint *hint = &hints[compat_my_index() * SLOT_HINTS + entry];

	Assert(entry >= 0 && entry < SLOT_HINTS);
	pg_atomic_write_u32(&hint->lxid, InvalidLocalTransactionId);
	pg_write_barrier();
	hint->database = MyDatabaseId;
	hint->relid = relid;
	hint->floor = floor;
	pg_write_barrier();
	pg_atomic_write_u32(&hint->lxid, compat_proc_lxid(MyProc));
}

/*
 * The hint that a transaction published for a log, if any.
 */
bool
slot_hint(VirtualTransactionId vxid, Oid relid, int64 *floor)
{
	int			index = compat_vxid_index(vxid);

	if (Slots == NULL || index < 0 || index >= COMPAT_VXID_INDEX_MAX)
		return false;
	for (int i = 0; i < SLOT_HINTS; i++)
	{
		WriterHint *hint = &hints[index * SLOT_HINTS + i];
		bool		ours;
		int64		value;

		if (pg_atomic_read_u32(&hint->lxid) != vxid.localTransactionId)
			continue;
		pg_read_barrier();
		ours = hint->database == MyDatabaseId && hint->relid == relid;
		value = hint->floor;
		pg_read_barrier();
		if (ours && pg_atomic_read_u32(&hint->lxid) == vxid.localTransactionId)
		{
			*floor = value;
			return true;
		}
	}
	return false;
}
