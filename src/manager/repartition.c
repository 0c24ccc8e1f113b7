/*
 * repartition.c
 *		Changes the number of a process manager's lanes.
 *
 * An event belongs to the lane that is the hash of its key modulo the number of
 * lanes.  When the number changes, most keys change lanes, and the new lane of a
 * key may be behind or ahead of its old one.  The lanes do not wait until all of
 * them are at the same position.  Instead, all new lanes start at the position
 * of the old lane that was furthest behind, and pm_catalog.former_lane records
 * up to where each old lane has handled its log.  A batch skips an event if the
 * old lane of its key has handled it.
 *
 * If the number changes again before all lanes are past those positions, the old
 * records are kept as well.  Each record by itself tells which events were
 * handled.
 *
 * So no event is skipped and none is handled twice, provided that the key of an
 * event does not change.  That is why a correlate function must be IMMUTABLE
 * where there are lanes, and can be replaced only while all lanes are at the
 * same position.
 *
 * Assumes that the caller holds the locks of all units, by the old number of
 * lanes.  No other session sees the new ones before the commit.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "base/exec.h"
#include "manager/cursor_change.h"
#include "manager/head.h"
#include "manager/lane.h"
#include "manager/note.h"
#include "manager/repartition.h"

/*
 * Has the former lane of the key handled the event?
 */
bool
repartition_handled(List *former_lanes, uint32 hash, int64 position)
{
	ListCell *lc;

	foreach(lc, former_lanes)
	{
		FormerLane *former = lfirst(lc);

		if (position <= former->position && hash % former->lanes == former->lane)
			return true;
	}
	return false;
}

/*
 * From now on, events of the log, or of any log if "log" is NULL, are not
 * skipped any more.
 */
void
repartition_forget(const char *manager, const char *log)
{
	static ExecStatement forget = {
		NULL,
		"DELETE FROM pm_catalog.former_lane "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		"AND ($2 IS NULL OR log OPERATOR(pg_catalog.=) $2)",
		2,
		{TEXTOID, TEXTOID},
	};
	Datum values[2];
	char nulls[2] = {' ', ' '};

	values[0] = CStringGetTextDatum(manager);
	values[1] = exec_text_arg(log, &nulls[1]);
	(void) exec_as_owner(&forget, values, nulls);
}

/*
 * Deletes the records whose position all lanes have passed.
 */
void
repartition_drop_passed(ProcessManager *pm)
{
	static ExecStatement drop_passed = {
		NULL,
		"DELETE FROM pm_catalog.former_lane r "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		"AND position OPERATOR(pg_catalog.<=) ("
		"SELECT pg_catalog.min(c.position) FROM pm_catalog.cursor c "
		"WHERE c.process_manager OPERATOR(pg_catalog.=) $1 "
		"AND c.log OPERATOR(pg_catalog.=) r.log)",
		1,
		{TEXTOID},
	};
	Datum values[1] = {CStringGetTextDatum(pm->name)};

	(void) exec_as_owner(&drop_passed, values, NULL);
}

/*
 * Records up to where each lane has handled its logs.
 */
static void
repartition_record(ProcessManager *pm)
{
	/* There may be an older record with the same number of lanes. */
	static ExecStatement record = {
		NULL,
		"INSERT INTO pm_catalog.former_lane AS r (process_manager, log, lanes, lane, position) "
		"SELECT process_manager, log, $2, lane, position "
		"FROM pm_catalog.cursor "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		"ON CONFLICT (process_manager, log, lanes, lane) "
		"DO UPDATE SET position = greatest(r.position, EXCLUDED.position)",
		2,
		{TEXTOID, INT4OID},
	};
	Datum values[2];

	values[0] = CStringGetTextDatum(pm->name);
	values[1] = Int32GetDatum(pm->lanes);
	(void) exec_as_owner(&record, values, NULL);
}

/*
 * Timers and queues of parked events move with their keys.  An event without a key can
 * be in any lane.
 */
static void
repartition_keys(ProcessManager *pm, int lanes)
{
	static ExecStatement set_lanes = {
		NULL,
		"WITH t AS (UPDATE pm_catalog.timer SET lane = pm_catalog.lane_of(key, $2) "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1) "
		"UPDATE pm_catalog.parked SET lane = "
		"coalesce(pm_catalog.lane_of(key, $2), lane OPERATOR(pg_catalog.%) $2) "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1",
		2,
		{TEXTOID, INT4OID},
	};
	Datum values[2];

	values[0] = CStringGetTextDatum(pm->name);
	values[1] = Int32GetDatum(lanes);
	(void) exec_as_owner(&set_lanes, values, NULL);
	for (int lane = 0; lane < lanes; lane++)
	{
		head_forget(pm->name, lane);
		lane_touch(pm->name, lane);
	}
}

/*
 * A lane has halted before an event that may belong to another lane afterwards.
 * So the halt must be ended first.
 */
static void
repartition_refuse_halted(ProcessManager *pm)
{
	for (int lane = 0; lane < pm->lanes; lane++)
	{
		LaneState state;

		lane_state(pm, lane, &state);
		if (state.status == LANE_HALTED)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("process manager \"%s\" cannot change its lanes while one has halted",
							pm->name),
					 errdetail("Lane %d: %s.", lane, state.reason),
					 errhint("Keep lanes => %d, correct what has failed, and end the halt "
							 "with SELECT pm.resume(%s) first.",
							 pm->lanes, quote_literal_cstr(pm->name))));
	}
}

/*
 * Changes the number of lanes.
 */
void
repartition(ProcessManager *pm, int lanes)
{
	repartition_refuse_halted(pm);
	/* Record the positions before cursor_repartition() sets them back. */
	repartition_record(pm);
	cursor_repartition(pm, lanes);
	lane_repartition(pm, lanes);
	note_void(pm->name);
	repartition_keys(pm, lanes);
}
