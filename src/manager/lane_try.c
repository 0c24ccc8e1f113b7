/*
 * lane_try.c
 *		Notes, after a promotion, for which item a handler is about to be called.
 *
 * A handler that crashes its server leaves a crash mark, but in a file of that server.
 * If a standby is promoted then, it knows nothing of the crash, calls the handler for
 * the same event, and crashes too, and so does the next one.  So a unit goes carefully
 * after a promotion, until it has passed what may have been in hand: before each call,
 * the item is noted in the row of the lane, in a transaction of its own.
 *
 * If that server is lost during the call, the next primary finds a note of an earlier
 * timeline.  Then two primaries have ended with the item in hand, and it is not tried
 * again.  A note of the present timeline says no more than the crash mark, which is in
 * the same data directory.
 *
 * The column "timeline" says on which timeline the unit has passed what was in hand.
 *
 * Assumes that the caller holds the lock of the unit.
 */
#include "pm.h"

#include "access/xlog.h"
#include "utils/builtins.h"

#include "manager/lane_try.h"

static const char *const lane_try_names[] =
	{[HANDLING_EVENT] = "event", [HANDLING_TIMER] = "timer", [HANDLING_PARKED] = "parked"};
#define LANE_TRY_CORRELATE "correlate"

/*
 * The timeline on which this server writes.  The views also read lanes on a standby.
 */
static uint32
lane_try_timeline(void)
{
	return RecoveryInProgress() ? 0 : GetWALInsertionTimeLine();
}

static int64
lane_try_number(const RowScan *scan, AttrNumber column)
{
	return scan->nulls[column - 1] ? 0 : DatumGetInt64(scan->values[column - 1]);
}

void
lane_try_read(LaneRow *row, LaneTry *tried)
{
	RowScan *scan = &row->scan;
	const char *what;

	if (!scan_has(scan, LANE_TRIED_ID))
		return;
	tried->careful = scan->nulls[LANE_TIMELINE - 1] ||
					 DatumGetInt32(scan->values[LANE_TIMELINE - 1]) != (int32) lane_try_timeline();
	if (scan->nulls[LANE_TRIED_ON - 1])
		return;
	what = scan_text(scan, LANE_TRIED_WHAT);
	tried->timeline = DatumGetInt32(scan->values[LANE_TRIED_ON - 1]);
	tried->correlating = strcmp(what, LANE_TRY_CORRELATE) == 0;
	for (int i = 0; i < lengthof(lane_try_names); i++)
		if (strcmp(what, lane_try_names[i]) == 0)
			tried->source = (HandlingSource) i;
	tried->log = scan_text(scan, LANE_TRIED_LOG);
	tried->position = lane_try_number(scan, LANE_TRIED_POSITION);
	tried->id = lane_try_number(scan, LANE_TRIED_ID);
}

bool
lane_try_is(const LaneTry *tried, const Handling *what)
{
	return tried->timeline != 0 && tried->timeline == lane_try_timeline() &&
		   tried->source == what->source && tried->position == what->position &&
		   tried->id == what->id && strcmp(tried->log ? tried->log : "", what->log) == 0;
}

bool
lane_try_left(const LaneTry *tried, Handling *what)
{
	if (tried->timeline == 0 || tried->timeline == lane_try_timeline())
		return false;
	memset(what, 0, sizeof(*what));
	what->source = tried->source;
	what->correlating = tried->correlating;
	what->position = tried->position;
	what->id = tried->id;
	if (tried->log != NULL)
		strlcpy(what->log, tried->log, sizeof(what->log));
	return true;
}

void
lane_try_note(const char *manager, const Handling *what)
{
	bool timer = what->log[0] == '\0';
	LaneRow row;

	lane_row_open(&row, manager, what->lane, RowExclusiveLock);
	lane_row_set(&row, LANE_TRIED_ON, Int32GetDatum((int32) lane_try_timeline()), false);
	lane_row_set_text(&row, LANE_TRIED_WHAT,
					  what->correlating ? LANE_TRY_CORRELATE : lane_try_names[what->source]);
	lane_row_set_text(&row, LANE_TRIED_LOG, timer ? NULL : what->log);
	lane_row_set(&row, LANE_TRIED_POSITION, Int64GetDatum(what->position), timer);
	lane_row_set(&row, LANE_TRIED_ID, Int64GetDatum(what->id), what->id == 0);
	lane_row_close(&row);
}

static void
lane_try_clear(LaneRow *row)
{
	for (AttrNumber i = LANE_TRIED_ON; i <= LANE_TRIED_ID; i++)
		lane_row_set(row, i, (Datum) 0, true);
}

void
lane_try_forget(const char *manager, int lane)
{
	LaneRow row;

	lane_row_open(&row, manager, lane, RowExclusiveLock);
	lane_try_clear(&row);
	lane_row_close(&row);
}

void
lane_try_passed(const char *manager, int lane)
{
	LaneRow row;

	lane_row_open(&row, manager, lane, RowExclusiveLock);
	lane_row_set(&row, LANE_TIMELINE, Int32GetDatum((int32) lane_try_timeline()), false);
	lane_try_clear(&row);
	lane_row_close(&row);
}
