/*
 * purge.c
 *		Removes, in a dispatcher, what its process managers need not keep any longer.
 *
 * The dispatcher that runs the first lane of a process manager does it, between its
 * batches, in transactions of their own.  A round removes a limited number of rows, so
 * that events do not have to wait.
 */
#include "pm.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "manager/journal_purge.h"
#include "worker/purge.h"
#include "worker/worker.h"

/* How long until the next look, in ms: a hundredth of keep_ended, within these limits. */
#define PURGE_MIN 1000
#define PURGE_MAX (10 * 60 * 1000)

/*
 * Removes a limited number of rows.  An error, such as a full disk, must not end the
 * dispatcher: it is logged, and what is left is removed later.
 */
static bool
purge_unit(Unit *unit)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile bool more = false;

	PG_TRY();
	{
		worker_transaction();
		/* What comes back after a crash or a failover is removed again. */
		worker_commit_later();
		more = journal_purge(unit->pm, &unit->purge);
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		worker_recover(caller, true);
		/* What was removed is there again. */
		memset(&unit->purge, 0, sizeof(unit->purge));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	return more;
}

bool
purge_round(Units *units, TimestampTz *due)
{
	bool again = false;
	ListCell *lc;

	foreach(lc, units->list)
	{
		Unit *unit = lfirst(lc);
		TimestampTz now;

		if (unit->lane != 0 || unit->pm->keep_ended < 0)
			continue;
		now = GetCurrentTimestamp();
		if (unit->purge_at <= now || unit->purge_at > now + PURGE_MAX * INT64CONST(1000))
		{
			if (purge_unit(unit))
				again = true;
			else
				/* Do not count from the time at which it began, which may be long ago. */
				unit->purge_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
															 Min(Max(unit->pm->keep_ended / 100,
																	 PURGE_MIN),
																 PURGE_MAX));
			CHECK_FOR_INTERRUPTS();
		}
		*due = Min(*due, unit->purge_at);
	}
	return again;
}
