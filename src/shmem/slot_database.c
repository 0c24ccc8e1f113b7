/*
 * slot_database.c
 *		Shared memory: what the launcher, the schedulers and the commands that
 *		need a database for themselves tell each other of databases.
 */
#include "pm.h"

#include "storage/procarray.h"
#include "utils/timestamp.h"

#include "shmem/slot.h"

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
	pg_atomic_init_u32(&free_slot->away, 0);
	pg_atomic_init_u32(&free_slot->wanted, 0);
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
	int pid;

	LWLockAcquire(&Slots->lock, LW_SHARED);
	slot = slot_database(database, false);
	pid = slot != NULL ? slot->held_out_by : 0;
	LWLockRelease(&Slots->lock);
	return pid != 0 && BackendPidGetProc(pid) != NULL;
}

/*
 * A worker of the database could not be started, since there was no process for
 * it, or could: for pm.status.
 */
void
slot_refused(Oid database, bool refused)
{
	DatabaseSlot *slot;

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	slot = slot_database(database, false);
	if (slot != NULL)
		slot->refused_at = refused ? GetCurrentTimestamp() : 0;
	LWLockRelease(&Slots->lock);
}

/*
 * A scheduler says whether its database has pm, that it is there, and of how
 * many roles, and one of them.
 */
void
slot_set_active(bool active, int nroles, Oid role)
{
	DatabaseSlot *slot;

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	slot = slot_database(MyDatabaseId, active);
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
 * Its scheduler is about to leave, to make room.  What happens from here on
 * sends another one, and so does the time.  A full barrier: the scheduler looks
 * for work once more afterwards, so that either it sees what a transaction has
 * done or that transaction sees that it is away.
 */
void
slot_database_leave(TimestampTz due, int gave_way)
{
	DatabaseSlot *slot;

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	slot = slot_database(MyDatabaseId, false);
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
 * What the scheduler before this one has left behind.
 */
int
slot_database_gave_way(void)
{
	DatabaseSlot *slot;
	int gave_way;

	LWLockAcquire(&Slots->lock, LW_SHARED);
	slot = slot_database(MyDatabaseId, false);
	gave_way = slot != NULL ? slot->gave_way : 0;
	LWLockRelease(&Slots->lock);
	return gave_way;
}

/*
 * What that look has found: when another one is to be sent.
 */
void
slot_database_due(TimestampTz due)
{
	DatabaseSlot *slot;

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	slot = slot_database(MyDatabaseId, false);
	if (slot != NULL)
		slot->due = Min(slot->due, due);
	LWLockRelease(&Slots->lock);
}

/*
 * Something has happened in a database: if its scheduler is away, one is to be
 * sent.  Runs in transaction callbacks.
 */
void
slot_database_touch(Oid database)
{
	static DatabaseSlot *known = NULL;

	if (known == NULL || known->database != database)
	{
		LWLockAcquire(&Slots->lock, LW_SHARED);
		known = slot_database(database, false);
		LWLockRelease(&Slots->lock);
	}
	if (known == NULL)
		return;
	pg_memory_barrier();
	if (pg_atomic_read_u32(&known->away) != 0 && pg_atomic_read_u32(&known->wanted) == 0 &&
		pg_atomic_exchange_u32(&known->wanted, 1) == 0)
		slot_wake_kind(WORKER_LAUNCHER, InvalidOid);
}

/*
 * Do others than this role own process managers, in any database?  Caller holds
 * Slots->lock.
 */
bool
slot_database_others(Oid role)
{
	for (int i = 0; i < SLOT_MAX_DATABASES; i++)
	{
		DatabaseSlot *slot = &Slots->databases[i];

		if (OidIsValid(slot->database) && slot->active &&
			(slot->nroles > 1 || (slot->nroles == 1 && slot->role != role)))
			return true;
	}
	return false;
}

/*
 * How often this database has been announced to the launcher.
 */
uint32
slot_announced(void)
{
	DatabaseSlot *slot;
	uint32 announced;

	LWLockAcquire(&Slots->lock, LW_SHARED);
	slot = slot_database(MyDatabaseId, false);
	announced = slot ? slot->announced : 0;
	LWLockRelease(&Slots->lock);
	return announced;
}

/*
 * Its scheduler has taken in so many of these.
 */
void
slot_set_looked(uint32 announced)
{
	DatabaseSlot *slot;

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	slot = slot_database(MyDatabaseId, false);
	if (slot != NULL)
		slot->looked = announced;
	LWLockRelease(&Slots->lock);
}
