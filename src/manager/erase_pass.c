/*
 * erase_pass.c
 *		Erases what the process managers that are free have kept of erased events of a log.
 *
 * A batch that has read the old data may keep parts of it until it ends, and it holds the
 * lock of its unit until then.  So it is enough to lock the units of a process manager once
 * after the data in the log was replaced, or in the same transaction, and to erase under
 * that lock.  Later batches read the new data: the registrations count as changed, so
 * dispatchers forget what they have read ahead before they run a unit of this process
 * manager again (reading.c).
 *
 * A session can keep its units locked for as long as it likes.  So nobody waits for units
 * while holding those of others for more than a limited time.  What is missed is done in a
 * later pass.
 *
 * All process managers that follow the log must be locked, whether they have kept something
 * or not.  A transaction that registers one may not have committed, so that we do not see
 * it, and may already have had it handle events.  It holds the lock on the log that
 * follow_begin() takes.  We look at that lock first, and only then for the process managers.
 * One that takes the lock later reads the new data, because we keep it out until our
 * transaction ends.
 *
 * Others can have kept something too: those that have followed the log earlier, and those to
 * which a handler has sent something.  They are searched for when the followers are locked,
 * since then nobody sends more.  As long as a follower is missed, it can still send, even to
 * one in which everything is done.  So when it is locked at last, the process managers to
 * which its owner may send are searched again.  All others are left alone after the first
 * pass, because what they set and send from then on results from the new data.
 */
#include "pm.h"

#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/acl.h"

#include "base/exec.h"
#include "log/log_catalog.h"
#include "manager/erase_kept.h"
#include "manager/erase_pass.h"
#include "manager/manager_lock.h"

/* Time between two attempts to lock units, in ms.  Between two batches they are free for a moment.
 */
#define ERASE_PASS_NAP 1

/* At most this many locks are taken, because there is limited room for them in shared memory. */
#define ERASE_PASS_LOCKS 1000

/* ---------- locks ---------- */

/*
 * Keeps process managers from beginning to follow the log, until the transaction ends.
 * Returns false if one is just beginning to follow it.
 */
static bool
erase_pass_shut(const char *log)
{
	Oid relid = log_catalog_table(log);
	LOCKTAG tag;

	/* A log is only dropped when nobody is beginning to follow it. */
	if (!OidIsValid(relid))
		return true;
	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, exec_catalog_relid("log"), relid, 0);
	return LockAcquire(&tag, ShareLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/*
 * Locks the process managers that are free, and adds them to *locked.  Returns the others.
 */
static List *
erase_pass_try(List *managers, List **locked)
{
	List *busy = NIL;
	int locks = 0;
	ListCell *lc;

	foreach(lc, *locked)
		locks += ((ProcessManager *) lfirst(lc))->lanes + 1;
	foreach(lc, managers)
	{
		ProcessManager *pm = lfirst(lc);

		if (locks < ERASE_PASS_LOCKS && manager_lock_nowait(pm))
		{
			*locked = lappend(*locked, pm);
			locks += pm->lanes + 1;
		}
		else
			busy = lappend(busy, pm);
	}
	return busy;
}

/*
 * Locks process managers, waiting until a time.  Returns those that were not free.
 */
static List *
erase_pass_lock(List *managers, TimestampTz until, List **locked)
{
	List *free = NIL;
	List *busy = erase_pass_try(managers, &free);
	ListCell *lc;

	if (busy == NIL || GetCurrentTimestamp() >= until)
	{
		*locked = free;
		return busy;
	}
	/* Those that are free are not held up while we wait for the others. */
	foreach(lc, free)
		manager_unlock(lfirst(lc));
	while (busy != NIL && GetCurrentTimestamp() < until)
	{
		CHECK_FOR_INTERRUPTS();
		pg_usleep(ERASE_PASS_NAP * 1000L);
		busy = erase_pass_try(busy, locked);
	}
	return list_concat(busy, erase_pass_try(free, locked));
}

/*
 * Those of the process managers that are still as they were when they were loaded, so that
 * the right units are locked.  Nothing is kept of one that was unregistered.
 */
static List *
erase_pass_confirm(ErasePass *pass, List *locked)
{
	List *confirmed = NIL;
	List *managers = locked == NIL ? NIL : registry_load(InvalidOid);
	ListCell *lc;
	ListCell *now;

	foreach(lc, locked)
	{
		ProcessManager *before = lfirst(lc);

		foreach(now, managers)
		{
			ProcessManager *pm = lfirst(now);

			if (pm->id != before->id)
				continue;
			if (pm->lanes == before->lanes)
				confirmed = lappend(confirmed, pm);
			else
			{
				manager_unlock(before);
				pass->missed = lappend(pass->missed, pm->name);
			}
			break;
		}
	}
	return confirmed;
}

/* ---------- which process managers it concerns ---------- */

static bool
erase_pass_has(List *managers, int id)
{
	ListCell *lc;

	foreach(lc, managers)
		if (((ProcessManager *) lfirst(lc))->id == id)
			return true;
	return false;
}

/*
 * Is everything done in a process manager?
 */
static bool
erase_pass_done(const ErasePass *pass, int id)
{
	ListCell *lc;

	foreach(lc, pass->erasures)
		if (!list_member_int(((Erasure *) lfirst(lc))->done, id))
			return false;
	return true;
}

/*
 * Those that follow the log, unless everything is done in them.
 */
static List *
erase_pass_followers(const ErasePass *pass)
{
	List *followers = NIL;
	ListCell *lc;

	foreach(lc, registry_load(InvalidOid))
	{
		ProcessManager *pm = lfirst(lc);

		if (erase_follows(pm, pass->log) && !erase_pass_done(pass, pm->id))
			followers = lappend(followers, pm);
	}
	return followers;
}

static bool
erase_pass_names(List *names, const char *name)
{
	ListCell *lc;

	foreach(lc, names)
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	return false;
}

/*
 * The search reads all timers.  After the first pass, it is needed only if a process
 * manager was locked that had been missed before, or if one was missed that does not
 * follow the log.
 */
static bool
erase_pass_must_find(const ErasePass *pass)
{
	ListCell *lc;
	ListCell *waiting;

	if (pass->locked != NIL)
		return true;
	foreach(lc, pass->erasures)
	{
		Erasure *erasure = lfirst(lc);

		if (erasure->id == 0)
			return true;
		foreach(waiting, erasure->waiting)
			if (!erase_pass_names(pass->missed, lfirst(waiting)))
				return true;
	}
	return false;
}

/*
 * Was a process manager missed before, or can one that is locked now have sent something to
 * it?
 */
static bool
erase_pass_reaches(const ErasePass *pass, const ProcessManager *pm)
{
	ListCell *lc;

	foreach(lc, pass->erasures)
		if (erase_pass_names(((Erasure *) lfirst(lc))->waiting, pm->name))
			return true;
	foreach(lc, pass->locked)
	{
		Oid sender = ((ProcessManager *) lfirst(lc))->owner;

		if (OidIsValid(sender) && OidIsValid(pm->owner) && has_privs_of_role(sender, pm->owner))
			return true;
	}
	return false;
}

/*
 * Those of the process managers that a search has found and in which something is to be done.
 */
static List *
erase_pass_found(const ErasePass *pass, List *found, bool first)
{
	List *managers = NIL;
	ListCell *lc;
	ListCell *f;

	/* Loaded after the search, so those that it has found are there. */
	foreach(lc, found == NIL ? NIL : registry_load(InvalidOid))
	{
		ProcessManager *pm = lfirst(lc);
		bool concerned = false;

		foreach(f, found)
		{
			EraseFound *one = lfirst(f);

			if (strcmp(one->name, pm->name) == 0)
				concerned |= one->journal ? !erase_pass_done(pass, pm->id) :
											first || erase_pass_reaches(pass, pm);
		}
		if (concerned && !erase_pass_names(pass->missed, pm->name) &&
			!erase_pass_has(pass->locked, pm->id))
			managers = lappend(managers, pm);
	}
	return managers;
}

/* ---------- the pass ---------- */

/*
 * Locks process managers, and erases what those that could be locked have kept.  "joined"
 * are the erasures, those with the same replacement as one.
 */
static void
erase_pass_over(ErasePass *pass, List *joined, List *managers)
{
	List *locked = NIL;
	ListCell *lc;
	ListCell *erasure;

	foreach(lc, erase_pass_lock(managers, pass->until, &locked))
		pass->missed = lappend(pass->missed, ((ProcessManager *) lfirst(lc))->name);
	locked = erase_pass_confirm(pass, locked);
	foreach(erasure, joined)
	{
		Erasure *e = lfirst(erasure);

		erase_kept(locked, pass->log, e->positions, e->replacement);
	}
	foreach(erasure, pass->erasures)
	{
		Erasure *e = lfirst(erasure);

		foreach(lc, locked)
			e->done = list_append_unique_int(e->done, ((ProcessManager *) lfirst(lc))->id);
	}
	pass->locked = list_concat(pass->locked, locked);
}

/*
 * Finds those that do not follow the log.
 */
static void
erase_pass_others(ErasePass *pass, List *joined, List *erasures, bool first)
{
	ListCell *lc;

	foreach(lc, erasures)
	{
		Erasure *e = lfirst(lc);
		List *found = erase_find(pass->log, e->positions, e->replacement);

		erase_pass_over(pass, joined, erase_pass_found(pass, found, first));
	}
}

bool
erase_pass(ErasePass *pass)
{
	List *before = NIL;
	List *now = NIL;
	List *joined;
	ListCell *lc;

	foreach(lc, pass->erasures)
	{
		Erasure *e = lfirst(lc);

		if (e->id != 0)
			before = erasure_add(before, e->positions, e->replacement, NIL);
		else
			now = erasure_add(now, e->positions, e->replacement, NIL);
	}
	joined = list_concat_copy(before, now);
	pass->locked = pass->missed = NIL;
	pass->following = !erase_pass_shut(pass->log);
	erase_pass_over(pass, joined, erase_pass_followers(pass));
	if (erase_pass_must_find(pass))
	{
		erase_pass_others(pass, joined, before, false);
		erase_pass_others(pass, joined, now, true);
	}
	if (pass->locked != NIL)
		registry_changed();
	return pass->missed == NIL && !pass->following;
}

void
erase_pass_keep(const ErasePass *pass, bool complete)
{
	ListCell *lc;

	foreach(lc, pass->erasures)
	{
		Erasure *erasure = lfirst(lc);

		erasure->waiting = pass->missed;
		if (complete)
			erasure_complete(pass->log, erasure);
		else
			erasure_keep(pass->log, erasure);
	}
}

/*
 * The names of those process managers that workers have locked.
 */
static List *
erase_pass_busy(List *missed)
{
	List *busy = NIL;
	WorkerView *workers;
	int count = slot_view(&workers);
	ListCell *lc;

	foreach(lc, missed == NIL ? NIL : registry_load(InvalidOid))
	{
		ProcessManager *pm = lfirst(lc);

		if (erase_pass_names(missed, pm->name) && !manager_lock_by_session(pm, workers, count))
			busy = lappend(busy, pm->name);
	}
	return busy;
}

bool
erase_later(const char *log, const char *await, List **busy)
{
	ErasePass pass = {.log = log, .until = DT_NOBEGIN};
	bool all;
	bool complete;

	/* This lock is granted before any that is only tried, so it also gets units that are never
	 * idle. */
	if (await != NULL)
		(void) manager_lock_unchecked(await);
	pass.erasures = erasure_claim(log, &all);
	if (pass.erasures == NIL)
		return all;
	complete = erase_pass(&pass);
	erase_pass_keep(&pass, complete);
	/* If some were missed only because there are too many, there is nothing to wait for. */
	if (busy != NULL && pass.locked == NIL)
		*busy = erase_pass_busy(pass.missed);
	return complete && all;
}
