/*
 * shell_type.c
 *		Maintains the shell types by which PostgreSQL knows process managers.
 *
 * DROP ROLE, DROP OWNED, REASSIGN OWNED and DROP TABLE only know the kinds of
 * objects that PostgreSQL has.  So each process manager is represented by such
 * an object: a shell type of its name in the schema pm_process_manager.  A shell
 * type cannot be used for anything.
 *
 * The type belongs to the owner of the process manager, so that DROP ROLE is
 * refused in every database of the cluster.  It depends on the tables of the
 * logs that the process manager follows, so that DROP TABLE without CASCADE is
 * refused.  DROP EXTENSION drops it.
 *
 * Assumes that a shell type cannot be renamed or moved to another schema: the
 * name is all that ties it to the process manager.
 */
#include "pm.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/typecmds.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/exec.h"
#include "base/extension.h"
#include "manager/registry.h"
#include "manager/shell_type.h"

/*
 * The address of a process manager's type; false if there is none.
 */
static bool
shell_type_find(const char *manager, ObjectAddress *type)
{
	Oid oid = registry_type(manager);

	ObjectAddressSet(*type, TypeRelationId, oid);
	return OidIsValid(oid);
}

static bool
shell_type_belongs_to(const ObjectAddress *type, Oid role)
{
	HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type->objectId));
	bool same;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", type->objectId);
	same = ((Form_pg_type) GETSTRUCT(tuple))->typowner == role;
	ReleaseSysCache(tuple);
	return same;
}

static Oid
shell_type_namespace(Oid type)
{
	HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	Oid nsp = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		nsp = ((Form_pg_type) GETSTRUCT(tuple))->typnamespace;
		ReleaseSysCache(tuple);
	}
	return nsp;
}

/*
 * Records which role owns a process manager, and that DROP EXTENSION drops its
 * type.
 */
void
shell_type_record(const char *manager, Oid owner)
{
	Oid pm = get_extension_oid("pm", false);
	ObjectAddress type;
	ObjectAddress extension;

	if (shell_type_find(manager, &type))
	{
		if (!shell_type_belongs_to(&type, owner))
			AlterTypeOwner_oid(type.objectId, owner, true);
	}
	else
		type = TypeShellMake(manager, extension_schema(REGISTRY_TYPES), owner);

	/*
	 * Do not make it a member of the extension: pg_dump leaves members out, and the
	 * owner would be lost.
	 */
	ObjectAddressSet(extension, ExtensionRelationId, pm);
	if (!list_member_oid(getAutoExtensionsOfObject(TypeRelationId, type.objectId), pm))
		recordDependencyOn(&type, &extension, DEPENDENCY_AUTO_EXTENSION);
	CommandCounterIncrement();
}

/*
 * The process manager is gone.
 */
void
shell_type_drop(const char *manager)
{
	ObjectAddress type;

	if (shell_type_find(manager, &type))
		performDeletion(&type, DROP_RESTRICT, PERFORM_DELETION_INTERNAL | PERFORM_DELETION_QUIETLY);
}

/*
 * The process manager no longer follows the table's log.
 */
void
shell_type_release(const char *manager, Oid relid)
{
	ObjectAddress type;

	if (shell_type_find(manager, &type))
		(void) deleteDependencyRecordsForSpecific(TypeRelationId, type.objectId, DEPENDENCY_NORMAL,
												  RelationRelationId, relid);
}

/*
 * Does the type depend on the table?  The rows are found by the table, because a process
 * manager may follow more logs than a log is followed by process managers.
 */
static bool
shell_type_depends(const ObjectAddress *type, Oid relid)
{
	Relation depend = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple tuple;
	bool found = false;

	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(RelationRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(depend, DependReferenceIndexId, true, NULL, 2, keys);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);

		found = form->classid == type->classId && form->objid == type->objectId &&
				form->deptype == DEPENDENCY_NORMAL;
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
	return found;
}

/*
 * The process manager follows the table's log.  Does not wait for a session
 * that holds the table exclusively.  The dependency is missing then, and a DROP
 * without CASCADE is refused only at its end (drop.c).
 */
void
shell_type_depend(const char *manager, Oid relid)
{
	ObjectAddress type;
	ObjectAddress table;

	/* A dependency that is already recorded needs no lock on the table. */
	if (!shell_type_find(manager, &type) || shell_type_depends(&type, relid))
		return;
	/* The table can have been dropped before we had the lock. */
	if (!ConditionalLockRelationOid(relid, AccessShareLock) || get_rel_relkind(relid) == '\0')
		return;
	ObjectAddressSet(table, RelationRelationId, relid);
	recordDependencyOn(&type, &table, DEPENDENCY_NORMAL);
}

/*
 * Another table has taken the place of a log's table.
 */
void
shell_type_move(Oid from, Oid to)
{
	Relation depend = table_open(DependRelationId, AccessShareLock);
	Oid nsp = extension_schema(REGISTRY_TYPES);
	List *types = NIL;
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple tuple;
	ListCell *lc;

	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(RelationRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(from));
	scan = systable_beginscan(depend, DependReferenceIndexId, true, NULL, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);

		if (form->classid == TypeRelationId && form->deptype == DEPENDENCY_NORMAL &&
			shell_type_namespace(form->objid) == nsp)
			types = lappend_oid(types, form->objid);
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
	foreach(lc, types)
		(void) changeDependencyFor(TypeRelationId, lfirst_oid(lc), RelationRelationId, from, to);
}

static void *
shell_type_form_relid(uint64 row)
{
	Oid *relid = palloc(sizeof(Oid));
	bool isnull;

	*relid = DatumGetObjectId(exec_value(row, 1, &isnull));
	return relid;
}

/*
 * The same for all logs that it follows.
 */
void
shell_type_depend_all(const char *manager)
{
	static ExecStatement tables = {
		NULL,
		"SELECT DISTINCT l.source::pg_catalog.oid "
		"FROM pm_catalog.cursor c "
		"JOIN pm_catalog.log l ON l.name OPERATOR(pg_catalog.=) c.log "
		"WHERE c.process_manager OPERATOR(pg_catalog.=) $1",
		1,
		{TEXTOID},
	};
	Datum values[1] = {CStringGetTextDatum(manager)};
	ListCell *lc;

	foreach(lc, exec_list(&tables, values, NULL, shell_type_form_relid))
		shell_type_depend(manager, *(Oid *) lfirst(lc));
}
