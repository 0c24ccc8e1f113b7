/*
 * seek.c
 *		pm.seek: sets the cursors of a process manager in one log.
 *
 * It waits for the batches that run, and takes effect when its transaction
 * commits.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"

#include "base/exec.h"
#include "base/report.h"
#include "log/highwater_ask.h"
#include "log/log.h"
#include "log/log_open.h"
#include "manager/cursor.h"
#include "manager/cursor_change.h"
#include "manager/follow.h"
#include "manager/kept.h"
#include "manager/lane.h"
#include "manager/lease.h"
#include "manager/manager_lock.h"
#include "manager/repartition.h"

PG_FUNCTION_INFO_V1(pm_seek);

/*
 * Would events of the log be handled again, in some lane?
 */
static bool
seek_goes_back(ProcessManager *pm, const char *log, int64 after)
{
	ListCell *lc;

	for (int lane = 0; lane < pm->lanes; lane++)
		foreach(lc, cursor_list(pm, lane))
			if (strcmp(((Cursor *) lfirst(lc))->log, log) == 0 &&
				((Cursor *) lfirst(lc))->position > after)
				return true;
	/* A lane from before the number of lanes changed may have handled more than its successors. */
	foreach(lc, pm->former_lanes)
		if (strcmp(((FormerLane *) lfirst(lc))->log, log) == 0 &&
			((FormerLane *) lfirst(lc))->position > after)
			return true;
	return false;
}

/*
 * Instances, timers and parked events result from the events handled so far,
 * and would be wrong if some of these were handled again.  So it is an error to
 * go back while there are any, unless all of them are to be deleted.
 */
static void
seek_check_kept(ProcessManager *pm, const char *log, int64 after, bool reset)
{
	Kept kept = kept_count(pm->name);

	/* What is kept of instances that have ended is deleted too. */
	if (reset)
		kept_delete(pm->name);
	if (!kept_any(&kept))
		return;
	if (reset)
		ereport(NOTICE, (errmsg("deleted from process manager \"%s\": instances: %lld, timers: "
								"%lld, parked events: %lld",
								pm->name, (long long) kept.instances, (long long) kept.timers,
								(long long) kept.parked)));
	else if (seek_goes_back(pm, log, after))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot set process manager \"%s\" back to position %lld of log \"%s\"",
						pm->name, (long long) after, log),
				 errdetail("It has instances: %lld, timers: %lld, parked events: %lld.",
						   (long long) kept.instances, (long long) kept.timers,
						   (long long) kept.parked),
				 errhint("With reset => true they are deleted, those of its other logs too.")));
}

/*
 * Clears the state of a lane if it is about an event that is skipped now, or
 * that is to be handled as if for the first time.
 */
static void
seek_clear_lanes(ProcessManager *pm, const char *log, bool reset)
{
	for (int lane = 0; lane < pm->lanes; lane++)
	{
		LaneState state;

		lane_state(pm, lane, &state);
		/* With no log, what failed is a timer, which a reset has deleted. */
		if ((state.log != NULL && strcmp(state.log, log) == 0) ||
			(state.log == NULL && state.position != 0 && reset))
			lane_clear(pm->name, lane);
		lane_in_a_row(pm->name, lane, 0, false);
	}
}

/*
 * pm.seek(name, log, after, reset)
 */
Datum
pm_seek(PG_FUNCTION_ARGS)
{
	ProcessManager *pm = registry_get(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	int64 after = PG_GETARG_INT64(2);
	bool reset = PG_GETARG_BOOL(3);
	char *name;
	PmLog *log;

	/*
	 * Wait for the log's table before the units are locked.  Otherwise a
	 * session that holds the table would keep the process manager's other logs
	 * from being handled.
	 */
	registry_require_owner(pm);
	name = follow_name(pm, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	(void) log_open_as(name, pm->owner);

	/* While we waited, the registration and the table can have changed. */
	pm = manager_lock_for("pm.seek", pm->name);
	log = log_open_as(follow_name(pm, name), pm->owner);
	log_require_whole(log);
	/* pm.trim must not delete events between the check and our commit. */
	LockDatabaseObject(exec_catalog_relid("log"), log->relid, 0, RowExclusiveLock);
	highwater_require_position(log, after);
	seek_check_kept(pm, log->name, after, reset);

	cursor_seek(pm->name, log->name, after);
	repartition_forget(pm->name, log->name);
	lease_void(pm);
	seek_clear_lanes(pm, log->name, reset);
	ereport(LOG, (errmsg("process manager \"%s\" in database \"%s\" was set to position %lld "
						 "of log \"%s\" by \"%s\"",
						 pm->name, report_database(), (long long) after, log->name,
						 GetUserNameFromId(GetUserId(), false))));
	registry_changed();
	PG_RETURN_VOID();
}
