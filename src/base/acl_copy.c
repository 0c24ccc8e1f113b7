/*
 * acl_copy.c
 *		Gives a relation the rights that roles have on another one.
 *
 * GRANT would not do: it names the current role as the one that has granted each right, and
 * ALTER DEFAULT PRIVILEGES may have given the new relation other rights.
 */
#include "pm.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/acl_copy.h"

/*
 * The rights in a row of pg_class or pg_attribute, and the roles that they mention; NULL if there
 * are only those that each relation has.
 */
static Acl *
acl_copy_read(Relation catalog, HeapTuple tuple, int column, int *count, Oid **members)
{
	bool isnull;
	Datum value = heap_getattr(tuple, column, RelationGetDescr(catalog), &isnull);

	*count = 0;
	*members = NULL;
	if (isnull)
		return NULL;
	*count = aclmembers(DatumGetAclP(value), members);
	return DatumGetAclPCopy(value);
}

/*
 * Copies the rights from one row to another, and records which roles they mention, so that DROP
 * ROLE finds them.  subid: of the column; 0 if it is the relation.
 */
static void
acl_copy_row(Relation catalog, int column, HeapTuple from, HeapTuple to, Oid relid, int32 subid,
			 Oid owner)
{
	int natts = RelationGetDescr(catalog)->natts;
	Datum *values = palloc0(sizeof(Datum) * natts);
	bool *nulls = palloc0(sizeof(bool) * natts);
	bool *replace = palloc0(sizeof(bool) * natts);
	int count;
	Oid *members;
	Acl *acl = acl_copy_read(catalog, from, column, &count, &members);
	int old_count;
	Oid *old_members;
	Acl *old = acl_copy_read(catalog, to, column, &old_count, &old_members);

	if (acl == NULL && old == NULL)
		return;
	replace[column - 1] = true;
	nulls[column - 1] = acl == NULL;
	values[column - 1] = PointerGetDatum(acl);
	CatalogTupleUpdate(catalog, &to->t_self,
					   heap_modify_tuple(to, RelationGetDescr(catalog), values, nulls, replace));
	updateAclDependencies(RelationRelationId, relid, subid, owner, old_count, old_members, count,
						  members);
}

/*
 * The columns of the two tables can have different numbers.
 */
static void
acl_copy_columns(Oid from, Oid to, Oid owner)
{
	Relation catalog = table_open(AttributeRelationId, RowExclusiveLock);
	Relation rel = table_open(to, NoLock);
	TupleDesc desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		HeapTuple source;
		HeapTuple target;

		if (att->attisdropped)
			continue;
		source = SearchSysCacheAttName(from, NameStr(att->attname));
		target = SearchSysCacheCopy2(ATTNUM, ObjectIdGetDatum(to), Int16GetDatum(att->attnum));
		if (!HeapTupleIsValid(target))
			elog(ERROR, "cache lookup failed for column %d of relation %u", att->attnum, to);
		if (!HeapTupleIsValid(source))
			continue;
		acl_copy_row(catalog, Anum_pg_attribute_attacl, source, target, to, att->attnum, owner);
		ReleaseSysCache(source);
	}
	table_close(rel, NoLock);
	table_close(catalog, RowExclusiveLock);
}

void
acl_copy(Oid from, Oid to)
{
	Relation catalog = table_open(RelationRelationId, RowExclusiveLock);
	HeapTuple source = SearchSysCache1(RELOID, ObjectIdGetDatum(from));
	HeapTuple target = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(to));
	Oid owner;

	if (!HeapTupleIsValid(source) || !HeapTupleIsValid(target))
		elog(ERROR, "cache lookup failed for relation %u or %u", from, to);
	owner = ((Form_pg_class) GETSTRUCT(target))->relowner;
	Assert(((Form_pg_class) GETSTRUCT(source))->relowner == owner);
	acl_copy_row(catalog, Anum_pg_class_relacl, source, target, to, 0, owner);
	ReleaseSysCache(source);
	table_close(catalog, RowExclusiveLock);
	if (get_rel_relkind(to) != RELKIND_SEQUENCE)
		acl_copy_columns(from, to, owner);
	CommandCounterIncrement();
}
