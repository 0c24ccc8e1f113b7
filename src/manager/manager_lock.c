/*
 * manager_lock.c
 *		Locks of process managers: one unit, or all of them.
 *
 * The unit of dispatch and of locking is (process manager, lane).  A backend
 * that runs a unit, or changes what a run depends on (settings, cursors,
 * state), holds the unit's lock until the end of its transaction.  The lock is
 * one of the lock manager's, on the object (process_manager table, id, lane):
 * it can be tried without waiting, takes part in deadlock detection, shows in
 * pg_locks and writes nothing.
 */
#include "pm.h"

#include "storage/lmgr.h"
#include "utils/inval.h"

#include "base/exec.h"
#include "manager/manager_lock.h"

/* In the place of a lane: the lock that manager_lock_queue() takes. */
#define MANAGER_LOCK_QUEUE 0x7FFF

/* Between two tries to lock a unit, ms. */
#define MANAGER_LOCK_NAP 10

/*
 * Locks a unit until the end of the transaction.  With nowait, false when
 * somebody else has it.
 */
bool
manager_lock_unit(int id, int lane, bool nowait)
{
	LOCKTAG tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, exec_catalog_relid("process_manager"), (Oid) id,
					   (uint16) lane);
	if (LockAcquire(&tag, ExclusiveLock, false, nowait) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	/* What the last holder committed is to be seen. */
	AcceptInvalidationMessages();
	return true;
}

/*
 * Gives the lock back, once.
 */
static void
manager_lock_release(int id, int lane)
{
	LOCKTAG tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, exec_catalog_relid("process_manager"), (Oid) id,
					   (uint16) lane);
	(void) LockRelease(&tag, ExclusiveLock, false);
}

/*
 * Waits for a unit's lock, until a time.
 */
static bool
manager_lock_await(int id, int lane, TimestampTz until)
{
	while (!manager_lock_unit(id, lane, until != DT_NOEND))
	{
		CHECK_FOR_INTERRUPTS();
		if (GetCurrentTimestamp() >= until)
			return false;
		pg_usleep(MANAGER_LOCK_NAP * 1000L);
	}
	return true;
}

/*
 * To be held by whoever is to wait for one unit while it holds another, so that
 * no two do that in different orders.
 */
void
manager_lock_queue(int id)
{
	(void) manager_lock_unit(id, MANAGER_LOCK_QUEUE, false);
}

/*
 * Locks all units.  With a time to give up, false when it has come, and then
 * none is locked.  First those that are free, so that no batch of them begins
 * any more: then only what runs already is waited for, not one batch of each.
 */
static bool
manager_lock_units(ProcessManager *pm, TimestampTz until)
{
	bool *locked = palloc0(sizeof(bool) * pm->lanes);
	bool all = true;

	if (!manager_lock_await(pm->id, MANAGER_LOCK_QUEUE, until))
		return false;
	for (int lane = 0; lane < pm->lanes; lane++)
		locked[lane] = manager_lock_unit(pm->id, lane, true);
	for (int lane = 0; lane < pm->lanes && all; lane++)
		if (!locked[lane])
			all = locked[lane] = manager_lock_await(pm->id, lane, until);
	for (int lane = 0; lane < pm->lanes && !all; lane++)
		if (locked[lane])
			manager_lock_release(pm->id, lane);
	if (!all)
		manager_lock_release(pm->id, MANAGER_LOCK_QUEUE);
	pfree(locked);
	return all;
}

/*
 * A process manager with all its units locked, which waits for batches that
 * run, until a time: *taken is false then.  While we wait, it can be changed,
 * or another one can take its name: what counts is what is there once the locks
 * are held.
 */
static ProcessManager *
manager_lock_all(const char *name, bool missing_ok, bool require_owner, TimestampTz until,
				 bool *taken)
{
	ProcessManager *pm = registry_get(name, missing_ok);

	*taken = true;
	while (pm != NULL)
	{
		ProcessManager *before = pm;

		if (require_owner)
			registry_require_owner(pm);
		*taken = manager_lock_units(pm, until);
		if (!*taken)
			return pm;
		pm = registry_get(name, missing_ok);
		if (pm != NULL && pm->id == before->id && pm->lanes == before->lanes)
		{
			if (require_owner)
				registry_require_owner(pm);
			break;
		}
	}
	return pm;
}

/*
 * One that the caller may change.
 */
ProcessManager *
manager_lock(const char *name, bool missing_ok)
{
	bool taken;

	return manager_lock_all(name, missing_ok, true, DT_NOEND, &taken);
}

/*
 * The same for a caller who has not asked for it by name: gives up at a time,
 * with *taken false, while somebody has one of its units.
 */
ProcessManager *
manager_lock_until(const char *name, TimestampTz until, bool *taken)
{
	return manager_lock_all(name, true, true, until, taken);
}

/*
 * One that changes with what the caller does to an object of the server; NULL
 * if there is none.
 */
ProcessManager *
manager_lock_unchecked(const char *name)
{
	bool taken;

	return manager_lock_all(name, true, false, DT_NOEND, &taken);
}
