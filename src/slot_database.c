/*
 * slot_database.c
 *		Shared memory: what the launcher, the schedulers and the commands that
 *		need a database for themselves tell each other of databases.
 */
#include "pm.h"

#include "slot.h"
#include "storage/procarray.h"
#include "utils/timestamp.h"

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
 * How often this database has been announced to the launcher.
 */
uint32
slot_announced(void)
{
	DatabaseSlot *slot;
	uint32		announced;

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
