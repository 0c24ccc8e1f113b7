/*
 * drop.c
 *		Follows DROP of the tables and types that represent logs and process managers.
 *
 * The event trigger pm_after_drop sees every object that a command drops.
 *
 * A log is dropped with its table.  A process manager that follows the log depends on
 * the table (shell_type.c).  So if a process manager follows the log, the command had
 * the option CASCADE, and the process manager no longer follows the log afterwards.
 *
 * A process manager is unregistered when its type is dropped by name or by DROP OWNED.
 * A type that is dropped because it depends on a log's table is created again, because
 * the process manager stays.
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
#include "log/partition_drop.h"
#include "manager/follow.h"
#include "manager/manager_lock.h"
#include "manager/shell_type.h"
#include "manager/unregister.h"
#include "shmem/wakeup.h"

PG_FUNCTION_INFO_V1(pm_drop_after_drop);

/* A log's table, or the type of a process manager, that has been dropped. */
typedef struct Dropped
{
	Oid relid;	 /* of the table; InvalidOid: a type */
	char *name;	 /* of the log or the process manager */
	bool itself; /* the command named it or its owner, not an object that it depends on */
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
 * What the command has dropped that is a log's table or a process manager's
 * type.
 */
static List *
drop_list(void)
{
	static ExecStatement select_dropped = {
		NULL,
		"SELECT d.objid, l.name, d.original "
		"FROM pg_catalog.pg_event_trigger_dropped_objects() d "
		"JOIN pm_catalog.log l "
		"ON l.source::pg_catalog.oid OPERATOR(pg_catalog.=) d.objid "
		"WHERE d.classid OPERATOR(pg_catalog.=) "
		"'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid "
		"AND d.objsubid OPERATOR(pg_catalog.=) 0 "
		"UNION ALL "
		"SELECT 0::pg_catalog.oid, d.object_name, d.original "
		"FROM pg_catalog.pg_event_trigger_dropped_objects() d "
		"WHERE d.classid OPERATOR(pg_catalog.=) "
		"'pg_catalog.pg_type'::pg_catalog.regclass::pg_catalog.oid "
		"AND d.schema_name OPERATOR(pg_catalog.=) '" REGISTRY_TYPES "'",
		0,
		{InvalidOid},
	};

	return exec_list(&select_dropped, NULL, NULL, drop_form);
}

static void *
drop_form_follower(uint64 row)
{
	return exec_text(row, 1);
}

/*
 * Does the command have the option CASCADE?  Also true for commands that have
 * no such option.
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
 * PostgreSQL itself refuses to drop a table on which a type depends.  That does
 * not happen if the dependency is missing: in a copy that has not been adopted,
 * or if the type was created again while another session had locked the table.
 */
static void
drop_refuse(const char *log, const char *manager)
{
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("cannot drop the table of log \"%s\" because process manager \"%s\" follows it",
					log, manager),
			 errhint("Use DROP ... CASCADE to make it stop following. "
					 "After SELECT pm.resume(%s), PostgreSQL itself knows of the dependency.",
					 quote_literal_cstr(manager))));
}

/*
 * A process manager no longer follows a log whose table was dropped.
 */
static void
drop_follower(const char *manager, const char *log, bool cascades)
{
	ProcessManager *pm;
	int64 parked;

	within_refuse(manager);
	pm = manager_lock_unchecked(manager);
	/* The process manager may have been unregistered while we waited. */
	if (pm == NULL)
		return;
	if (!cascades)
		drop_refuse(log, pm->name);
	parked = follow_end(pm, log);
	ereport(NOTICE, (errmsg("process manager \"%s\" no longer follows log \"%s\"", pm->name, log),
					 parked > 0 ?
						 errdetail("Parked events that were discarded: %lld.", (long long) parked) :
						 0));
}

/*
 * A log's table was dropped.
 */
static void
drop_log(const Dropped *dropped, bool cascades)
{
	static ExecStatement followers = {
		NULL,
		"SELECT DISTINCT process_manager FROM pm_catalog.cursor "
		"WHERE log OPERATOR(pg_catalog.=) $1",
		1,
		{TEXTOID},
	};
	Datum values[1] = {CStringGetTextDatum(dropped->name)};
	ListCell *lc;

	foreach(lc, exec_list(&followers, values, NULL, drop_form_follower))
		drop_follower(lfirst(lc), dropped->name, cascades);
	log_catalog_delete(dropped->name);
	wakeup_forget(dropped->relid);
}

/*
 * The type of a process manager was dropped by name, or with its owner.
 */
static void
drop_manager(const char *name)
{
	ProcessManager *pm;

	within_refuse(name);
	pm = manager_lock_unchecked(name);
	if (pm == NULL)
		return;
	unregister(pm);
	ereport(NOTICE, (errmsg("process manager \"%s\" is unregistered", pm->name)));
}

/*
 * The type of a process manager was dropped with a log's table.
 */
static void
drop_restore_type(const char *name)
{
	ProcessManager *pm;

	within_refuse(name);
	pm = manager_lock_unchecked(name);
	if (pm == NULL)
		return;
	if (OidIsValid(pm->owner))
		shell_type_record(pm->name, pm->owner);
	shell_type_depend_all(pm->name);
}

/*
 * Handles all dropped objects.  The order matters.
 */
static void
drop_all(List *all, bool cascades)
{
	ListCell *lc;

	/* First unregister process managers, so that they do not count as followers of dropped logs. */
	foreach(lc, all)
	{
		Dropped *dropped = lfirst(lc);

		if (!OidIsValid(dropped->relid) && dropped->itself)
			drop_manager(dropped->name);
	}
	foreach(lc, all)
	{
		Dropped *dropped = lfirst(lc);

		if (OidIsValid(dropped->relid))
			drop_log(dropped, cascades);
	}
	CommandCounterIncrement();

	/* Now the remaining process managers only follow logs that still exist. */
	foreach(lc, all)
	{
		Dropped *dropped = lfirst(lc);

		if (!OidIsValid(dropped->relid) && !dropped->itself)
			drop_restore_type(dropped->name);
	}
}

/*
 * The event trigger pm_after_drop.
 */
Datum
pm_drop_after_drop(PG_FUNCTION_ARGS)
{
	List *all;
	bool cascades;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("function was not called by event trigger manager")));
	partition_drop_check();
	cascades = drop_cascades(((EventTriggerData *) fcinfo->context)->parsetree);
	all = drop_list();
	if (all != NIL)
	{
		highwater_require_fresh_snapshots("dropping an event log or a process manager");
		drop_all(all, cascades);
		registry_changed();
	}
	PG_RETURN_NULL();
}
