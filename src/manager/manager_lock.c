/*
 * manager_lock.c
 *		Locks one unit of a process manager, or all of its units.
 *
 * The unit of dispatch and of locking is (process manager, lane).  A backend
 * that runs a unit, or changes what a run depends on (settings, cursors,
 * state), holds the unit's lock until the end of its transaction.  The lock
 * belongs to PostgreSQL's lock manager, and is on the object (process_manager
 * table, id, lane).  It can be tried without waiting, takes part in deadlock
 * detection, is shown in pg_locks, and writes nothing to disk.
 *
 * A backend that waits for one unit while it holds another first takes the
 * process manager's queue lock.  So no two backends wait for units of the same
 * process manager in different orders.
 */
#include "pm.h"

#include "storage/lmgr.h"
#include "utils/inval.h"

#include "base/exec.h"
#include "base/key.h"
#include "base/within.h"
#include "log/highwater_ask.h"
#include "manager/manager_lock.h"
#include "manager/standby.h"

/*
 * These numbers stand in the place of a lane: for the queue lock, and for the lock of
 * lanes that run alone.  They are greater than any lane.
 */
#define MANAGER_LOCK_QUEUE 0x7FFF
#define MANAGER_LOCK_ALONE 0x7FFE

/* This one stands for the lock of senders. */
#define MANAGER_LOCK_SENDER 0x7FFD

/* Time between two attempts to lock a unit, in ms. */
#define MANAGER_LOCK_NAP 10

/* How long a lane that runs alone waits for other lanes' batches that have begun, in ms. */
#define MANAGER_LOCK_ALONE_NAPS 50

static void
manager_lock_tag(LOCKTAG *tag, int id, int lane)
{
	SET_LOCKTAG_OBJECT(*tag, MyDatabaseId, exec_catalog_relid("process_manager"), (Oid) id,
					   (uint16) lane);
}

/*
 * Locks a unit until the end of the transaction.  With nowait, returns false if
 * another session holds the lock.
 */
bool
manager_lock_unit(int id, int lane, bool nowait)
{
	LOCKTAG tag;

	manager_lock_tag(&tag, id, lane);
	if (!nowait)
		standby_lock(&tag, ExclusiveLock);
	else if (LockAcquire(&tag, ExclusiveLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	/* The caller must see what the last holder committed. */
	AcceptInvalidationMessages();
	return true;
}

bool
manager_lock_is_mine(int id, int lane)
{
	LOCKTAG tag;

	manager_lock_tag(&tag, id, lane);
	return compat_lock_held_by_me(&tag, ExclusiveLock);
}

/*
 * Does another session hold the lock?  The answer may be out of date.
 */
static bool
manager_lock_is_held(int id, int lane)
{
	LOCKTAG tag;
	int count;

	manager_lock_tag(&tag, id, lane);
	(void) GetLockConflicts(&tag, ExclusiveLock, &count);
	return count > 0;
}

static bool
manager_lock_is_worker(VirtualTransactionId holder, const WorkerView *workers, int count)
{
	/* A prepared transaction that was recovered has no process. */
	PGPROC *proc = compat_vxid_index(holder) < 0 ? NULL : compat_vxid_proc(holder);

	for (int i = 0; i < count; i++)
		if (proc != NULL && workers[i].in_use && workers[i].proc == proc)
			return true;
	return false;
}

bool
manager_lock_by_session(const ProcessManager *pm, const WorkerView *workers, int count)
{
	for (int lane = 0; lane < pm->lanes; lane++)
	{
		LOCKTAG tag;
		VirtualTransactionId *holders;
		int nholders;

		manager_lock_tag(&tag, pm->id, lane);
		holders = GetLockConflicts(&tag, ExclusiveLock, &nholders);
		for (int i = 0; i < nholders; i++)
			if (!manager_lock_is_worker(holders[i], workers, count))
				return true;
	}
	return false;
}

/*
 * Releases the lock, once.
 */
void
manager_lock_release(int id, int lane)
{
	LOCKTAG tag;

	manager_lock_tag(&tag, id, lane);
	(void) LockRelease(&tag, ExclusiveLock, false);
}

/* ---------- senders ---------- */

/*
 * Nobody waits for this lock while holding a unit's lock, except to unregister the process
 * manager.
 */
void
manager_lock_sender(int id)
{
	LOCKTAG tag;

	manager_lock_tag(&tag, id, MANAGER_LOCK_SENDER);
	(void) LockAcquire(&tag, ShareLock, false, false);
	AcceptInvalidationMessages();
}

bool
manager_no_sender(int id)
{
	LOCKTAG tag;

	manager_lock_tag(&tag, id, MANAGER_LOCK_SENDER);
	if (LockAcquire(&tag, ExclusiveLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	(void) LockRelease(&tag, ExclusiveLock, false);
	return true;
}

void
manager_lock_out_senders(int id)
{
	(void) manager_lock_unit(id, MANAGER_LOCK_SENDER, false);
}

/* ---------- units ---------- */

/*
 * Waits for a unit's lock, until a given time.
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
 * Takes the queue lock (see the head of this file).
 */
void
manager_lock_queue(int id)
{
	(void) manager_lock_unit(id, MANAGER_LOCK_QUEUE, false);
}

/*
 * Lanes that have conflicted with each other, because they write the same streams, run
 * one after another.  The lane that runs holds this lock until its transaction ends.
 */
bool
manager_lock_alone(ProcessManager *pm, int lane, TimestampTz until)
{
	int naps = 0;

	/* Each of the others holds it until its batch ends. */
	while (!manager_lock_unit(pm->id, MANAGER_LOCK_ALONE, true))
	{
		if (GetCurrentTimestamp() >= until)
			return false;
		CHECK_FOR_INTERRUPTS();
		pg_usleep(1000);
	}
	/*
	 * No batch of another lane begins now.  One that has begun may take a long time: do not
	 * wait forever.
	 */
	for (int other = 0; other < pm->lanes; other++)
		while (other != lane && manager_lock_is_held(pm->id, other) &&
			   naps++ < MANAGER_LOCK_ALONE_NAPS)
		{
			CHECK_FOR_INTERRUPTS();
			pg_usleep(1000);
		}
	return true;
}

/*
 * Does some lane run alone?  The answer may be out of date.
 */
bool
manager_lock_any_alone(int id)
{
	return manager_lock_is_held(id, MANAGER_LOCK_ALONE);
}

/*
 * Locks all units.  Returns false, with none locked, if they cannot be locked
 * before a given time.
 */
static bool
manager_lock_units(ProcessManager *pm, TimestampTz until)
{
	bool *locked = palloc0(sizeof(bool) * pm->lanes);
	bool all = true;

	if (!manager_lock_await(pm->id, MANAGER_LOCK_QUEUE, until))
		return false;

	/*
	 * First lock the units that are free, so that no batch of them begins any
	 * more.  Then we wait only for the batches that are already running, all at the
	 * same time, and not for one batch of each unit in turn.
	 */
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
 * Locks all units of a process manager, and waits for batches that run.  Gives
 * up at the time "until", and then sets *locked to false.
 */
static ProcessManager *
manager_lock_all(const char *name, bool missing_ok, bool require_owner, TimestampTz until,
				 bool *locked)
{
	ProcessManager *pm = registry_get(name, missing_ok);

	*locked = true;
	while (pm != NULL)
	{
		ProcessManager *before = pm;

		if (require_owner)
			registry_require_owner(pm);
		*locked = manager_lock_units(pm, until);
		if (!*locked)
			return pm;

		/*
		 * While we waited, the process manager may have been changed, or
		 * another one may have taken its name.  So read the catalog again now that
		 * the locks are held, and check that these are still the right locks.
		 */
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
 * Locks all units of a process manager that the caller may change.
 */
ProcessManager *
manager_lock(const char *name, bool missing_ok)
{
	bool locked;

	return manager_lock_all(name, missing_ok, true, DT_NOEND, &locked);
}

/*
 * The same if the user has not named this process manager.
 */
ProcessManager *
manager_lock_until(const char *name, TimestampTz until, bool *locked)
{
	return manager_lock_all(name, true, true, until, locked);
}

/*
 * The same if the process manager changes because of a command on another
 * object, for which PostgreSQL has checked the caller's rights.  NULL if there
 * is none.
 */
ProcessManager *
manager_lock_unchecked(const char *name)
{
	bool locked;

	return manager_lock_all(name, true, false, DT_NOEND, &locked);
}

/*
 * Locks all units if nobody else has locked one.  The process manager may have changed since
 * it was loaded.
 */
bool
manager_lock_nowait(ProcessManager *pm)
{
	return manager_lock_units(pm, DT_NOBEGIN);
}

/*
 * Releases once what locks all units.
 */
void
manager_unlock(const ProcessManager *pm)
{
	for (int lane = 0; lane < pm->lanes; lane++)
		manager_lock_release(pm->id, lane);
	manager_lock_release(pm->id, MANAGER_LOCK_QUEUE);
}

/*
 * Locks the unit of one key.  While we waited, the number of lanes may have changed.
 */
ProcessManager *
manager_lock_key(const char *function, const char *name, const char *key, int *lane)
{
	highwater_require_fresh_snapshots(function);
	exec_require_writable(function);
	within_refuse(name);
	for (;;)
	{
		ProcessManager *before = registry_get(name, false);
		ProcessManager *pm;

		registry_require_owner(before);
		*lane = (int) (key_hash(key, strlen(key)) % (uint32) before->lanes);
		manager_lock_queue(before->id);
		(void) manager_lock_unit(before->id, *lane, false);
		pm = registry_get(name, false);
		registry_require_owner(pm);
		if (pm->id == before->id && pm->lanes == before->lanes)
			return pm;
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Most SQL functions that change a process manager begin with this.
 */
ProcessManager *
manager_lock_for(const char *function, const char *name)
{
	highwater_require_fresh_snapshots(function);
	exec_require_writable(function);
	/* Refuse this before taking the lock, which the batch that runs the handler holds. */
	within_refuse(name);
	return manager_lock(name, false);
}
