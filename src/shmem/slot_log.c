/*
 * slot_log.c
 *		Shared memory: the marks of logs, and which workers wait for them.
 *
 * There is room for pm.max_logs logs, in the whole cluster.  Memory that no log
 * has used yet is only reserved.  A log gets a slot when it is first read or
 * written, and loses it when it is dropped, or when all slots are taken and
 * another log needs one:
 *
 * - First the slots of logs that nobody follows and nobody has used for a while
 *	 are taken.
 * - Then each role that owns logs with a slot has an equal share.  A role that
 *	 has less than its share takes from the role that has the most.  Of that, the
 *	 slot goes that has not been used for the longest time.
 * - A role that has its share gets no more.  A log without a slot is read with
 *	 marks that each backend finds for itself (highwater.c), and its events are
 *	 found by polling.
 *
 * Nothing is lost with a slot.  The mark starts from the furthest cursor, as it
 * does when the server starts; until it has, the slot is not "seeded" and its
 * mark is not used.  Generations begin anew, which makes the mark rise later.  The
 * workers that wait for the log are woken, and ask again.  A transaction that has
 * used the mark may be about to move a cursor there, so it pins the slot until it
 * has ended; a pinned slot is only taken from a log that is gone.
 */
#include "pm.h"

#include "access/xact.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/guc.h"
#include "shmem/slot.h"

/* A log that nobody follows is in use for this long, s. */
#define SLOT_LOG_IDLE 60

/* At most this many slots are taken back at a time. */
#define SLOT_LOG_TAKE 64

/* When all are in use, they are gone through again only after this time, ms. */
#define SLOT_LOG_PAUSE 1000

typedef struct LogKey
{
	Oid database;
	Oid relid;
} LogKey;

typedef struct LogEntry
{
	LogKey key;
	int index;
} LogEntry;

/* How many slots a role's logs have. */
typedef struct LogOwner
{
	Oid owner;
	int count;
} LogOwner;

typedef struct LogShared
{
	LWLock lock;		  /* which log has which slot */
	int nslots;			  /* that have ever been in use */
	int free;			  /* the first free one of these, -1: none */
	TimestampTz all_used; /* when no idle one was found */
	LogSlot slots[FLEXIBLE_ARRAY_MEMBER];
} LogShared;

static LogShared *Logs;
static HTAB *log_table;	  /* of LogEntry */
static HTAB *owner_table; /* of LogOwner */

static inline Size
slot_log_size(void)
{
	return add_size(offsetof(LogShared, slots), mul_size(guc_max_logs, sizeof(LogSlot)));
}

/*
 * Asks for what slot_log_shmem_startup() will take.
 */
void
slot_log_shmem_request(void)
{
	RequestAddinShmemSpace(slot_log_size());
	RequestAddinShmemSpace(hash_estimate_size(guc_max_logs, sizeof(LogEntry)));
	RequestAddinShmemSpace(hash_estimate_size(guc_max_logs, sizeof(LogOwner)));
}

/*
 * The caller holds AddinShmemInitLock, and has made Slots.  The slots are left
 * alone until they are used.
 */
void
slot_log_shmem_startup(void)
{
	bool found;
	HASHCTL ctl;

	Logs = ShmemInitStruct("pm logs", slot_log_size(), &found);
	if (!found)
	{
		LWLockInitialize(&Logs->lock, Slots->lock.tranche);
		Logs->nslots = 0;
		Logs->free = -1;
		Logs->all_used = 0;
	}
	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(LogKey);
	ctl.entrysize = sizeof(LogEntry);
	log_table = compat_shmem_hash("pm log table", guc_max_logs, &ctl, HASH_ELEM | HASH_BLOBS);
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(LogOwner);
	owner_table = compat_shmem_hash("pm log owners", guc_max_logs, &ctl, HASH_ELEM | HASH_BLOBS);
}

static inline uint32
slot_log_seconds(TimestampTz at)
{
	return (uint32) (at / USECS_PER_SEC);
}

/*
 * The slots that have ever been in use, by number; NULL after the last.
 */
LogSlot *
slot_log_nth(int n)
{
	if (n >= ((volatile LogShared *) Logs)->nslots)
		return NULL;
	pg_read_barrier();
	return &Logs->slots[n];
}

/* ---------- giving and taking ---------- */

static void
slot_log_init(LogSlot *slot)
{
	memset(slot, 0, sizeof(LogSlot));
	LWLockInitialize(&slot->lock, Slots->lock.tranche);
	pg_atomic_init_u64(&slot->incarnation, 1);
	pg_atomic_init_u32(&slot->seeded, 0);
	pg_atomic_init_u32(&slot->pins, 0);
	pg_atomic_init_u32(&slot->used_at, 0);
	pg_atomic_init_u64(&slot->mark, 0);
	pg_atomic_init_u64(&slot->reached, 0);
	for (int w = 0; w < SLOT_WAKE_WORDS; w++)
		pg_atomic_init_u64(&slot->interest[w], 0);
	pg_atomic_init_u64(&slot->wakes, 0);
	slot->generations.max_members = SLOT_MEMBERS;
	slot->generations.fixed = true;
	slot->generations.members = slot->members;
}

/*
 * Takes a slot from its log; with "gone" also if it is pinned.  A backend that
 * still holds a pointer to the slot finds another incarnation, or other OIDs
 * under the slot's lock, and looks again.  Caller holds Logs->lock.
 */
static bool
slot_log_take(LogSlot *slot, bool gone)
{
	LogKey key = {slot->database, slot->relid};
	LogOwner *owner = hash_search(owner_table, &slot->owner, HASH_FIND, NULL);
	uint64 interest[SLOT_WAKE_WORDS];

	Assert(LWLockHeldByMeInMode(&Logs->lock, LW_EXCLUSIVE));
	LWLockAcquire(&slot->lock, LW_EXCLUSIVE);
	if (!gone && pg_atomic_read_u32(&slot->pins) > 0)
	{
		LWLockRelease(&slot->lock);
		return false;
	}
	pg_atomic_fetch_add_u64(&slot->incarnation, 1);
	slot->database = InvalidOid;
	slot->relid = InvalidOid;
	for (int w = 0; w < SLOT_WAKE_WORDS; w++)
		interest[w] = pg_atomic_exchange_u64(&slot->interest[w], 0);
	LWLockRelease(&slot->lock);

	hash_search(log_table, &key, HASH_REMOVE, NULL);
	if (owner != NULL && --owner->count == 0)
		hash_search(owner_table, &slot->owner, HASH_REMOVE, NULL);
	slot->next_free = Logs->free;
	Logs->free = slot->index;

	/* A writer that ends from here on finds no bit of theirs: they are to ask again. */
	slot_wake_bits(interest);
	return true;
}

/*
 * Takes slots that are not needed.
 */
static bool
slot_log_take_idle(void)
{
	TimestampTz now = GetCurrentTimestamp();
	uint32 seconds = slot_log_seconds(now);
	int taken = 0;

	if (now >= Logs->all_used && !TimestampDifferenceExceeds(Logs->all_used, now, SLOT_LOG_PAUSE))
		return false;
	for (int i = 0; i < Logs->nslots && taken < SLOT_LOG_TAKE; i++)
	{
		LogSlot *slot = &Logs->slots[i];
		uint32 used_at = pg_atomic_read_u32(&slot->used_at);

		if (OidIsValid(slot->database) && !slot_wake_wanted(slot) &&
			(seconds < used_at || seconds - used_at > SLOT_LOG_IDLE) && slot_log_take(slot, false))
			taken++;
	}
	if (taken == 0)
		Logs->all_used = now;
	return taken > 0;
}

/*
 * Takes a slot from the role that has the most, for one that has less than its
 * share.
 */
static bool
slot_log_take_share(Oid owner)
{
	LogOwner *mine = hash_search(owner_table, &owner, HASH_FIND, NULL);
	int share = guc_max_logs / (hash_get_num_entries(owner_table) + (mine == NULL ? 1 : 0));
	HASH_SEQ_STATUS seq;
	LogOwner *other;
	Oid greedy = InvalidOid;
	int most = share;
	LogSlot *victim = NULL;

	if (mine != NULL && mine->count >= share)
		return false;
	hash_seq_init(&seq, owner_table);
	while ((other = hash_seq_search(&seq)) != NULL)
		if (other->count > most)
		{
			most = other->count;
			greedy = other->owner;
		}
	for (int i = 0; i < Logs->nslots && OidIsValid(greedy); i++)
	{
		LogSlot *slot = &Logs->slots[i];

		if (OidIsValid(slot->database) && slot->owner == greedy &&
			pg_atomic_read_u32(&slot->pins) == 0 &&
			(victim == NULL ||
			 pg_atomic_read_u32(&slot->used_at) < pg_atomic_read_u32(&victim->used_at)))
			victim = slot;
	}
	return victim != NULL && slot_log_take(victim, false);
}

/*
 * Gives a free slot to a log.  NULL when there is none.  Caller holds Logs->lock.
 */
static LogSlot *
slot_log_give(const LogKey *key, Oid owner)
{
	LogSlot *slot;
	LogEntry *entry;
	LogOwner *share;
	bool found;

	if (Logs->free < 0 && Logs->nslots == guc_max_logs && !slot_log_take_idle() &&
		!slot_log_take_share(owner))
		return NULL;
	entry = hash_search(log_table, key, HASH_ENTER_NULL, &found);
	share = entry ? hash_search(owner_table, &owner, HASH_ENTER_NULL, &found) : NULL;
	if (share == NULL)
	{
		if (entry != NULL)
			hash_search(log_table, key, HASH_REMOVE, NULL);
		return NULL;
	}
	if (!found)
		share->count = 0;
	share->count++;

	if (Logs->free >= 0)
	{
		slot = &Logs->slots[Logs->free];
		Logs->free = slot->next_free;
	}
	else
	{
		slot = &Logs->slots[Logs->nslots];
		slot_log_init(slot);
		slot->index = Logs->nslots;
		pg_write_barrier();
		Logs->nslots++;
	}
	entry->index = slot->index;

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
	pg_atomic_write_u32(&slot->used_at, slot_log_seconds(GetCurrentTimestamp()));
	LWLockRelease(&slot->lock);
	return slot;
}

/* ---------- finding ---------- */

static Oid
slot_log_owner(Oid relid)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

static void
slot_log_warn(void)
{
	static bool warned = false;

	/* Only a worker: sessions come and go. */
	if (warned || MyWorkerSlot == NULL)
		return;
	warned = true;
	ereport(LOG, (errmsg("pm keeps %d logs in shared memory, and there are more", guc_max_logs),
				  errdetail("Events of further logs are found by polling."),
				  errhint("Raise \"pm.max_logs\".")));
}

/*
 * The slot of a log of this database.  None when there is none and !create, when
 * all are taken, or when the library is not preloaded.  To create one needs a
 * transaction.
 */
void
slot_log_ref(Oid relid, bool create, LogRef *ref)
{
	LogKey key = {MyDatabaseId, relid};
	LogEntry *entry;
	Oid owner;

	ref->slot = NULL;
	ref->incarnation = 0;
	if (Slots == NULL)
		return;

	LWLockAcquire(&Logs->lock, LW_SHARED);
	entry = hash_search(log_table, &key, HASH_FIND, NULL);
	if (entry != NULL)
	{
		ref->slot = &Logs->slots[entry->index];
		ref->incarnation = pg_atomic_read_u64(&ref->slot->incarnation);
	}
	LWLockRelease(&Logs->lock);
	if (ref->slot != NULL || !create)
		return;

	owner = slot_log_owner(relid);
	LWLockAcquire(&Logs->lock, LW_EXCLUSIVE);
	entry = hash_search(log_table, &key, HASH_FIND, NULL);
	ref->slot = entry != NULL ? &Logs->slots[entry->index] : slot_log_give(&key, owner);
	if (ref->slot != NULL)
		ref->incarnation = pg_atomic_read_u64(&ref->slot->incarnation);
	LWLockRelease(&Logs->lock);
	if (ref->slot == NULL)
		slot_log_warn();
}

/*
 * The same, for a caller that locks it and compares the OIDs.
 */
LogSlot *
slot_log(Oid relid, bool create)
{
	LogRef ref;

	slot_log_ref(relid, create, &ref);
	return ref.slot;
}

/*
 * Is it still the slot of the same log?
 */
bool
slot_log_valid(const LogRef *ref)
{
	return ref->slot != NULL && pg_atomic_read_u64(&ref->slot->incarnation) == ref->incarnation;
}

/*
 * The mark, and how far readers have looked, read without a lock.  False if they
 * are not known, or the slot is not this log's any more.
 */
bool
slot_log_read(const LogRef *ref, int64 *mark, int64 *reached)
{
	uint32 seeded;

	if (ref->slot == NULL)
		return false;
	seeded = pg_atomic_read_u32(&ref->slot->seeded);
	pg_read_barrier();
	*mark = (int64) pg_atomic_read_u64(&ref->slot->mark);
	*reached = (int64) pg_atomic_read_u64(&ref->slot->reached);
	/* What has been read is of that incarnation, if it is still the same. */
	pg_read_barrier();
	return seeded != 0 && slot_log_valid(ref);
}

/*
 * A log is read or written.
 */
void
slot_log_used(LogSlot *slot)
{
	uint32 now = slot_log_seconds(GetCurrentTransactionStartTimestamp());

	if (pg_atomic_read_u32(&slot->used_at) < now)
		pg_atomic_write_u32(&slot->used_at, now);
}

/*
 * What a cursor has passed is settled, whatever the sequence says: known from
 * then on without looking at the cursors again, since they move up to marks.
 */
void
slot_log_seed(LogSlot *slot, Oid relid, int64 cursor, int64 moved)
{
	LWLockAcquire(&slot->lock, LW_EXCLUSIVE);
	if (slot->relid == relid && slot->database == MyDatabaseId)
	{
		slot->generations.mark = Max(slot->generations.mark, cursor);
		pg_atomic_write_u64(&slot->mark, (uint64) slot->generations.mark);
		slot_log_reach(slot, Max(cursor, moved));
		pg_write_barrier();
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

/* ---------- logs that are gone ---------- */

/*
 * Frees the slot of a log of this database.
 */
void
slot_forget_log(Oid relid)
{
	LogKey key = {MyDatabaseId, relid};
	LogEntry *entry;

	if (Slots == NULL)
		return;
	LWLockAcquire(&Logs->lock, LW_EXCLUSIVE);
	entry = hash_search(log_table, &key, HASH_FIND, NULL);
	if (entry != NULL)
		(void) slot_log_take(&Logs->slots[entry->index], true);
	LWLockRelease(&Logs->lock);
}

/*
 * Frees the slots of a database's logs.
 */
void
slot_forget_database(Oid database)
{
	if (Slots == NULL)
		return;
	LWLockAcquire(&Logs->lock, LW_EXCLUSIVE);
	for (int i = 0; i < Logs->nslots; i++)
		if (Logs->slots[i].database == database)
			(void) slot_log_take(&Logs->slots[i], true);
	LWLockRelease(&Logs->lock);
}

/*
 * Frees the slots of this database that belong to none of these logs: of
 * tables that were dropped, or whose creation was rolled back.  A log that is
 * about to be committed gets a new slot.
 */
void
slot_sweep_logs(List *relids)
{
	List *stale = NIL;
	ListCell *lc;

	list_sort(relids, list_oid_cmp);
	LWLockAcquire(&Logs->lock, LW_SHARED);
	for (int i = 0; i < Logs->nslots; i++)
	{
		Oid relid = Logs->slots[i].relid;

		if (Logs->slots[i].database == MyDatabaseId &&
			(relids == NIL ||
			 bsearch(&relid, relids->elements, relids->length, sizeof(ListCell), oid_cmp) == NULL))
			stale = lappend_oid(stale, relid);
	}
	LWLockRelease(&Logs->lock);
	foreach(lc, stale)
		slot_forget_log(lfirst_oid(lc));
	list_free(stale);
}
