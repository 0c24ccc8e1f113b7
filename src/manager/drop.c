/*
 * drop.c
 *		What becomes of logs and process managers when objects of the server are
 *		dropped.
 *
 * The event trigger pm_after_drop sees every object that a command drops.  A
 * table that is a log takes the log with it.  A process manager that follows
 * the log depends on the table (owner.c), so either the command said CASCADE,
 * and the process manager stops following, or there is none.  A type that
 * stands for a process manager and is dropped itself (DROP OWNED by its owner)
 * takes the process manager with it; one that goes along with a log's table
 * is made again, since the process manager stays.
 */
#include "pm.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "utils/builtins.h"

#include "base/exec.h"
#include "base/within.h"
#include "log/highwater_ask.h"
#include "log/log.h"
#include "log/log_catalog.h"
#include "manager/follow.h"
#include "manager/manager_lock.h"
#include "manager/shell_type.h"
#include "manager/unregister.h"
#include "shmem/wakeup.h"

PG_FUNCTION_INFO_V1(pm_drop_after_drop);

/* Something of ours that has been dropped. */
typedef struct Dropped
{
	Oid relid;	 /* of a log's table, or InvalidOid */
	char *name;	 /* of the log or the process manager */
	bool itself; /* it was to be dropped, not what it depends on */
} Dropped;

static void *
drop_form(uint64 row)
{
	Dropped *dropped = palloc(sizeof(Dropped));
	bool isnull;

	dropped->relid = DatumGetObjectId(exec_value(row, 1, &isnull));
	dropped->name = exec_text(row, 2);
	dropped->itself = DatumGetBool(exec_value(row, 3, &isnull));
	return dropped;
}

/*
 * What the command has dropped that is ours.
 */
static List *
drop_list(void)
{
	static ExecStatement select_dropped = {
		NULL,
		"SELECT d.objid, l.name, d.original FROM pg_catalog.pg_event_trigger_dropped_objects() d "
		"JOIN pm_catalog.log l ON l.source::pg_catalog.oid OPERATOR(pg_catalog.=) d.objid "
		"WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid "
		"AND d.objsubid OPERATOR(pg_catalog.=) 0 "
		"UNION ALL "
		"SELECT 0::pg_catalog.oid, d.object_name, d.original FROM pg_catalog.pg_event_trigger_dropped_objects() d "
		"WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass::pg_catalog.oid "
		"AND d.schema_name OPERATOR(pg_catalog.=) 'pm_process_manager'",
		0,
		{InvalidOid}};

	return exec_list(&select_dropped, NULL, NULL, drop_form);
}

static void *
drop_follower(uint64 row)
{
	return exec_text(row, 1);
}

/*
 * Did the command say that what depends on an object is to go as well?
 */
static bool
drop_cascades(Node *statement)
{
	if (IsA(statement, DropStmt))
		return ((DropStmt *) statement)->behavior == DROP_CASCADE;
	if (IsA(statement, DropOwnedStmt))
		return ((DropOwnedStmt *) statement)->behavior == DROP_CASCADE;
	return true;
}

/*
 * PostgreSQL would have refused it, had it known of the follower.  It does not
 * in a copy that nobody has adopted; nor when the type was made again while
 * somebody held the table.
 */
static void
drop_refuse(const char *log, const char *manager)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
		 errmsg("cannot drop the table of log \"%s\" because process manager \"%s\" follows it",
				log, manager),
		 errhint(
			 "Use DROP ... CASCADE to end that too. After SELECT pm.resume(%s) PostgreSQL knows of it.",
			 quote_literal_cstr(manager))));
}

/*
 * The log's table is gone: nobody follows it any more.
 */
static void
drop_log(const char *log, Oid relid, bool cascades)
{
	static ExecStatement followers = {
		NULL,
		"SELECT DISTINCT process_manager FROM pm_catalog.cursor WHERE log OPERATOR(pg_catalog.=) $1",
		1,
		{TEXTOID}};
	Datum values[1] = {CStringGetTextDatum(log)};
	ListCell *lc;

	foreach(lc, exec_list(&followers, values, NULL, drop_follower))
	{
		ProcessManager *pm;
		int64 parked;

		within_refuse(lfirst(lc));
		pm = manager_lock_unchecked(lfirst(lc));
		if (pm == NULL)
			continue;
		if (!cascades)
			drop_refuse(log, pm->name);
		parked = follow_end(pm, log);
		ereport(NOTICE, (errmsg("process manager \"%s\" does not follow log \"%s\" any more",
								pm->name, log),
						 parked > 0 ? errdetail("Parked events that were discarded: %lld.",
												(long long) parked) :
									  0));
	}
	log_catalog_delete(log);
	wakeup_forget(relid);
}

/*
 * The type of a process manager was dropped.
 */
static void
drop_manager(Dropped *dropped)
{
	ProcessManager *pm;

	within_refuse(dropped->name);
	pm = manager_lock_unchecked(dropped->name);
	if (pm == NULL)
		return;
	if (!dropped->itself)
	{
		if (OidIsValid(pm->owner))
			shell_type_record(pm->name, pm->owner);
		shell_type_depend_all(pm->name);
		return;
	}
	unregister(pm);
	ereport(NOTICE, (errmsg("process manager \"%s\" is unregistered", pm->name)));
}

/*
 * The event trigger pm_after_drop.
 */
Datum
pm_drop_after_drop(PG_FUNCTION_ARGS)
{
	List *all;
	ListCell *lc;
	bool cascades;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("function was not called by event trigger manager")));
	cascades = drop_cascades(((EventTriggerData *) fcinfo->context)->parsetree);
	all = drop_list();
	if (all == NIL)
		PG_RETURN_NULL();
	highwater_require_fresh_snapshots("dropping an event log or a process manager");

	/* What goes altogether first, then what it would have followed. */
	foreach(lc, all)
		if (!OidIsValid(((Dropped *) lfirst(lc))->relid) && ((Dropped *) lfirst(lc))->itself)
			drop_manager(lfirst(lc));
	foreach(lc, all)
		if (OidIsValid(((Dropped *) lfirst(lc))->relid))
			drop_log(((Dropped *) lfirst(lc))->name, ((Dropped *) lfirst(lc))->relid, cascades);
	CommandCounterIncrement();
	foreach(lc, all)
		if (!OidIsValid(((Dropped *) lfirst(lc))->relid) && !((Dropped *) lfirst(lc))->itself)
			drop_manager(lfirst(lc));
	registry_changed();
	PG_RETURN_NULL();
}
