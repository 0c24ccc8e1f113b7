/*
 * slot_lost.c
 *		Shared memory: what handlers had in hand whose dispatcher has died.
 *
 * Noted by the dispatcher as it goes, counted as an attempt by the scheduler of
 * its database as soon as it gets the unit's lock, which a session may hold for
 * as long as it likes.  Until then the unit is left alone, and nothing else is
 * kept waiting.
 *
 * There is room for some.  Where it does not suffice, the role that has the most
 * of them gives up its oldest: that attempt is not counted.
 */
#include "pm.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "shmem/slot.h"

/*
 * How many notes a role has.  Caller holds Slots->lock.
 */
static int
slot_lost_count(Oid role)
{
	int count = 0;

	for (int i = 0; i < SLOT_MAX_LOST; i++)
		if (OidIsValid(Slots->lost[i].database) && Slots->lost[i].role == role)
			count++;
	return count;
}

/*
 * A free note, or the one that is given up.  Caller holds Slots->lock.
 */
static LostCall *
slot_lost_room(void)
{
	LostCall *victim = NULL;
	int most = 0;

	for (int i = 0; i < SLOT_MAX_LOST; i++)
	{
		LostCall *call = &Slots->lost[i];
		int count;

		if (!OidIsValid(call->database))
			return call;
		count = slot_lost_count(call->role);
		if (count > most || (count == most && call->number < victim->number))
		{
			victim = call;
			most = count;
		}
	}
	return victim;
}

static void
slot_lost_free(LostCall *call)
{
	call->database = InvalidOid;
	call->number = 0;
	pg_atomic_fetch_sub_u32(&Slots->nlost, 1);
}

/*
 * A dispatcher dies in the midst of a handler.
 */
void
slot_lost_add(WorkerSlot *slot)
{
	LostCall *call;

	/* It has called no handler yet, or the handler has returned: nobody is to blame. */
	if (slot->now.handling.manager == 0)
		return;
	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	call = slot_lost_room();
	if (!OidIsValid(call->database))
		pg_atomic_fetch_add_u32(&Slots->nlost, 1);
	call->database = slot->database;
	call->role = slot->role;
	call->number = ++Slots->lost_number;
	call->pid = MyProcPid;
	call->died_at = GetCurrentTimestamp();
	call->overdue = slot->now.overdue;
	call->handling = slot->now.handling;
	LWLockRelease(&Slots->lock);
}

/*
 * Has a dispatcher died in the midst of this unit's handler, and is that not
 * counted yet?  Then the handler is not to be called again before it is.
 */
bool
slot_lost_unit(int manager, int lane)
{
	bool found = false;

	/* Asked before each batch. */
	if (pg_atomic_read_u32(&Slots->nlost) == 0)
		return false;
	LWLockAcquire(&Slots->lock, LW_SHARED);
	for (int i = 0; i < SLOT_MAX_LOST && !found; i++)
	{
		LostCall *call = &Slots->lost[i];

		found = call->database == MyDatabaseId && call->handling.manager == manager &&
				call->handling.lane == lane;
	}
	LWLockRelease(&Slots->lock);
	return found;
}

/*
 * This database's first note from an index on; -1 if there is none.
 */
int
slot_lost_next(int from, LostCall *call)
{
	int found = -1;

	LWLockAcquire(&Slots->lock, LW_SHARED);
	for (int i = from; i < SLOT_MAX_LOST && found < 0; i++)
		if (Slots->lost[i].database == MyDatabaseId)
		{
			*call = Slots->lost[i];
			found = i;
		}
	LWLockRelease(&Slots->lock);
	return found;
}

/*
 * That one is counted; unless the note is another one's by now.
 */
void
slot_lost_forget(int index, uint64 number)
{
	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	if (Slots->lost[index].number == number)
		slot_lost_free(&Slots->lost[index]);
	LWLockRelease(&Slots->lock);
}

/*
 * A database is gone, or the extension.
 */
void
slot_lost_forget_database(Oid database)
{
	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	for (int i = 0; i < SLOT_MAX_LOST; i++)
		if (Slots->lost[i].database == database)
			slot_lost_free(&Slots->lost[i]);
	LWLockRelease(&Slots->lock);
}
