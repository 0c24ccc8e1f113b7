/*
 * stat_view.c
 *		The function behind pm.stat, and pm.stat_reset.
 *
 * The counters are those of shmem/stat.c.  Every role may call the function, so it returns
 * only rows of process managers that the caller may see.
 */
#include "pm.h"

#include "catalog/pg_authid.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "manager/registry.h"
#include "manager/status.h"
#include "shmem/stat.h"

PG_FUNCTION_INFO_V1(pm_stat_counters);
PG_FUNCTION_INFO_V1(pm_stat_reset);

/*
 * The same as pm_catalog.may_see().
 */
static bool
stat_view_may_see(const ProcessManager *pm)
{
	return has_privs_of_role(GetUserId(), ROLE_PG_MONITOR) ||
		   (OidIsValid(pm->owner) && has_privs_of_role(GetUserId(), pm->owner));
}

static void
stat_view_put(FunctionCallInfo fcinfo, const ProcessManager *pm, int lane)
{
	Datum values[10];
	bool nulls[10] = {false};
	StatCounts counts;
	TimestampTz since;

	if (!stat_read(pm->name, lane, &counts, &since))
		return;
	values[0] = CStringGetTextDatum(pm->name);
	values[1] = Int32GetDatum(lane);
	values[2] = Int64GetDatum(counts.events);
	values[3] = Int64GetDatum(counts.calls);
	values[4] = Int64GetDatum(counts.batches);
	values[5] = Float8GetDatum((double) counts.total_time / 1000);
	values[6] = Float8GetDatum((double) counts.max_time / 1000);
	values[7] = Int64GetDatum(counts.failures);
	values[8] = Int64GetDatum(counts.conflicts);
	values[9] = TimestampTzGetDatum(since);
	status_put(fcinfo, values, nulls);
}

/*
 * pm_catalog.counters(): process_manager, lane, events, calls, batches, total_time,
 * max_time (ms), failures, conflicts, reset_at.  No rows if nothing is counted, because the
 * library is not preloaded.
 */
Datum
pm_stat_counters(PG_FUNCTION_ARGS)
{
	ListCell *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, registry_load(InvalidOid))
	{
		ProcessManager *pm = lfirst(lc);

		for (int lane = 0; lane < pm->lanes && stat_view_may_see(pm); lane++)
			stat_view_put(fcinfo, pm, lane);
	}
	return (Datum) 0;
}

static void
stat_view_reset(const ProcessManager *pm)
{
	for (int lane = 0; lane < pm->lanes; lane++)
		stat_reset(pm->name, lane, pm->owner);
}

/*
 * pm.stat_reset(name): of one process manager, or of all that the caller may change
 */
Datum
pm_stat_reset(PG_FUNCTION_ARGS)
{
	ListCell *lc;

	if (!PG_ARGISNULL(0))
	{
		ProcessManager *pm = registry_get(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);

		registry_require_owner(pm);
		stat_view_reset(pm);
		PG_RETURN_VOID();
	}
	foreach(lc, registry_load(InvalidOid))
		if (registry_may_change(lfirst(lc)))
			stat_view_reset(lfirst(lc));
	PG_RETURN_VOID();
}
