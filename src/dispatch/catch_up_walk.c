/*
 * catch_up_walk.c
 *		pm.catch_up(as_of): a walk through time.
 *
 * The events and timers of all units are handled in the order of time: an event at its
 * recorded_at, a timer or a retry when it is due.  While a handler runs, pm.now() is the
 * time that the walk has reached, and so is recorded_at of what pm.append appends.  The
 * time never goes back, and never passes as_of: events that were recorded after as_of are
 * handled last.
 *
 * The walk knows the time of the next item of each unit, or asks the unit for it.  The
 * unit whose item comes first runs a batch, which may continue up to the time of the
 * next item of another unit.  It ends as soon as a handler has written a log, since
 * that may be something for another unit, and then all units are asked again.
 */
#include "pm.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "base/within.h"
#include "dispatch/catch_up_walk.h"
#include "log/guard.h"

typedef struct Walk
{
	CatchUp *run;
	List *units; /* of CatchUpUnit */
	TimestampTz as_of;
} Walk;

/*
 * Adds the lanes of a process manager that are not there yet.
 */
static void
walk_add(Walk *walk, ProcessManager *pm)
{
	for (int lane = 0; lane < pm->lanes; lane++)
	{
		CatchUpUnit *unit = NULL;
		ListCell *lc;

		foreach(lc, walk->units)
		{
			CatchUpUnit *other = lfirst(lc);

			if (other->pm->id == pm->id && other->lane == lane)
				unit = other;
		}
		if (unit != NULL)
			continue;
		unit = palloc0(sizeof(CatchUpUnit));
		unit->run = walk->run;
		unit->pm = pm;
		unit->lane = lane;
		unit->stopped = !catch_up_unit_begin(unit, walk->run->named);
		walk->units = lappend(walk->units, unit);
	}
}

/*
 * Runs a batch of a unit.  If its process manager was registered again, with more lanes,
 * these are added.
 */
static void
walk_batch(Walk *walk, CatchUpUnit *unit, const BatchWalk *how)
{
	ProcessManager *before = unit->pm;

	unit->walk = how;
	(void) catch_up_unit_next(unit);
	unit->walk = NULL;
	if (unit->pm != before)
		walk_add(walk, unit->pm);
}

/*
 * Asks a unit when its next item is.
 */
static void
walk_look(Walk *walk, CatchUpUnit *unit)
{
	BatchWalk how = {.until = DT_NOBEGIN, .last = walk->as_of, .look = true};

	while (!unit->stopped && !unit->next_known)
	{
		CHECK_FOR_INTERRUPTS();
		walk_batch(walk, unit, &how);
	}
}

/*
 * The unit whose next item comes first; NULL if there is none up to as_of.  *horizon is
 * the time of the next item of the others.
 */
static CatchUpUnit *
walk_first(Walk *walk, TimestampTz *horizon)
{
	CatchUpUnit *first = NULL;

	*horizon = walk->as_of;
	/* The list may grow. */
	for (int i = 0; i < list_length(walk->units); i++)
		walk_look(walk, list_nth(walk->units, i));
	for (int i = 0; i < list_length(walk->units); i++)
	{
		CatchUpUnit *unit = list_nth(walk->units, i);

		if (unit->stopped || unit->next > walk->as_of)
			continue;
		if (first == NULL || unit->next < first->next)
		{
			if (first != NULL)
				*horizon = Min(*horizon, first->next);
			first = unit;
		}
		else
			*horizon = Min(*horizon, unit->next);
	}
	return first;
}

/*
 * Lets the time move to that of a unit's next item.
 */
static void
walk_move(Walk *walk, const CatchUpUnit *unit)
{
	CatchUp *run = walk->run;

	run->now = Max(run->now, Min(unit->next, walk->as_of));
	/* Only items without a time of their own have come so far. */
	if (TIMESTAMP_NOT_FINITE(run->now))
		run->now = Min(walk->as_of, GetCurrentTransactionStartTimestamp());
	within_set_time(run->now);
}

/*
 * Runs a unit, from its next item on, up to the horizon.
 */
static void
walk_step(Walk *walk, CatchUpUnit *unit, TimestampTz horizon)
{
	CatchUp *run = walk->run;
	uint64 writes = guard_writes;
	int64 done = unit->done;
	bool left_parked = unit->leave_parked;
	BatchWalk how = {.last = walk->as_of};

	walk_move(walk, unit);
	how.until = Max(horizon, run->now);
	walk_batch(walk, unit, &how);
	/* What was undone will be handled again, at its own time. */
	if (!unit->failed)
		run->now = within_time();
	within_set_time(run->now);
	/* The unit could do nothing now, so it must not be asked for the same item again. */
	if (unit->next_known && !unit->failed && !left_parked && unit->done == done &&
		unit->next <= run->now)
		unit->next = DT_NOEND;
	if (guard_writes != writes)
	{
		ListCell *lc;

		foreach(lc, walk->units)
			((CatchUpUnit *) lfirst(lc))->next_known = false;
	}
}

void
catch_up_walk(CatchUp *run, List *managers, TimestampTz as_of)
{
	Walk walk = {.run = run, .as_of = as_of};
	CatchUpUnit *unit;
	TimestampTz horizon;
	ListCell *lc;

	run->now = DT_NOBEGIN;
	within_set_time(run->now);
	within_set_end(as_of);
	foreach(lc, managers)
		walk_add(&walk, lfirst(lc));
	while (run->left > 0 && (unit = walk_first(&walk, &horizon)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		walk_step(&walk, unit, horizon);
	}
}
