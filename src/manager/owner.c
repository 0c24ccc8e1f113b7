/*
 * owner.c
 *		The owners of process managers, as PostgreSQL knows them.
 *
 * DROP ROLE, DROP OWNED and REASSIGN OWNED know the objects of the server and
 * no others.  So each process manager is represented by one: a shell type of
 * its name in the schema pm_process_manager, which nobody can use for anything.
 * It belongs to the process manager's owner, so that DROP ROLE is refused in
 * every database of the cluster.  It depends on the tables of the logs that are
 * followed, so that DROP TABLE is refused without CASCADE.  A shell type cannot
 * be renamed or moved, so the name is all that ties the two together.
 *
 * The owner of the type is the owner of the process manager, also in a copy.
 * The registration repeats it, for dumps that are restored without owners:
 * owner_reassigned() and the event trigger pm_owner_after_alter() carry it over.
 * In a copy where a superuser owns the type, the owner goes by the name in the
 * registration.  drop.c has what becomes of the process manager when the type
 * is dropped.
 *
 * Whoever reassigns what a role owns has not looked at its code.  So a process
 * manager that becomes a superuser's that way calls nothing, until pm.set_owner
 * names both.
 */
#include "pm.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "commands/extension.h"
#include "commands/typecmds.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/exec.h"
#include "base/extension.h"
#include "base/within.h"
#include "log/highwater_ask.h"
#include "log/log_open.h"
#include "log/log_right.h"
#include "log/log_trouble.h"
#include "manager/handler_find.h"
#include "manager/manager_lock.h"
#include "manager/owner.h"
#include "manager/register.h"
#include "shmem/wakeup.h"

PG_FUNCTION_INFO_V1(pm_set_owner);
PG_FUNCTION_INFO_V1(pm_owner_after_alter);

/* ---------- the type that stands for a process manager ---------- */

/*
 * Its address; false if there is none.
 */
static bool
owner_type(const char *manager, ObjectAddress *address)
{
	Oid type = registry_type(manager);

	ObjectAddressSet(*address, TypeRelationId, type);
	return OidIsValid(type);
}

static bool
owner_is(const ObjectAddress *type, Oid role)
{
	HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type->objectId));
	bool same;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", type->objectId);
	same = ((Form_pg_type) GETSTRUCT(tuple))->typowner == role;
	ReleaseSysCache(tuple);
	return same;
}

/*
 * Records the owner of a process manager, and that it goes with the extension.
 */
void
owner_record(const char *manager, Oid role)
{
	Oid pm = get_extension_oid("pm", false);
	ObjectAddress address;
	ObjectAddress extension;

	if (owner_type(manager, &address))
	{
		if (!owner_is(&address, role))
			AlterTypeOwner_oid(address.objectId, role, true);
	}
	else
		address = TypeShellMake(manager, extension_schema(REGISTRY_TYPES), role);
	ObjectAddressSet(extension, ExtensionRelationId, pm);
	if (!list_member_oid(getAutoExtensionsOfObject(TypeRelationId, address.objectId), pm))
		recordDependencyOn(&address, &extension, DEPENDENCY_AUTO_EXTENSION);
	CommandCounterIncrement();
}

/*
 * The process manager is gone.
 */
void
owner_forget(const char *manager)
{
	ObjectAddress address;

	if (owner_type(manager, &address))
		performDeletion(&address, DROP_RESTRICT,
						PERFORM_DELETION_INTERNAL | PERFORM_DELETION_QUIETLY);
}

/*
 * The process manager does not follow the table's log any more.
 */
void
owner_unfollow(const char *manager, Oid relid)
{
	ObjectAddress address;

	if (owner_type(manager, &address))
		(void) deleteDependencyRecordsForSpecific(TypeRelationId, address.objectId,
												  DEPENDENCY_NORMAL, RelationRelationId, relid);
}

/*
 * Does the type depend on the table?
 */
static bool
owner_depends(const ObjectAddress *type, Oid relid)
{
	Relation depend = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple tuple;
	bool found = false;

	ScanKeyInit(&keys[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(type->classId));
	ScanKeyInit(&keys[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(type->objectId));
	scan = systable_beginscan(depend, DependDependerIndexId, true, NULL, 2, keys);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);

		found = form->refclassid == RelationRelationId && form->refobjid == relid &&
				form->deptype == DEPENDENCY_NORMAL;
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
	return found;
}

/*
 * The process manager follows the table's log.  What is recorded already is
 * left alone, whoever holds the table.  Does not wait while somebody holds it
 * exclusively: then a DROP without CASCADE is refused at its end only (drop.c).
 */
void
owner_follow(const char *manager, Oid relid)
{
	ObjectAddress address;
	ObjectAddress table;

	if (!owner_type(manager, &address) || owner_depends(&address, relid))
		return;
	if (!ConditionalLockRelationOid(relid, AccessShareLock) || get_rel_relkind(relid) == '\0')
		return;
	ObjectAddressSet(table, RelationRelationId, relid);
	recordDependencyOn(&address, &table, DEPENDENCY_NORMAL);
}

static void *
owner_relid(uint64 row)
{
	Oid *relid = palloc(sizeof(Oid));
	bool isnull;

	*relid = DatumGetObjectId(exec_value(row, 1, &isnull));
	return relid;
}

/*
 * The same for all that it follows.
 */
void
owner_follow_all(const char *manager)
{
	static ExecStatement tables =
		{NULL,
		 "SELECT DISTINCT l.source::pg_catalog.oid FROM pm_catalog.cursor c "
		 "JOIN pm_catalog.log l ON l.name OPERATOR(pg_catalog.=) c.log "
		 "WHERE c.process_manager OPERATOR(pg_catalog.=) $1",
		 1,
		 {TEXTOID}};
	Datum values[1] = {CStringGetTextDatum(manager)};
	ListCell *lc;

	foreach(lc, exec_list(&tables, values, NULL, owner_relid))
		owner_follow(manager, *(Oid *) lfirst(lc));
}

/* ---------- pm.set_owner ---------- */

/* What becomes of the owners of the functions in a registration. */
typedef enum OwnerFunctions
{
	OWNER_FUNCTIONS_STAY = 0,
	OWNER_FUNCTIONS_UNKNOWN = 1,
	OWNER_FUNCTIONS_NOW = 2
} OwnerFunctions;

/*
 * May this role have the process manager?  A log that somebody has locked is not
 * waited for, with the units in hand: the catalog tells the rights, and what row
 * policies hide is found by the first batch.
 */
static void
owner_check(ProcessManager *pm, Oid role)
{
	ListCell *lc;

	register_check_owner(role);
	handler_check_new_owner(pm, role);
	foreach(lc, pm->logs)
	{
		bool locked;
		PmLog *log = log_get_nowait(lfirst(lc), &locked);
		Oid relid;

		if (log == NULL && locked && log_find(lfirst(lc), &relid, true) != NULL)
			log_require_right(lfirst(lc), relid, role);
		/* Without a table there is nothing to have a right to. */
		if (log != NULL && *log->table != '\0')
			log_require_select(log, role);
	}
}

/*
 * Writes the owner into the registration.  What is known of the owners of its
 * functions stays, or is forgotten, or is looked at now.
 */
static void
owner_update(const char *manager, Oid role, OwnerFunctions functions)
{
	static ExecStatement update = {
		NULL,
		"UPDATE pm_catalog.process_manager m SET owner = $2, owner_name = $3::pg_catalog.name, "
		"handler_owner = CASE WHEN $4 OPERATOR(pg_catalog.=) 0 THEN m.handler_owner "
		"WHEN $4 OPERATOR(pg_catalog.=) 1 THEN NULL "
		"ELSE (SELECT p.proowner FROM pg_catalog.pg_proc p "
		"WHERE p.oid OPERATOR(pg_catalog.=) pg_catalog.to_regprocedure(m.handler)::pg_catalog.oid) END, "
		"correlate_owner = CASE WHEN $4 OPERATOR(pg_catalog.=) 0 THEN m.correlate_owner "
		"WHEN $4 OPERATOR(pg_catalog.=) 1 THEN NULL "
		"ELSE (SELECT p.proowner FROM pg_catalog.pg_proc p "
		"WHERE p.oid OPERATOR(pg_catalog.=) pg_catalog.to_regprocedure(m.correlate)::pg_catalog.oid) END "
		"WHERE m.name OPERATOR(pg_catalog.=) $1",
		4,
		{TEXTOID, OIDOID, TEXTOID, INT4OID}};
	Datum values[4];

	values[0] = CStringGetTextDatum(manager);
	values[1] = ObjectIdGetDatum(role);
	values[2] = CStringGetTextDatum(GetUserNameFromId(role, false));
	values[3] = Int32GetDatum(functions);
	(void) exec_as_owner(&update, values, NULL);
	registry_changed();
	ereport(LOG, (errmsg("process manager \"%s\" was given to role \"%s\" by \"%s\"", manager,
						 GetUserNameFromId(role, false), GetUserNameFromId(GetUserId(), false))));
}

/*
 * pm.set_owner(name, role)
 */
Datum
pm_set_owner(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid role = get_role_oid(text_to_cstring(PG_GETARG_TEXT_PP(1)), false);
	ProcessManager *pm;

	highwater_require_fresh_snapshots("pm.set_owner");
	exec_require_writable("pm.set_owner");
	within_refuse(name);
	pm = manager_lock(name, false);
	/* As ALTER ... OWNER TO: of an object of one's own, to a role that one can be. */
	compat_check_can_set_role(GetUserId(), role);
	owner_check(pm, role);
	/* The check above has found that superusers own them. */
	owner_update(pm->name, role, superuser_arg(role) ? OWNER_FUNCTIONS_NOW : OWNER_FUNCTIONS_STAY);
	owner_record(pm->name, role);
	owner_follow_all(pm->name);
	wakeup_announce();
	PG_RETURN_VOID();
}

/* ---------- REASSIGN OWNED, ALTER TYPE ---------- */

typedef struct OwnerChange
{
	char *manager;
	Oid role;
	bool from_superuser;
} OwnerChange;

static void *
owner_change(uint64 row)
{
	OwnerChange *change = palloc(sizeof(OwnerChange));
	bool isnull;

	change->manager = exec_text(row, 1);
	change->role = DatumGetObjectId(exec_value(row, 2, &isnull));
	change->from_superuser = DatumGetBool(exec_value(row, 3, &isnull));
	return change;
}

/*
 * Those whose type belongs to another role by now.
 */
static List *
owner_changes(void)
{
	static ExecStatement changes = {
		NULL,
		"SELECT p.name, t.typowner, EXISTS (SELECT FROM pg_catalog.pg_roles r "
		"WHERE r.oid OPERATOR(pg_catalog.=) p.owner AND r.rolsuper) FROM pm_catalog.process_manager p "
		"JOIN pg_catalog.pg_type t ON t.typname OPERATOR(pg_catalog.=) p.name::pg_catalog.name "
		"JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace "
		"WHERE n.nspname OPERATOR(pg_catalog.=) '" REGISTRY_TYPES "' "
		"AND p.system_identifier OPERATOR(pg_catalog.=) $1 AND p.database OPERATOR(pg_catalog.=) $2 "
		"AND p.owner OPERATOR(pg_catalog.<>) t.typowner",
		2,
		{INT8OID, OIDOID}};
	Datum values[2];

	values[0] = Int64GetDatum((int64) GetSystemIdentifier());
	values[1] = ObjectIdGetDatum(MyDatabaseId);
	return exec_list(&changes, values, NULL, owner_change);
}

/*
 * In a copy the name follows the owner of the type, for the time when that has
 * become a superuser.
 */
static void
owner_name_copies(void)
{
	static ExecStatement update = {
		NULL,
		"UPDATE pm_catalog.process_manager p SET owner_name = r.rolname FROM pg_catalog.pg_type t "
		"JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace "
		"JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) t.typowner "
		"WHERE t.typname OPERATOR(pg_catalog.=) p.name::pg_catalog.name "
		"AND n.nspname OPERATOR(pg_catalog.=) '" REGISTRY_TYPES "' "
		"AND (p.system_identifier OPERATOR(pg_catalog.<>) $1 OR p.database OPERATOR(pg_catalog.<>) $2) "
		"AND NOT r.rolsuper AND p.owner_name OPERATOR(pg_catalog.<>) r.rolname",
		2,
		{INT8OID, OIDOID}};
	Datum values[2];

	values[0] = Int64GetDatum((int64) GetSystemIdentifier());
	values[1] = ObjectIdGetDatum(MyDatabaseId);
	(void) exec_as_owner(&update, values, NULL);
}

/*
 * Those in a copy that REASSIGN OWNED is about, by their names.
 */
static List *
owner_changes_of_copies(ReassignOwnedStmt *reassign)
{
	static ExecStatement changes = {
		NULL,
		"SELECT p.name, $4, EXISTS (SELECT FROM pg_catalog.pg_roles r "
		"WHERE r.rolname OPERATOR(pg_catalog.=) p.owner_name AND r.rolsuper) FROM pm_catalog.process_manager p "
		"WHERE (p.system_identifier OPERATOR(pg_catalog.<>) $1 OR p.database OPERATOR(pg_catalog.<>) $2) "
		"AND p.owner_name::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($3)",
		4,
		{INT8OID, OIDOID, TEXTARRAYOID, OIDOID}};
	Datum values[4];
	Datum *names = palloc(sizeof(Datum) * list_length(reassign->roles));
	int count = 0;
	ListCell *lc;

	foreach(lc, reassign->roles)
		names[count++] = CStringGetTextDatum(
			GetUserNameFromId(get_rolespec_oid(lfirst(lc), false), false));
	values[0] = Int64GetDatum((int64) GetSystemIdentifier());
	values[1] = ObjectIdGetDatum(MyDatabaseId);
	values[2] = PointerGetDatum(construct_array(names, count, TEXTOID, -1, false, TYPALIGN_INT));
	values[3] = ObjectIdGetDatum(get_rolespec_oid(reassign->newrole, false));
	return exec_list(&changes, values, NULL, owner_change);
}

static void
owner_carry_over(List *changes)
{
	ListCell *lc;

	foreach(lc, changes)
	{
		OwnerChange *change = lfirst(lc);
		bool stops = superuser_arg(change->role) && !change->from_superuser;

		highwater_require_fresh_snapshots("changing the owner of a process manager");
		within_refuse(change->manager);
		(void) manager_lock_unchecked(change->manager);
		owner_update(change->manager, change->role,
					 stops ? OWNER_FUNCTIONS_UNKNOWN : OWNER_FUNCTIONS_STAY);
		if (stops)
			ereport(
				NOTICE,
				(errmsg("process manager \"%s\" became a superuser's, and stops", change->manager),
				 errhint("If its handler may run as a superuser, run SELECT pm.set_owner(%s, %s).",
						 quote_literal_cstr(change->manager),
						 quote_literal_cstr(GetUserNameFromId(change->role, false)))));
		wakeup_announce();
	}
}

/*
 * Called before REASSIGN OWNED, which refuses itself where nothing may be
 * written.
 */
void
owner_reassigning(void)
{
	if (!XactReadOnly && !IsInParallelMode() && OidIsValid(exec_catalog_relid("process_manager")))
		owner_name_copies();
}

/*
 * Called after REASSIGN OWNED, for which there are no event triggers in all
 * versions.  (Without the preloaded library nobody calls it, and the types
 * alone tell the owners.)
 */
void
owner_reassigned(ReassignOwnedStmt *reassign)
{
	if (!OidIsValid(exec_catalog_relid("process_manager")))
		return;
	CommandCounterIncrement();
	owner_carry_over(list_concat(owner_changes(), owner_changes_of_copies(reassign)));
}

/*
 * The event trigger pm_after_alter, after ALTER TYPE: the owner of the type has
 * become that of the process manager.
 */
Datum
pm_owner_after_alter(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("function was not called by event trigger manager")));
	owner_carry_over(owner_changes());
	owner_name_copies();
	PG_RETURN_NULL();
}
