/*
 * unit_work.c
 *		Finds out which of a dispatcher's units have something to do.
 *
 * After units have been loaded, each of them may have something to do.  A batch would find
 * out, but there can be thousands of units and logs, and an event would wait until all of
 * them have had their batch.  So the state of each unit and its cursors are compared with
 * the sequences, which have just been read (watch.c).
 *
 * - Units with something to do run first.
 * - New units with nothing to do run later, when nothing else is to be done.  Their batches
 *	 find out whether something is wrong with their logs.  The same applies to units that had
 *	 something to do before they were loaded again.
 * - Other units with nothing to do are not run.  Nor are new units that follow many logs,
 *	 because their batches read only the logs that have moved.
 */
#include "pm.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "manager/cursor.h"
#include "manager/lane.h"
#include "manager/sent.h"
#include "worker/unit_work.h"
#include "worker/worker.h"

/*
 * Sets which logs have positions beyond the cursors.  Returns whether there are any.
 */
static bool
unit_work_logs(Unit *unit)
{
	int count = list_length(unit->pm->logs);
	bool any = false;
	ListCell *lc;

	/* A log whose cursor is not found is read. */
	for (int i = 0; i < count; i++)
		unit->follows[i].moved = true;
	foreach(lc, cursor_list(unit->pm, unit->lane))
	{
		Cursor *cursor = lfirst(lc);

		if (cursor->which >= 0 && cursor->which < count)
			unit->follows[cursor->which].moved = *unit->follows[cursor->which].last >
												 cursor->position;
	}
	for (int i = 0; i < count; i++)
		any |= unit->follows[i].moved;
	return any;
}

/*
 * Does the unit have something to do now?  If not, sets when it will.
 */
static bool
unit_work_any(Unit *unit)
{
	TimestampTz now = GetCurrentTimestamp();
	LaneState state;
	bool sending;
	bool moved = unit_work_logs(unit);

	lane_state(unit->pm, unit->lane, &state);
	/* Only a person can make it continue, and then the units are loaded again. */
	if (state.status == LANE_HALTED)
		return false;
	/* An item that has failed may be in any log. */
	if (state.status != LANE_OK)
		return true;
	unit->all = false;
	if (moved || isolate_busy(&unit->isolate) || lane_parked_due(&state, now) ||
		(unit->pm->kind == HANDLER_INSTANCE && state.timer_due <= now) ||
		sent_any(unit->pm, &sending))
		return true;
	/* What comes from now on was not in hand at a promotion. */
	unit->passed = true;
	unit->unwritten = state.careful;
	unit->due = state.parked_due;
	if (unit->pm->kind == HANDLER_INSTANCE)
		unit->due = Min(unit->due, state.timer_due);
	/* A transaction that sends something may be prepared, and then its end wakes nobody. */
	unit->sent = false;
	if (sending)
		unit->sent_again = TimestampTzPlusMilliseconds(now, UNIT_SENT_NAP);
	return false;
}

void
unit_work_sort_out(Units *units)
{
	MemoryContext context;
	ListCell *lc;

	if (!units->loaded)
		return;
	units->loaded = false;
	worker_transaction();
	context = AllocSetContextCreate(CurrentMemoryContext, "pm unit work", ALLOCSET_DEFAULT_SIZES);
	foreach(lc, units->list)
	{
		Unit *unit = lfirst(lc);
		MemoryContext old = MemoryContextSwitchTo(context);

		if (unit_work_any(unit))
			unit->first = false;
		else
			unit->dirty = unit->first = unit->check;
		units->unwritten |= unit->unwritten;
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	CommitTransactionCommand();
}
