/*
 * consumer_role.c
 *		Dependencies on the roles that may be consumers.
 *
 * If a role that may be a consumer could be dropped, a later role with the same OID would
 * be permitted in its place.  So pg_shdepend has an entry for each role, as for a role with
 * privileges on the shell type of the process manager (shell_type.c): DROP ROLE is refused
 * in every database of the cluster.  DROP OWNED removes the permission in this database, as
 * it revokes privileges.  The entries are removed with the type.
 *
 * Assumes that nobody grants privileges on a shell type: GRANT refuses that.
 */
#include "pm.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_shdepend.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "base/exec.h"
#include "manager/consumer_role.h"
#include "manager/register_consumer.h"

/* ---------- dependencies ---------- */

static Oid *
consumer_role_array(List *roles)
{
	Oid *array = palloc(sizeof(Oid) * Max(list_length(roles), 1));
	int count = 0;
	ListCell *lc;

	foreach(lc, roles)
		array[count++] = lfirst_oid(lc);
	return array;
}

/*
 * The roles that have an entry for the type, in the order of their OIDs.
 */
static List *
consumer_role_recorded(Oid type)
{
	Relation shdepend = table_open(SharedDependRelationId, AccessShareLock);
	ScanKeyData keys[3];
	SysScanDesc scan;
	HeapTuple tuple;
	List *roles = NIL;

	ScanKeyInit(&keys[0], Anum_pg_shdepend_dbid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(MyDatabaseId));
	ScanKeyInit(&keys[1], Anum_pg_shdepend_classid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(TypeRelationId));
	ScanKeyInit(&keys[2], Anum_pg_shdepend_objid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(type));
	scan = systable_beginscan(shdepend, SharedDependDependerIndexId, true, NULL, 3, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_shdepend form = (Form_pg_shdepend) GETSTRUCT(tuple);

		if (form->deptype == SHARED_DEPENDENCY_ACL)
			roles = list_append_unique_oid(roles, form->refobjid);
	}
	systable_endscan(scan);
	table_close(shdepend, AccessShareLock);
	list_sort(roles, list_oid_cmp);
	return roles;
}

void
consumer_role_record(const char *manager)
{
	ProcessManager *pm = registry_get(manager, true);
	Oid type = registry_type(manager);
	List *recorded;
	List *roles = NIL;
	ListCell *lc;

	if (pm == NULL || !OidIsValid(type))
		return;
	recorded = consumer_role_recorded(type);
	foreach(lc, pm->consumers)
		roles = list_append_unique_oid(roles, lfirst_oid(lc));
	list_sort(roles, list_oid_cmp);
	/* This locks the roles, and frees the arrays. */
	updateAclDependencies(TypeRelationId, type, 0, pm->owner, list_length(recorded),
						  consumer_role_array(recorded), list_length(roles),
						  consumer_role_array(roles));
	CommandCounterIncrement();
}

/* ---------- a copy ---------- */

void
consumer_role_adopt(const ProcessManager *pm)
{
	static ExecStatement update = {
		NULL,
		"UPDATE pm_catalog.process_manager SET consumers = $2, consumer_names = $3 "
		"WHERE id OPERATOR(pg_catalog.=) $1",
		3,
		{INT4OID, OIDARRAYOID, NAMEARRAYOID},
	};
	List *names = NIL;
	char nulls[3] = {' ', ' ', ' '};
	Datum values[3];
	ListCell *lc;

	foreach(lc, pm->consumers)
		names = lappend(names, GetUserNameFromId(lfirst_oid(lc), false));
	/* The OIDs from the original must go in any case: here they belong to other roles. */
	values[0] = Int32GetDatum(pm->id);
	values[1] = register_consumer_oids(names);
	values[2] = register_consumer_names(names);
	nulls[1] = nulls[2] = names == NIL ? 'n' : ' ';
	(void) exec_as_owner(&update, values, nulls);
}

/* ---------- DROP OWNED ---------- */

static void *
consumer_role_form_name(uint64 row)
{
	return exec_text(row, 1);
}

/*
 * Removes a role from the consumers.  In a copy, the names count.
 */
static void
consumer_role_remove(Oid role)
{
#define CONSUMER_ROLE_HOME                                                                         \
	"p.system_identifier OPERATOR(pg_catalog.=) $3 AND p.database OPERATOR(pg_catalog.=) $4"
#define CONSUMER_ROLE_KEPT                                                                         \
	"FROM ROWS FROM (pg_catalog.unnest(p.consumers), pg_catalog.unnest(p.consumer_names)) "        \
	"WITH ORDINALITY c(role, name, n) "                                                            \
	"WHERE CASE WHEN " CONSUMER_ROLE_HOME " THEN c.role OPERATOR(pg_catalog.<>) $1 "               \
	"ELSE c.name::pg_catalog.text OPERATOR(pg_catalog.<>) $2 END)"
	static ExecStatement remove = {
		NULL,
		"UPDATE pm_catalog.process_manager p SET "
		"consumers = (SELECT pg_catalog.array_agg(c.role ORDER BY c.n) " CONSUMER_ROLE_KEPT
		", consumer_names = (SELECT pg_catalog.array_agg(c.name ORDER BY c.n) " CONSUMER_ROLE_KEPT
		" WHERE CASE WHEN " CONSUMER_ROLE_HOME " THEN $1 OPERATOR(pg_catalog.=) ANY (p.consumers) "
		"ELSE $2 OPERATOR(pg_catalog.=) ANY (p.consumer_names::pg_catalog.text[]) END "
		"RETURNING p.name",
		4,
		{OIDOID, TEXTOID, INT8OID, OIDOID},
	};
	Datum values[4];
	List *changed;
	ListCell *lc;

	values[0] = ObjectIdGetDatum(role);
	values[1] = CStringGetTextDatum(GetUserNameFromId(role, false));
	values[2] = Int64GetDatum((int64) GetSystemIdentifier());
	values[3] = ObjectIdGetDatum(MyDatabaseId);
	changed = exec_list(&remove, values, NULL, consumer_role_form_name);
	if (changed == NIL)
		return;
	registry_changed();
	CommandCounterIncrement();
	foreach(lc, changed)
		consumer_role_record(lfirst(lc));
}

void
consumer_role_dropped(DropOwnedStmt *drop)
{
	ListCell *lc;

	if (!OidIsValid(exec_catalog_relid("lease")))
		return;
	CommandCounterIncrement();
	foreach(lc, drop->roles)
		consumer_role_remove(get_rolespec_oid(lfirst(lc), false));
}
