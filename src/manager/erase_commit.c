/*
 * erase_commit.c
 *		Erases what process managers of other roles have kept, at commit.
 *
 * pm.erase must lock the units of all followers until its transaction ends.  Otherwise a
 * batch that began earlier could still read the old data, and keep parts of it after pm.erase
 * has searched.  But the caller could keep its transaction open, and so hold up process
 * managers of other roles.  So these are locked, and what they have kept is erased, only when
 * the transaction commits, after all code of the caller has run.
 *
 * In the same way the owner of a process manager could hold up the caller.  So process
 * managers that do not become free within a short time are left to the scheduler
 * (erasure.c).
 */
#include "pm.h"

#include "access/xact.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "utils/array.h"
#include "utils/datum.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "manager/erase_commit.h"
#include "manager/erase_pass.h"
#include "manager/registry.h"

/* How long a commit waits for units in all, in ms. */
#define ERASE_COMMIT_WAIT 1000

/* At most this many process managers are named in a notice. */
#define ERASE_COMMIT_NAMES 20

/* What one call of pm.erase has left to do. */
typedef struct EraseCall
{
	SubTransactionId subid;
	char *log;
	Datum positions;
	Datum replacement;
	List *done; /* ids of the process managers in which it is done */
} EraseCall;

/* In TopTransactionContext. */
static List *calls = NIL;

void
erase_commit_later(const char *log, Datum positions, Datum replacement, List *done)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	EraseCall *call = palloc(sizeof(EraseCall));

	call->subid = GetCurrentSubTransactionId();
	call->log = pstrdup(log);
	call->positions = datumCopy(positions, false, -1);
	call->replacement = PointerGetDatum(DatumGetJsonbPCopy(replacement));
	call->done = list_copy(done);
	calls = lappend(calls, call);
	MemoryContextSwitchTo(old);
}

/*
 * Says what is done later.
 */
static void
erase_commit_notice(const ErasePass *pass)
{
	StringInfoData names;
	ListCell *lc;

	initStringInfo(&names);
	foreach(lc, pass->missed)
	{
		int n = foreach_current_index(lc);

		if (n == ERASE_COMMIT_NAMES)
			appendStringInfoString(&names, ", ...");
		else if (n < ERASE_COMMIT_NAMES)
			appendStringInfo(&names, "%s%s", n > 0 ? ", " : "", (char *) lfirst(lc));
	}
	if (pass->missed != NIL)
		ereport(NOTICE,
				(errmsg("data that some process managers have kept of events of log \"%s\" is "
						"erased later",
						pass->log),
				 errdetail("They were not idle, or sessions have locked them: %s.", names.data),
				 errhint("SELECT * FROM pm.erasure shows what is not complete.")));
	if (pass->following)
		ereport(NOTICE,
				(errmsg("data that process managers being registered for log \"%s\" have kept "
						"of its events is erased later",
						pass->log),
				 errhint("SELECT * FROM pm.erasure shows what is not complete.")));
}

/*
 * Erases what was kept of the events of one log, even if an earlier transaction has erased
 * them.
 */
static void
erase_commit_log(const char *log, TimestampTz until)
{
	ErasePass pass = {.log = log, .until = until};
	bool all;
	ListCell *lc;

	pass.erasures = erasure_claim(log, &all);
	foreach(lc, calls)
	{
		EraseCall *call = lfirst(lc);

		if (strcmp(call->log, log) == 0)
			pass.erasures = erasure_add(pass.erasures, call->positions, call->replacement,
										call->done);
	}
	/* If an earlier erasure is left, its replacement must not be written after ours. */
	erase_pass_keep(&pass, erase_pass(&pass) && all);
	erase_commit_notice(&pass);
}

/*
 * Goes through all process managers, those of the caller too, because one of them may have
 * been registered since.
 */
static void
erase_commit_all(void)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ERASE_COMMIT_WAIT);
	List *logs = NIL;
	ListCell *lc;
	ListCell *before;

	foreach(lc, calls)
	{
		const char *log = ((EraseCall *) lfirst(lc))->log;
		bool known = false;

		foreach(before, logs)
			known |= strcmp(lfirst(before), log) == 0;
		if (known)
			continue;
		erase_commit_log(log, until);
		logs = lappend(logs, pstrdup(log));
	}
	registry_changed();
}

static void
erase_commit_xact_callback(XactEvent event, void *arg)
{
	if (calls == NIL)
		return;
	if (event == XACT_EVENT_PRE_PREPARE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that has called pm.erase"),
				 errdetail("Process managers of other roles would be locked until it ends.")));
	if (event == XACT_EVENT_PRE_COMMIT)
		erase_commit_all();
	else if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		calls = NIL;
}

static void
erase_commit_subxact_callback(SubXactEvent event, SubTransactionId mysubid, SubTransactionId parent,
							  void *arg)
{
	ListCell *lc;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	foreach(lc, calls)
	{
		EraseCall *call = lfirst(lc);

		if (call->subid != mysubid)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			call->subid = parent;
		else
			calls = foreach_delete_current(calls, lc);
	}
}

void
erase_commit_install(void)
{
	RegisterXactCallback(erase_commit_xact_callback, NULL);
	RegisterSubXactCallback(erase_commit_subxact_callback, NULL);
}
