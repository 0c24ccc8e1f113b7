/*
 * erase_commit.c
 *		Erases what process managers of other roles have kept, at commit.
 *
 * pm.erase must lock the units of all followers until its transaction ends.  Otherwise a
 * batch that began earlier could still read the old data, and keep parts of it after pm.erase
 * has searched.  But the caller could keep its transaction open, and so hold up process
 * managers of other roles.  So these are locked, and what they have kept is erased, only when
 * the transaction commits, after all code of the caller has run.
 */
#include "pm.h"

#include "access/xact.h"
#include "nodes/pg_list.h"
#include "utils/array.h"
#include "utils/datum.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "manager/erase_commit.h"
#include "manager/erase_kept.h"

/* What one call of pm.erase has left to do. */
typedef struct Erasure
{
	SubTransactionId subid;
	char *log;
	Datum positions;
	Datum replacement;
} Erasure;

/* In TopTransactionContext. */
static List *erasures = NIL;

void
erase_commit_later(const char *log, Datum positions, Datum replacement)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	Erasure *erasure = palloc(sizeof(Erasure));

	erasure->subid = GetCurrentSubTransactionId();
	erasure->log = pstrdup(log);
	erasure->positions = datumCopy(positions, false, -1);
	erasure->replacement = PointerGetDatum(DatumGetJsonbPCopy(replacement));
	erasures = lappend(erasures, erasure);
	MemoryContextSwitchTo(old);
}

/*
 * All process managers, in the order of their ids.  Those that the caller could change are
 * already locked and erased.  They are not left out, because the caller's rights may have
 * changed since.
 */
static void
erase_commit_all(void)
{
	List *managers = registry_load(InvalidOid);
	List *locked = NIL;
	ListCell *lc;

	foreach(lc, erasures)
	{
		Erasure *erasure = lfirst(lc);
		ListCell *before;
		bool known = false;

		foreach(before, locked)
			known |= strcmp(lfirst(before), erasure->log) == 0;
		if (known)
			continue;
		erase_lock_followers(erasure->log, managers);
		locked = lappend(locked, erasure->log);
	}
	foreach(lc, erasures)
	{
		Erasure *erasure = lfirst(lc);

		erase_kept(managers, erasure->log, erasure->positions, erasure->replacement);
	}
	registry_changed();
}

static void
erase_commit_xact_callback(XactEvent event, void *arg)
{
	if (erasures == NIL)
		return;
	if (event == XACT_EVENT_PRE_PREPARE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that has called pm.erase"),
				 errdetail("Process managers of other roles would be locked until it ends.")));
	if (event == XACT_EVENT_PRE_COMMIT)
		erase_commit_all();
	else if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		erasures = NIL;
}

static void
erase_commit_subxact_callback(SubXactEvent event, SubTransactionId mysubid, SubTransactionId parent,
							  void *arg)
{
	ListCell *lc;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	foreach(lc, erasures)
	{
		Erasure *erasure = lfirst(lc);

		if (erasure->subid != mysubid)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			erasure->subid = parent;
		else
			erasures = foreach_delete_current(erasures, lc);
	}
}

void
erase_commit_install(void)
{
	RegisterXactCallback(erase_commit_xact_callback, NULL);
	RegisterSubXactCallback(erase_commit_subxact_callback, NULL);
}
