/*
 * slot_lost.c
 *		Records calls of handlers during which the dispatcher died.
 *
 * The dispatcher records such a call when it exits.  The scheduler of its
 * database counts the call as an attempt as soon as it gets the lock of the
 * unit, which a session may hold for any length of time.  Until then the unit is
 * not run, but no other unit has to wait.  That is why lost calls are not kept
 * in the slots of the workers.
 *
 * When there is no room for another call, the oldest call of the role that has
 * the most of them is removed, and that attempt is not counted.
 */
#include "pm.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "shmem/slot_lost.h"
#include "shmem/slot_memory.h"

/*
 * How many lost calls does a role have?  The caller holds Slots->lock.
 */
static int
slot_lost_count(Oid role)
{
	int count = 0;

	for (int i = 0; i < LOST_CALL_MAX; i++)
		if (OidIsValid(Slots->lost[i].database) && Slots->lost[i].role == role)
			count++;
	return count;
}

/*
 * A free entry, or the entry whose call is given up.  The caller holds
 * Slots->lock.
 */
static LostCall *
slot_lost_room(void)
{
	LostCall *victim = NULL;
	int most = 0;

	for (int i = 0; i < LOST_CALL_MAX; i++)
	{
		LostCall *call = &Slots->lost[i];
		int count;

		if (!OidIsValid(call->database))
			return call;
		/*
		 * As long as no free entry is found, remember the oldest call of the role that
		 * has the most.
		 */
		count = slot_lost_count(call->role);
		if (victim == NULL || count > most || (count == most && call->number < victim->number))
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

void
slot_lost_add(Oid database, Oid role, const WorkerNow *now)
{
	TimestampTz died_at = GetCurrentTimestamp();
	LostCall *call;

	/* No handler has been called yet, or the handler has returned: no event is to blame. */
	if (now->handling.manager == 0)
		return;
	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	call = slot_lost_room();
	if (!OidIsValid(call->database))
		pg_atomic_fetch_add_u32(&Slots->nlost, 1);
	call->database = database;
	call->role = role;
	call->number = ++Slots->lost_number;
	call->pid = MyProcPid;
	call->died_at = died_at;
	call->overdue = now->overdue;
	call->handling = now->handling;
	LWLockRelease(&Slots->lock);
}

bool
slot_lost_unit(int manager, int lane)
{
	bool found = false;

	/* Called before each batch, so the lock is only taken when there is something to find. */
	if (pg_atomic_read_u32(&Slots->nlost) == 0)
		return false;
	LWLockAcquire(&Slots->lock, LW_SHARED);
	for (int i = 0; i < LOST_CALL_MAX && !found; i++)
	{
		LostCall *call = &Slots->lost[i];

		found = call->database == MyDatabaseId && call->handling.manager == manager &&
				call->handling.lane == lane;
	}
	LWLockRelease(&Slots->lock);
	return found;
}

int
slot_lost_next(int from, LostCall *call)
{
	int found = -1;

	LWLockAcquire(&Slots->lock, LW_SHARED);
	for (int i = from; i < LOST_CALL_MAX && found < 0; i++)
		if (Slots->lost[i].database == MyDatabaseId)
		{
			*call = Slots->lost[i];
			found = i;
		}
	LWLockRelease(&Slots->lock);
	return found;
}

void
slot_lost_forget(int index, uint64 number)
{
	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	if (Slots->lost[index].number == number)
		slot_lost_free(&Slots->lost[index]);
	LWLockRelease(&Slots->lock);
}

/*
 * Called when a database was dropped, or the extension in it.
 */
void
slot_lost_forget_database(Oid database)
{
	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	for (int i = 0; i < LOST_CALL_MAX; i++)
		if (Slots->lost[i].database == database)
			slot_lost_free(&Slots->lost[i]);
	LWLockRelease(&Slots->lock);
}
