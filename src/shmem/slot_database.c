/*
 * slot_database.c
 *		What shared memory knows about each database.
 *
 * The launcher, the schedulers and the commands that need exclusive use of a
 * database communicate here: that a database has the extension, that a
 * scheduler has looked at it, that its scheduler has left to make room, or that
 * workers must not run in it.
 */
#include "pm.h"

#include "miscadmin.h"
#include "storage/procarray.h"
#include "utils/timestamp.h"

#include "shmem/slot_database.h"
#include "shmem/slot_memory.h"
#include "shmem/slot_wake.h"

/*
 * The slot of a database, or NULL if it has none.  With "create" it gets one,
 * if there is room.  The caller holds Slots->lock; with "create", in exclusive
 * mode.
 */
static DatabaseSlot *
slot_database_find(Oid database, bool create)
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
	pg_atomic_init_u32(&free_slot->away, 0);
	pg_atomic_init_u32(&free_slot->wanted, 0);
	free_slot->database = database;
	return free_slot;
}

/* ---------- the launcher ---------- */

/*
 * All fields of *view are read at the same moment.  They are zero for a
 * database without a slot.
 */
void
slot_database_view(Oid database, DatabaseView *view)
{
	DatabaseSlot *slot;

	memset(view, 0, sizeof(*view));
	LWLockAcquire(&Slots->lock, LW_SHARED);
	view->served = slot_memory_count(WORKER_SCHEDULER, database, InvalidOid) > 0;
	slot = slot_database_find(database, false);
	if (slot != NULL)
	{
		view->active = slot->active;
		view->away = pg_atomic_read_u32(&slot->away) != 0;
		view->wanted = pg_atomic_read_u32(&slot->wanted) != 0;
		view->due = slot->due;
		view->announced = slot->announced;
		view->looked = slot->looked;
	}
	LWLockRelease(&Slots->lock);
}

/*
 * Is there a database that was announced, and that no scheduler has looked at
 * since?
 */
bool
slot_database_any_announced(void)
{
	bool any = false;

	LWLockAcquire(&Slots->lock, LW_SHARED);
	for (int i = 0; i < SLOT_MAX_DATABASES; i++)
		any |= OidIsValid(Slots->databases[i].database) &&
			   Slots->databases[i].announced != Slots->databases[i].looked;
	LWLockRelease(&Slots->lock);
	return any;
}

/*
 * Frees the slots of databases that are not in the list.  A slot stays while a
 * backend holds workers out of its database, because the list may be older than
 * that database.
 */
void
slot_database_keep(List *there)
{
	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	for (int i = 0; i < SLOT_MAX_DATABASES; i++)
	{
		DatabaseSlot *slot = &Slots->databases[i];

		if (OidIsValid(slot->database) && !list_member_oid(there, slot->database) &&
			(slot->held_out_by == 0 || BackendPidGetProc(slot->held_out_by) == NULL))
			slot->database = InvalidOid;
	}
	LWLockRelease(&Slots->lock);
}

/* ---------- schedulers ---------- */

/*
 * How often was this database announced to the launcher?
 */
uint32
slot_database_announced(void)
{
	DatabaseSlot *slot;
	uint32 announced;

	LWLockAcquire(&Slots->lock, LW_SHARED);
	slot = slot_database_find(MyDatabaseId, false);
	announced = slot ? slot->announced : 0;
	LWLockRelease(&Slots->lock);
	return announced;
}

/*
 * Records that a scheduler has seen this many announcements, or is being
 * started and will see them.
 */
void
slot_database_set_looked(Oid database, uint32 announced)
{
	DatabaseSlot *slot;

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	slot = slot_database_find(database, false);
	if (slot != NULL)
		slot->looked = announced;
	LWLockRelease(&Slots->lock);
}

/*
 * A scheduler records that it runs in its database, whether the extension exists
 * there, how many roles own process managers in it, and one of these roles.
 */
void
slot_database_set_active(bool active, int nroles, Oid role)
{
	DatabaseSlot *slot;

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	slot = slot_database_find(MyDatabaseId, active);
	if (slot != NULL)
	{
		slot->active = active;
		slot->nroles = active ? nroles : 0;
		slot->role = role;
		pg_atomic_write_u32(&slot->away, 0);
		pg_atomic_write_u32(&slot->wanted, 0);
	}
	LWLockRelease(&Slots->lock);
}

/*
 * Records that the scheduler is about to leave, to make room.  From here on the
 * launcher starts another one when something happens in the database, or at the
 * time "due".
 *
 * The scheduler looks for work once more after this call.  The full barrier
 * ensures that either the scheduler sees what a transaction has done, or the
 * transaction sees that the scheduler is away.
 */
void
slot_database_leave(TimestampTz due, int gave_way)
{
	DatabaseSlot *slot;

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	slot = slot_database_find(MyDatabaseId, false);
	if (slot != NULL)
	{
		slot->due = due;
		slot->gave_way = gave_way;
		pg_atomic_write_u32(&slot->wanted, 0);
		pg_atomic_write_u32(&slot->away, 1);
	}
	LWLockRelease(&Slots->lock);
	pg_memory_barrier();
}

/*
 * Called by a scheduler that leaves, after it has looked for work once more:
 * another scheduler is to be started at this time, or before.
 */
void
slot_database_due(TimestampTz due)
{
	DatabaseSlot *slot;

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	slot = slot_database_find(MyDatabaseId, false);
	if (slot != NULL)
		slot->due = Min(slot->due, due);
	LWLockRelease(&Slots->lock);
}

/*
 * How often in a row a role had to give way, as the previous scheduler recorded
 * it.
 */
int
slot_database_gave_way(void)
{
	DatabaseSlot *slot;
	int gave_way;

	LWLockAcquire(&Slots->lock, LW_SHARED);
	slot = slot_database_find(MyDatabaseId, false);
	gave_way = slot != NULL ? slot->gave_way : 0;
	LWLockRelease(&Slots->lock);
	return gave_way;
}

/* ---------- transactions ---------- */

/*
 * Makes the launcher look at this database, or look at it again.
 */
void
slot_database_announce(void)
{
	DatabaseSlot *slot;

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	slot = slot_database_find(MyDatabaseId, true);
	if (slot != NULL)
		slot->announced++;
	LWLockRelease(&Slots->lock);
	slot_wake_kind(WORKER_LAUNCHER, InvalidOid);
}

/*
 * Called when something has happened in a database.  If its scheduler is away,
 * the launcher starts another one.
 */
void
slot_database_touch(Oid database)
{
	static DatabaseSlot *known = NULL;

	/*
	 * Every writer calls this, so each backend looks up the slot only once, and
	 * then reads it without the lock.  If the slot is given to another database
	 * meanwhile, that database gets a scheduler for no reason.
	 */
	if (known == NULL || known->database != database)
	{
		LWLockAcquire(&Slots->lock, LW_SHARED);
		known = slot_database_find(database, false);
		LWLockRelease(&Slots->lock);
	}
	if (known == NULL)
		return;
	/* "away" must be read after what the transaction did: see slot_database_leave(). */
	pg_memory_barrier();
	if (pg_atomic_read_u32(&known->away) != 0 && pg_atomic_read_u32(&known->wanted) == 0 &&
		pg_atomic_exchange_u32(&known->wanted, 1) == 0)
		slot_wake_kind(WORKER_LAUNCHER, InvalidOid);
}

/* ---------- commands that need exclusive use of a database ---------- */

/*
 * Keeps workers from starting in the database until slot_database_release().
 */
void
slot_database_hold_out(Oid database)
{
	DatabaseSlot *slot;

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	slot = slot_database_find(database, true);
	if (slot != NULL)
		slot->held_out_by = MyProcPid;
	LWLockRelease(&Slots->lock);
}

/*
 * Lets workers start again in the databases that this backend has held them out
 * of.
 */
void
slot_database_release(void)
{
	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	for (int i = 0; i < SLOT_MAX_DATABASES; i++)
	{
		DatabaseSlot *slot = &Slots->databases[i];

		if (slot->held_out_by != MyProcPid)
			continue;
		slot->held_out_by = 0;
		/* If nothing else is known about the database, it may have been dropped. */
		if (!slot->active && slot->announced == slot->looked)
			slot->database = InvalidOid;
	}
	LWLockRelease(&Slots->lock);
	slot_wake_kind(WORKER_LAUNCHER, InvalidOid);
}

/*
 * Is a backend dropping, renaming or copying the database?  A backend that has
 * died meanwhile does not count.
 */
bool
slot_database_held_out(Oid database)
{
	DatabaseSlot *slot;
	int pid;

	LWLockAcquire(&Slots->lock, LW_SHARED);
	slot = slot_database_find(database, false);
	pid = slot != NULL ? slot->held_out_by : 0;
	LWLockRelease(&Slots->lock);
	return pid != 0 && BackendPidGetProc(pid) != NULL;
}

/* ---------- notices ---------- */

/*
 * A database for which there is no slot is reported by each of its workers.
 */
bool
slot_database_notice(DatabaseNotice notice)
{
	DatabaseSlot *slot;
	bool said = false;

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	slot = slot_database_find(MyDatabaseId, true);
	if (slot != NULL)
	{
		said = (slot->notices & notice) != 0;
		slot->notices |= notice;
	}
	LWLockRelease(&Slots->lock);
	return !said;
}

/*
 * Forgets what was said, so that it can be said again.
 */
void
slot_database_forget_notices(uint32 notices)
{
	DatabaseSlot *slot;

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	slot = slot_database_find(MyDatabaseId, false);
	if (slot != NULL)
		slot->notices &= ~notices;
	LWLockRelease(&Slots->lock);
}

/* ---------- starting workers ---------- */

/*
 * Records that a worker of the database could not be started because no worker
 * slot was free, or that it was started.
 */
void
slot_database_set_refused(Oid database, bool refused)
{
	TimestampTz refused_at = refused ? GetCurrentTimestamp() : 0;
	DatabaseSlot *slot;

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	slot = slot_database_find(database, false);
	if (slot != NULL)
		slot->refused_at = refused_at;
	LWLockRelease(&Slots->lock);
}

/*
 * When no worker slot was free for a worker of the database; 0 if the last
 * worker could be started.
 */
TimestampTz
slot_database_refused_at(Oid database)
{
	DatabaseSlot *slot;
	TimestampTz refused_at;

	LWLockAcquire(&Slots->lock, LW_SHARED);
	slot = slot_database_find(database, false);
	refused_at = slot != NULL ? slot->refused_at : 0;
	LWLockRelease(&Slots->lock);
	return refused_at;
}

/*
 * Does a role other than this one own process managers, in any database?
 */
bool
slot_database_others(Oid role)
{
	Assert(LWLockHeldByMe(&Slots->lock));
	for (int i = 0; i < SLOT_MAX_DATABASES; i++)
	{
		DatabaseSlot *slot = &Slots->databases[i];

		if (OidIsValid(slot->database) && slot->active &&
			(slot->nroles > 1 || (slot->nroles == 1 && slot->role != role)))
			return true;
	}
	return false;
}
