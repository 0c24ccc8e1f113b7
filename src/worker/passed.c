/*
 * passed.c
 *		Records which units have passed what may have been in hand at a promotion.
 *
 * A unit that has nothing to do after a promotion had nothing in hand at the promotion.  Its
 * dispatcher knows that, but another dispatcher would not, and would note the unit's next
 * event (note.c) even hours later.  So the dispatcher writes that into the row of the lane.
 * It does so only when it has nothing else to do, because there may be thousands of units.
 */
#include "pm.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "manager/lane.h"
#include "manager/manager_lock.h"
#include "manager/note.h"
#include "worker/passed.h"
#include "worker/worker.h"

/* How many rows to write in one transaction, in which the units are locked. */
#define PASSED_WRITES 100

/*
 * If another session has locked the unit, or the registration has changed, nothing is written:
 * then the unit goes carefully once more, which does no harm.
 */
static void
passed_write_unit(Unit *unit)
{
	ProcessManager *pm = unit->pm;
	LaneState state;
	Note note;

	if (!manager_lock_unit(pm->id, unit->lane, true) || registry_version() != pm->version)
		return;
	/* A note of an earlier primary is left to the next batch. */
	lane_state(pm, unit->lane, &state);
	if (state.careful && state.status == LANE_OK && !note_get(pm, unit->lane, &note))
		lane_passed(pm->name, unit->lane);
}

/*
 * Records some of the units.  Returns whether there are more.
 */
static bool
passed_write_some(Units *units)
{
	int count = 0;
	bool more = false;
	ListCell *lc;

	worker_transaction();
	/* If this server is lost with the commit, the next one finds out the same again. */
	worker_commit_later();
	foreach(lc, units->list)
	{
		Unit *unit = lfirst(lc);

		if (!unit->unwritten)
			continue;
		if (count++ == PASSED_WRITES)
		{
			more = true;
			break;
		}
		unit->unwritten = false;
		passed_write_unit(unit);
	}
	CommitTransactionCommand();
	return more;
}

bool
passed_write(Units *units)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile bool more = false;

	units->unwritten = false;
	PG_TRY();
	{
		more = passed_write_some(units);
	}
	PG_CATCH();
	{
		/* An error, such as a full disk, must not end the dispatcher. */
		worker_recover(caller, true);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	units->unwritten = more;
	return more;
}
