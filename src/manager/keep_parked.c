/*
 * keep_parked.c
 *		pm.keep_parked: copies parked events, before a log loses them.
 *
 * The copies are in a table of their own (kept_event.c), so that the rows of parked events,
 * which belong to process managers of other roles, need not be changed or locked.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "base/argument.h"
#include "base/exec.h"
#include "base/version.h"
#include "log/highwater_ask.h"
#include "log/kept_event.h"
#include "log/log_index.h"
#include "log/log_open.h"
#include "log/log_trouble.h"

PG_FUNCTION_INFO_V1(pm_keep_parked);

static void *
keep_parked_form(uint64 row)
{
	int64 *position = palloc(sizeof(int64));
	bool isnull;

	*position = DatumGetInt64(exec_value(row, 1, &isnull));
	return position;
}

/*
 * The positions at which events of the log are parked and not copied yet.
 */
static List *
keep_parked_list(const char *log, int64 up_to)
{
	static ExecStatement parked =
		{NULL,
		 "SELECT DISTINCT p.position FROM pm_catalog.parked p "
		 "WHERE p.log OPERATOR(pg_catalog.=) $1 AND p.position OPERATOR(pg_catalog.<=) $2 "
		 "AND NOT EXISTS (SELECT FROM pm_catalog.kept_event k "
		 "WHERE k.log OPERATOR(pg_catalog.=) p.log "
		 "AND k.position OPERATOR(pg_catalog.=) p.position)",
		 2,
		 {TEXTOID, INT8OID}};
	Datum values[2] = {CStringGetTextDatum(log), Int64GetDatum(up_to)};

	return exec_list(&parked, values, NULL, keep_parked_form);
}

/*
 * Only a role that may delete the events of a log.
 */
static void
keep_parked_require_rights(PmLog *log)
{
	AclResult acl;

	log_require_select(log, GetUserId());
	acl = pg_class_aclcheck(log->relid, GetUserId(), ACL_DELETE);
	if (acl != ACLCHECK_OK)
		aclcheck_error(acl, OBJECT_TABLE, log->name);
	log_require_whole(log);
}

/*
 * pm.keep_parked(log, up_to)
 */
Datum
pm_keep_parked(PG_FUNCTION_ARGS)
{
	PmLog *log;
	LogIndexScan scan;
	EventFields event;
	int64 count = 0;
	ListCell *lc;

	version_require("0.2.0", "pm.keep_parked");
	highwater_require_fresh_snapshots("pm.keep_parked");
	exec_require_writable("pm.keep_parked");
	argument_not_null(fcinfo, 1, "up_to");
	log = log_open_as(log_arg_name(fcinfo, 0), GetUserId());
	keep_parked_require_rights(log);
	kept_event_tidy(log->name);
	if (!log_index_begin_lookups(&scan, log, true))
		log_index_refuse(log);
	foreach(lc, keep_parked_list(log->name, PG_GETARG_INT64(1)))
	{
		if (!log_index_look_up(&scan, *(int64 *) lfirst(lc), &event))
			continue;
		kept_event_add(&event);
		count++;
		CHECK_FOR_INTERRUPTS();
	}
	log_index_end(&scan);
	PG_RETURN_INT64(count);
}
