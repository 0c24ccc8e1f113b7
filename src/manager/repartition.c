/*
 * repartition.c
 *		Changing the number of a process manager's lanes.
 *
 * An event belongs to the lane that the hash of its key says, of so many.  When
 * the number changes, most keys change lanes, and the new lane of a key may be
 * behind or ahead of its old one.  Nobody waits for the lanes to meet.  All new
 * lanes start where the last of the old ones was, and what each of the old ones
 * had got past is written down, in pm_catalog.former_lane: an event is passed over if
 * its lane of then had got past it.  Several re-cuts add up, each says for
 * itself what was got past, until all lanes are past it.
 *
 * So nothing is skipped and nothing handled twice, as long as a key stays what
 * it is: with lanes a correlate function must be IMMUTABLE, and may only be
 * changed for another one while all lanes are at one position.
 *
 * The caller holds the locks of all units, of the old number; the new ones are
 * seen by nobody before the commit.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "base/exec.h"
#include "manager/cursor.h"
#include "manager/head.h"
#include "manager/lane.h"
#include "manager/repartition.h"

/*
 * Has a lane of the past got past the event of a key with this hash?
 */
bool
repartition_handled(List *repartitions, uint32 hash, int64 position)
{
	ListCell *lc;

	foreach(lc, repartitions)
	{
		FormerLane *past = lfirst(lc);

		if (position <= past->position && hash % past->lanes == past->lane)
			return true;
	}
	return false;
}

/*
 * Nothing is to be passed over any more in a log, or in any (NULL).
 */
void
repartition_forget(const char *manager, const char *log)
{
	static ExecStatement forget =
		{NULL,
		 "DELETE FROM pm_catalog.former_lane WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		 "AND ($2 IS NULL OR log OPERATOR(pg_catalog.=) $2)",
		 2,
		 {TEXTOID, TEXTOID}};
	Datum values[2];
	char nulls[2] = {' ', ' '};

	values[0] = CStringGetTextDatum(manager);
	values[1] = exec_text_arg(log, &nulls[1]);
	(void) exec_as_owner(&forget, values, nulls);
}

/*
 * Drops the notes that all lanes are past.
 */
void
repartition_drop_passed(ProcessManager *pm)
{
	static ExecStatement drop_passed = {
		NULL,
		"DELETE FROM pm_catalog.former_lane r WHERE process_manager OPERATOR(pg_catalog.=) $1 AND position OPERATOR(pg_catalog.<=) "
		"(SELECT pg_catalog.min(c.position) FROM pm_catalog.cursor c WHERE c.process_manager OPERATOR(pg_catalog.=) $1 "
		"AND c.log OPERATOR(pg_catalog.=) r.log)",
		1,
		{TEXTOID}};
	Datum values[1] = {CStringGetTextDatum(pm->name)};

	(void) exec_as_owner(&drop_passed, values, NULL);
}

/*
 * Writes down what the lanes have got past.
 */
static void
repartition_note(ProcessManager *pm)
{
	static ExecStatement note = {
		NULL,
		"INSERT INTO pm_catalog.former_lane AS r (process_manager, log, lanes, lane, position) "
		"SELECT process_manager, log, $2, lane, position FROM pm_catalog.cursor WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		"ON CONFLICT (process_manager, log, lanes, lane) DO UPDATE SET position = greatest(r.position, EXCLUDED.position)",
		2,
		{TEXTOID, INT4OID}};
	Datum values[2];

	values[0] = CStringGetTextDatum(pm->name);
	values[1] = Int32GetDatum(pm->lanes);
	(void) exec_as_owner(&note, values, NULL);
}

/*
 * Timers and queues of parked events go with their keys.
 */
static void
repartition_keys(ProcessManager *pm, int lanes)
{
	static ExecStatement set_lanes = {
		NULL,
		"WITH t AS (UPDATE pm_catalog.timer SET lane = pm_catalog.lane_of(key, $2) WHERE process_manager OPERATOR(pg_catalog.=) $1) "
		"UPDATE pm_catalog.parked SET lane = pm_catalog.lane_of(key, $2) WHERE process_manager OPERATOR(pg_catalog.=) $1",
		2,
		{TEXTOID, INT4OID}};
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
 * From now on so many lanes.
 */
void
repartition(ProcessManager *pm, int lanes)
{
	for (int lane = 0; lane < pm->lanes; lane++)
	{
		LaneState state;

		lane_state(pm, lane, &state);
		if (state.status == LANE_HALTED)
			ereport(
				ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("process manager \"%s\" cannot change its lanes while one has halted",
						pm->name),
				 errdetail("Lane %d: %s.", lane, state.reason),
				 errhint(
					 "Keep lanes => %d, correct what has failed, and end the halt with SELECT pm.resume(%s) first.",
					 pm->lanes, quote_literal_cstr(pm->name))));
	}
	repartition_note(pm);
	cursor_repartition(pm, lanes);
	lane_repartition(pm, lanes);
	repartition_keys(pm, lanes);
}
