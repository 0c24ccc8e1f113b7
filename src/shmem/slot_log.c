/*
 * slot_log.c
 *		Which log has which slot in shared memory.
 */
#include "pm.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/guc.h"
#include "shmem/slot_log.h"
#include "shmem/slot_log_give.h"
#include "shmem/slot_log_table.h"
#include "shmem/slot_memory.h"

/* A session that got no slot for a role does not ask for one again for this long, ms, */
#define SLOT_LOG_ASK 1000
/* and remembers that for this many roles. */
#define SLOT_LOG_ROLES 64

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

	/* Only a worker warns, and only once; otherwise each session would repeat the warning. */
	if (warned || MyWorkerSlot == NULL)
		return;
	warned = true;
	ereport(LOG,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("pm keeps the marks of %d event logs in shared memory, but there are more logs",
					guc_max_logs),
			 errdetail("Further logs share their wake-ups, and cost each session more."),
			 errhint("Raise \"pm.max_logs\" and restart the server.")));
}

/*
 * May this session ask for a slot for a log of this role?  If the role has just been
 * refused one, it may not ask again at once: asking takes an exclusive lock, and each
 * transaction that writes a log without a slot would do it.
 */
static bool
slot_log_may_ask(Oid owner, bool refused)
{
	static struct
	{
		Oid owner;
		TimestampTz refused_at;
	} roles[SLOT_LOG_ROLES];
	TimestampTz now = GetCurrentTimestamp();
	int i = owner % SLOT_LOG_ROLES;

	if (refused)
	{
		roles[i].owner = owner;
		roles[i].refused_at = now;
	}
	return roles[i].owner != owner || now < roles[i].refused_at ||
		   TimestampDifferenceExceeds(roles[i].refused_at, now, SLOT_LOG_ASK);
}

/*
 * Gives the log a slot, if there is one for it.
 */
static void
slot_log_create(const LogKey *key, LogRef *ref)
{
	/* Do this before taking the lock, because it reads the catalog. */
	Oid owner = slot_log_owner(key->relid);
	LogEntry *entry;

	if (!slot_log_may_ask(owner, false))
		return;
	LWLockAcquire(&LogSlots->lock, LW_EXCLUSIVE);
	/* Another backend may have created the entry meanwhile. */
	entry = hash_search(LogEntries, key, HASH_FIND, NULL);
	ref->slot = entry != NULL ? &LogSlots->slots[entry->index] : slot_log_give(key, owner);
	if (ref->slot != NULL)
		ref->incarnation = pg_atomic_read_u64(&ref->slot->incarnation);
	LWLockRelease(&LogSlots->lock);
	if (ref->slot != NULL)
		return;
	(void) slot_log_may_ask(owner, true);
	slot_log_warn();
}

void
slot_log_ref(Oid relid, bool create, LogRef *ref)
{
	LogKey key = {MyDatabaseId, relid};
	LogEntry *entry;

	ref->slot = NULL;
	ref->incarnation = 0;
	if (Slots == NULL)
		return;

	LWLockAcquire(&LogSlots->lock, LW_SHARED);
	entry = hash_search(LogEntries, &key, HASH_FIND, NULL);
	if (entry != NULL)
	{
		ref->slot = &LogSlots->slots[entry->index];
		ref->incarnation = pg_atomic_read_u64(&ref->slot->incarnation);
	}
	LWLockRelease(&LogSlots->lock);
	if (ref->slot == NULL && create)
		slot_log_create(&key, ref);
}

bool
slot_log_valid(const LogRef *ref)
{
	return ref->slot != NULL && pg_atomic_read_u64(&ref->slot->incarnation) == ref->incarnation;
}

/* ---------- logs that are gone ---------- */

void
slot_log_forget(Oid relid)
{
	LogKey key = {MyDatabaseId, relid};
	LogEntry *entry;

	if (Slots == NULL)
		return;
	LWLockAcquire(&LogSlots->lock, LW_EXCLUSIVE);
	entry = hash_search(LogEntries, &key, HASH_FIND, NULL);
	if (entry != NULL)
		(void) slot_log_take(&LogSlots->slots[entry->index], true);
	LWLockRelease(&LogSlots->lock);
}

void
slot_log_forget_database(Oid database)
{
	if (Slots == NULL)
		return;
	LWLockAcquire(&LogSlots->lock, LW_EXCLUSIVE);
	for (int i = 0; i < LogSlots->nslots; i++)
		if (LogSlots->slots[i].database == database)
			(void) slot_log_take(&LogSlots->slots[i], true);
	LWLockRelease(&LogSlots->lock);
}

/*
 * Takes back the slots of this database that belong to none of these logs.
 * Their tables were dropped, or the creation of the tables was rolled back.  A
 * log whose creation is not committed yet loses its slot too, and gets a new one
 * later.
 */
void
slot_log_sweep(List *relids)
{
	List *stale = NIL;
	ListCell *lc;

	list_sort(relids, list_oid_cmp);
	LWLockAcquire(&LogSlots->lock, LW_SHARED);
	for (int i = 0; i < LogSlots->nslots; i++)
	{
		Oid relid = LogSlots->slots[i].relid;

		if (LogSlots->slots[i].database == MyDatabaseId &&
			(relids == NIL ||
			 bsearch(&relid, relids->elements, relids->length, sizeof(ListCell), oid_cmp) == NULL))
			stale = lappend_oid(stale, relid);
	}
	LWLockRelease(&LogSlots->lock);
	foreach(lc, stale)
		slot_log_forget(lfirst_oid(lc));
	list_free(stale);
}
