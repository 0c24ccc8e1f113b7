/*
 * slot.c
 *		Shared memory: the workers, the logs they wait for, the writers' hints.
 *
 * Allocated when the library is preloaded; otherwise Slots is NULL, nothing
 * runs in the background, and every function here does nothing or says
 * "unknown".
 */
#include "pm.h"

#include "port/pg_bitutils.h"
#include "postmaster/bgworker.h"
#include "slot.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

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

SlotShared *Slots = NULL;
WorkerSlot *MyWorkerSlot = NULL;

static char *log_slots;			/* SLOT_MAX_LOGS of log_slot_size bytes */
static Size log_slot_size;
static WriterHint *hints;		/* COMPAT_VXID_INDEX_MAX * SLOT_HINTS */
static HTAB *log_table;

static shmem_request_hook_type prev_shmem_request_hook;
static shmem_startup_hook_type prev_shmem_startup_hook;

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

static void
slot_shmem_request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();

	log_slot_size = MAXALIGN(sizeof(LogSlot)) +
		MAXALIGN(mul_size(slot_max_members(), sizeof(GenerationMember)));
	RequestAddinShmemSpace(MAXALIGN(sizeof(SlotShared)));
	RequestAddinShmemSpace(mul_size(log_slot_size, SLOT_MAX_LOGS));
	RequestAddinShmemSpace(slot_hints_size());
	RequestAddinShmemSpace(hash_estimate_size(SLOT_MAX_LOGS, sizeof(LogEntry)));
}

static void
slot_shmem_startup(void)
{
	bool		found;
	HASHCTL		ctl;
	int			tranche;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);

	Slots = ShmemInitStruct("pm", sizeof(SlotShared), &found);
	if (!found)
	{
		memset(Slots, 0, sizeof(SlotShared));
		tranche = LWLockNewTrancheId();
		LWLockRegisterTranche(tranche, "pm");
		LWLockInitialize(&Slots->lock, tranche);
		Slots->nworkers = Min(max_worker_processes, SLOT_MAX_WORKERS);
		pg_atomic_init_u64(&Slots->log_generation, 1);
		pg_atomic_init_u64(&Slots->registry_generation, 1);
		pg_atomic_init_u32(&Slots->waiting_roles, 0);
		ConditionVariableInit(&Slots->moved);
		for (int i = 0; i < SLOT_MAX_WORKERS; i++)
		{
			SpinLockInit(&Slots->workers[i].mutex);
			pg_atomic_init_u32(&Slots->workers[i].leave, 0);
		}
	}
	LWLockRegisterTranche(Slots->lock.tranche, "pm");

	log_slots = ShmemInitStruct("pm logs", log_slot_size * SLOT_MAX_LOGS, &found);
	if (!found)
	{
		memset(log_slots, 0, log_slot_size * SLOT_MAX_LOGS);
		for (int i = 0; i < SLOT_MAX_LOGS; i++)
		{
			LogSlot    *slot = slot_log_at(i);

			LWLockInitialize(&slot->lock, Slots->lock.tranche);
			pg_atomic_init_u64(&slot->mark, 0);
			for (int w = 0; w < SLOT_WAKE_WORDS; w++)
				pg_atomic_init_u64(&slot->interest[w], 0);
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

	LWLockRelease(AddinShmemInitLock);
}

/*
 * Called from _PG_init while the postmaster preloads.
 */
void
slot_install_hooks(void)
{
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = slot_shmem_request;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = slot_shmem_startup;
}

/* ---------- workers ---------- */

/*
 * Claims a slot for a worker about to be started.  At most "limit" workers of
 * this kind (0: no limit), and at most one a (database, role).  Returns its
 * index, or -1.
 */
int
slot_claim(WorkerKind kind, Oid database, Oid role, int limit, uint32 *generation)
{
	int			free_slot = -1;
	int			count = 0;

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		if (!slot->in_use)
		{
			if (free_slot < 0)
				free_slot = i;
			continue;
		}
		if (slot->kind != kind)
			continue;
		count++;
		if (slot->database == database && slot->role == role)
			limit = -1;
	}
	if (free_slot >= 0 && (limit == 0 || count < limit))
	{
		WorkerSlot *slot = &Slots->workers[free_slot];

		slot->in_use = true;
		slot->kind = kind;
		slot->generation++;
		slot->database = database;
		slot->role = role;
		slot->pid = 0;
		slot->proc = NULL;
		slot->started_at = GetCurrentTimestamp();
		slot->casualty = false;
		pg_atomic_write_u32(&slot->leave, 0);
		memset(&slot->now, 0, sizeof(slot->now));
		slot->now.since = slot->started_at;
		*generation = slot->generation;
	}
	else
		free_slot = -1;
	LWLockRelease(&Slots->lock);
	return free_slot;
}

/*
 * Takes the interest bits of a worker off all logs.  Caller holds Slots->lock.
 */
static void
slot_clear_interest(int index)
{
	uint64		bit = UINT64CONST(1) << (index % 64);

	Assert(LWLockHeldByMe(&Slots->lock));
	for (int i = 0; i < Slots->nlogs; i++)
		pg_atomic_fetch_and_u64(&slot_log_at(i)->interest[index / 64], ~bit);
}

/*
 * Gives up a claim whose worker is known to be gone.
 */
void
slot_unclaim(int index, uint32 generation)
{
	WorkerSlot *slot = &Slots->workers[index];

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	if (slot->in_use && slot->generation == generation)
	{
		slot_clear_interest(index);
		slot->in_use = false;
		slot->pid = 0;
		slot->proc = NULL;
	}
	LWLockRelease(&Slots->lock);
}

/*
 * At exit.  Who dies of an overdue handler leaves the slot, with what it had
 * in hand, for its scheduler to bury.
 */
static void
slot_detach(int code, Datum arg)
{
	int			index = DatumGetInt32(arg);
	WorkerSlot *slot = MyWorkerSlot;

	if (slot == NULL)
		return;
	MyWorkerSlot = NULL;
	if (slot->now.overdue)
	{
		LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
		slot_clear_interest(index);
		slot->casualty = true;
		slot->pid = 0;
		slot->proc = NULL;
		LWLockRelease(&Slots->lock);
	}
	else
		slot_unclaim(index, slot->generation);
}

/*
 * Runs in a new worker: makes the claimed slot its own until it exits.
 */
void
slot_attach(int index)
{
	WorkerSlot *slot = &Slots->workers[index];

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	if (!slot->in_use || slot->pid != 0)
	{
		LWLockRelease(&Slots->lock);
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("worker slot %d of pm is not waiting for a worker", index)));
	}
	slot->pid = MyProcPid;
	slot->proc = MyProc;
	MyWorkerSlot = slot;
	LWLockRelease(&Slots->lock);

	before_shmem_exit(slot_detach, Int32GetDatum(index));
}

/*
 * The slot of the worker that serves (database, role), or NULL.
 * Caller holds Slots->lock.
 */
WorkerSlot *
slot_find(WorkerKind kind, Oid database, Oid role)
{
	Assert(LWLockHeldByMe(&Slots->lock));
	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		if (slot->in_use && slot->kind == kind && slot->database == database &&
			slot->role == role)
			return slot;
	}
	return NULL;
}

/*
 * Sets a worker's latch.  Takes no lock, so that it can run in a transaction
 * callback: PGPROCs are never freed, and a latch set for nothing costs a look.
 */
void
slot_wake(int index)
{
	PGPROC	   *proc = ((volatile WorkerSlot *) &Slots->workers[index])->proc;

	if (proc != NULL)
		SetLatch(&proc->procLatch);
}

/*
 * Wakes the workers of a kind, those of one database unless InvalidOid.
 */
void
slot_wake_kind(WorkerKind kind, Oid database)
{
	if (Slots == NULL)
		return;
	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		if (slot->in_use && slot->kind == kind &&
			(!OidIsValid(database) || slot->database == database))
			slot_wake(i);
	}
}

/*
 * What this worker does now, for pm.worker.
 */
void
slot_activity(WorkerActivity activity)
{
	WorkerSlot *slot = MyWorkerSlot;

	if (slot == NULL || slot->now.activity == activity)
		return;
	SpinLockAcquire(&slot->mutex);
	slot->now.activity = activity;
	slot->now.since = GetCurrentTimestamp();
	slot->now.overdue = false;
	if (activity == ACTIVITY_IDLE)
		slot->now.manager = 0;
	SpinLockRelease(&slot->mutex);
}

/*
 * Which unit and event this worker has in hand.  "log" may be NULL.
 */
void
slot_handling(int manager, int lane, const char *name, const char *log, int64 position)
{
	WorkerSlot *slot = MyWorkerSlot;

	if (slot == NULL)
		return;
	SpinLockAcquire(&slot->mutex);
	slot->now.manager = manager;
	slot->now.lane = lane;
	strlcpy(slot->now.name, name, NAMEDATALEN);
	strlcpy(slot->now.log, log ? log : "", NAMEDATALEN);
	slot->now.position = position;
	SpinLockRelease(&slot->mutex);
}

/* ---------- logs ---------- */

/*
 * The slot of a log of this database.  NULL when there is none and !create,
 * when all are taken, or when the library is not preloaded.
 */
LogSlot *
slot_log(Oid relid, bool create)
{
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
				slot->generations.used = 0;
				slot->generations.nmembers = 0;
				pg_atomic_write_u64(&slot->mark, 0);
				for (int w = 0; w < SLOT_WAKE_WORDS; w++)
					pg_atomic_write_u64(&slot->interest[w], 0);
				LWLockRelease(&slot->lock);
				Slots->nlogs = Max(Slots->nlogs, index + 1);
				pg_atomic_fetch_add_u64(&Slots->log_generation, 1);
			}
		}
	}
	LWLockRelease(&Slots->lock);
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

/* ---------- hints ---------- */

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

/* ---------- databases ---------- */

/*
 * The launcher's note on a database.  Caller holds Slots->lock, exclusively to
 * create.  NULL when there is none, or no room.
 */
DatabaseSlot *
slot_database(Oid database, bool create)
{
	DatabaseSlot *free_slot = NULL;

	Assert(LWLockHeldByMe(&Slots->lock));
	for (int i = 0; i < SLOT_MAX_DATABASES; i++)
	{
		DatabaseSlot *slot = &Slots->databases[i];

		if (slot->database == database)
			return slot;
		if (free_slot == NULL && !OidIsValid(slot->database))
			free_slot = slot;
	}
	if (!create || free_slot == NULL)
		return NULL;
	memset(free_slot, 0, sizeof(*free_slot));
	free_slot->database = database;
	return free_slot;
}

/*
 * Is somebody dropping, renaming or copying the database?  A backend that has
 * died over it does not count.
 */
bool
slot_held_out(Oid database)
{
	DatabaseSlot *slot;
	int			pid;

	LWLockAcquire(&Slots->lock, LW_SHARED);
	slot = slot_database(database, false);
	pid = slot != NULL ? slot->held_out_by : 0;
	LWLockRelease(&Slots->lock);
	return pid != 0 && BackendPidGetProc(pid) != NULL;
}

/*
 * A scheduler says whether its database has pm.
 */
void
slot_set_active(bool active)
{
	DatabaseSlot *slot;

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	slot = slot_database(MyDatabaseId, active);
	if (slot != NULL)
		slot->active = active;
	LWLockRelease(&Slots->lock);
}

/*
 * Shall this worker go?
 */
bool
slot_asked_to_leave(void)
{
	return pg_atomic_read_u32(&MyWorkerSlot->leave) != 0;
}
