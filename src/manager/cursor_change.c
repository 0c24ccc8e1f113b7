/*
 * cursor_change.c
 *		Adds and removes cursors, and sets them, when logs or lanes are added or removed.
 *
 * Assumes that the caller holds the locks of all units of the process manager.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/exec.h"
#include "log/name_right.h"
#include "manager/cursor_change.h"

/*
 * Adds the cursors in logs, one for each lane.  There may be thousands of logs, so they are
 * added to the registration's array in one statement.
 */
void
cursor_add(const char *manager, List *logs, const int64 *positions, int lanes)
{
	static ExecStatement add_logs = {
		NULL,
		"UPDATE pm_catalog.process_manager SET logs = pg_catalog.array_cat(logs, $2) "
		"WHERE name OPERATOR(pg_catalog.=) $1",
		2,
		{TEXTOID, TEXTARRAYOID},
	};
	static ExecStatement add_cursors = {
		NULL,
		"INSERT INTO pm_catalog.cursor (process_manager, log, lane, position) "
		"SELECT $1, l.log, n, l.position "
		"FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($4)) l (log, position), "
		"pg_catalog.generate_series(0, $3 OPERATOR(pg_catalog.-) 1) n",
		4,
		{TEXTOID, TEXTARRAYOID, INT4OID, INT8ARRAYOID},
	};
	int count = list_length(logs);
	Datum *names = palloc(sizeof(Datum) * Max(count, 1));
	Datum *at = palloc(sizeof(Datum) * Max(count, 1));
	Datum values[4];
	ListCell *lc;

	foreach(lc, logs)
	{
		names[foreach_current_index(lc)] = CStringGetTextDatum(lfirst(lc));
		at[foreach_current_index(lc)] = Int64GetDatum(positions[foreach_current_index(lc)]);
	}
	values[0] = CStringGetTextDatum(manager);
	values[1] = PointerGetDatum(construct_array(names, count, TEXTOID, -1, false, TYPALIGN_INT));
	values[2] = Int32GetDatum(lanes);
	values[3] = PointerGetDatum(
		construct_array(at, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	(void) exec_as_owner(&add_logs, values, NULL);
	(void) exec_as_owner(&add_cursors, values, NULL);
	name_right_use(manager, values[1]);
}

/*
 * Removes the cursors in a log.
 */
void
cursor_remove(const char *manager, const char *log)
{
	static ExecStatement remove_cursors = {
		NULL,
		"WITH c AS (DELETE FROM pm_catalog.cursor "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1 AND log OPERATOR(pg_catalog.=) $2) "
		"UPDATE pm_catalog.process_manager SET logs = pg_catalog.array_remove(logs, $2) "
		"WHERE name OPERATOR(pg_catalog.=) $1",
		2,
		{TEXTOID, TEXTOID},
	};
	Datum values[2];

	values[0] = CStringGetTextDatum(manager);
	values[1] = CStringGetTextDatum(log);
	(void) exec_as_owner(&remove_cursors, values, NULL);
}

/*
 * Sets the cursors in a log to a position, which may be lower than their
 * present ones.
 */
void
cursor_seek(const char *manager, const char *log, int64 position)
{
	static ExecStatement seek = {
		NULL,
		"UPDATE pm_catalog.cursor "
		"SET position = $3, moved_at = pg_catalog.clock_timestamp() "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1 AND log OPERATOR(pg_catalog.=) $2",
		3,
		{TEXTOID, TEXTOID, INT8OID},
	};
	Datum values[3];

	values[0] = CStringGetTextDatum(manager);
	values[1] = CStringGetTextDatum(log);
	values[2] = Int64GetDatum(position);
	(void) exec_as_owner(&seek, values, NULL);
}

/*
 * Are all lanes of a process manager at the same position, in each log?  Former
 * lanes count, as long as there are events that only they have handled.
 */
bool
cursor_level(ProcessManager *pm)
{
	static ExecStatement select_apart = {
		NULL,
		"SELECT FROM pm_catalog.cursor "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		"GROUP BY log "
		"HAVING pg_catalog.min(position) OPERATOR(pg_catalog.<) pg_catalog.max(position) "
		"UNION ALL "
		"SELECT FROM pm_catalog.former_lane r "
		"WHERE r.process_manager OPERATOR(pg_catalog.=) $1 "
		"AND r.position OPERATOR(pg_catalog.>) ANY ("
		"SELECT c.position FROM pm_catalog.cursor c "
		"WHERE c.process_manager OPERATOR(pg_catalog.=) $1 "
		"AND c.log OPERATOR(pg_catalog.=) r.log)",
		1,
		{TEXTOID},
	};
	Datum values[1] = {CStringGetTextDatum(pm->name)};

	return exec_as_owner(&select_apart, values, NULL) == 0;
}

/*
 * Changes the number of lanes.  All lanes start at the position of the old lane
 * that was furthest behind (repartition.c).
 */
void
cursor_repartition(ProcessManager *pm, int lanes)
{
	/* The events that a removed lane has handled are added to the count of lane 0. */
	static ExecStatement set_back = {
		NULL,
		"UPDATE pm_catalog.cursor c SET position = o.position, "
		"handled = CASE c.lane WHEN 0 THEN c.handled OPERATOR(pg_catalog.+) o.others "
		"ELSE c.handled END, "
		"rate = 0 "
		"FROM (SELECT log, pg_catalog.min(position) AS position, "
		"coalesce(pg_catalog.sum(handled) FILTER (WHERE lane OPERATOR(pg_catalog.>=) $2), 0)"
		"::pg_catalog.int8 AS others "
		"FROM pm_catalog.cursor "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		"GROUP BY log) o "
		"WHERE c.process_manager OPERATOR(pg_catalog.=) $1 "
		"AND c.log OPERATOR(pg_catalog.=) o.log",
		2,
		{TEXTOID, INT4OID},
	};
	static ExecStatement delete_lanes = {
		NULL,
		"DELETE FROM pm_catalog.cursor "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1 AND lane OPERATOR(pg_catalog.>=) $2",
		2,
		{TEXTOID, INT4OID},
	};
	static ExecStatement add_lanes = {
		NULL,
		"INSERT INTO pm_catalog.cursor (process_manager, log, lane, position) "
		"SELECT c.process_manager, c.log, n, c.position "
		"FROM pm_catalog.cursor c, "
		"pg_catalog.generate_series($3, $2 OPERATOR(pg_catalog.-) 1) n "
		"WHERE c.process_manager OPERATOR(pg_catalog.=) $1 AND c.lane OPERATOR(pg_catalog.=) 0",
		3,
		{TEXTOID, INT4OID, INT4OID},
	};
	Datum values[3];

	values[0] = CStringGetTextDatum(pm->name);
	values[1] = Int32GetDatum(lanes);
	values[2] = Int32GetDatum(pm->lanes);
	(void) exec_as_owner(&set_back, values, NULL);
	(void) exec_as_owner(&delete_lanes, values, NULL);
	(void) exec_as_owner(&add_lanes, values, NULL);
}
