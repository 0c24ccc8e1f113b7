/*
 * partition_ddl.c
 *		Commands on the partitions of logs.
 *
 * ALTER TABLE ... ATTACH and DETACH PARTITION, and DROP TABLE, name their partition, and are
 * recognized before they run.  A partition can also be dropped with its schema or its owner, or
 * be truncated.  The object access hook sees these commands.
 *
 * A partition that is partitioned itself is refused: commands on its own partitions do not name the
 * log's table.
 *
 * Nothing is checked for a role that does not own the table, since the command will fail.
 */
#include "pm.h"

#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/lsyscache.h"

#include "log/partition.h"
#include "log/partition_ddl.h"
#include "log/partition_drop.h"

static object_access_hook_type prev_object_access;

/*
 * The name of the partitioned log that a command names; NULL if it is none, or not the caller's.
 */
static char *
partition_ddl_log(RangeVar *range, Oid *root)
{
	*root = RangeVarGetRelid(range, NoLock, true);
	if (!OidIsValid(*root) || get_rel_relkind(*root) != RELKIND_PARTITIONED_TABLE ||
		!compat_class_ownercheck(*root, GetUserId()))
		return NULL;
	return partition_log_name(*root);
}

COMPAT_NORETURN static void
partition_ddl_refuse_nested(const char *name)
{
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("a partition of event log \"%s\" cannot be partitioned itself", name),
					errhint("Create partitions that are ranges of positions.")));
}

/*
 * Refuses CREATE TABLE ... PARTITION OF ... PARTITION BY.
 */
static void
partition_ddl_create(CreateStmt *create)
{
	char *name;
	Oid root;

	if (create->partbound == NULL || create->partspec == NULL)
		return;
	name = partition_ddl_log(linitial_node(RangeVar, create->inhRelations), &root);
	if (name != NULL)
		partition_ddl_refuse_nested(name);
}

/*
 * Acts on the ATTACH or the DETACH in an ALTER TABLE.
 */
static void
partition_ddl_alter(AlterTableStmt *alter, bool before)
{
	ListCell *lc;

	foreach(lc, alter->cmds)
	{
		AlterTableCmd *command = lfirst_node(AlterTableCmd, lc);
		PartitionCmd *partition;
		char *name;
		Oid root;
		Oid leaf;

		if (command->subtype != (before ? AT_DetachPartition : AT_AttachPartition))
			continue;
		partition = castNode(PartitionCmd, command->def);
		name = partition_ddl_log(alter->relation, &root);
		leaf = name == NULL ? InvalidOid : RangeVarGetRelid(partition->name, NoLock, true);
		if (!OidIsValid(leaf) || partition_root(leaf) != root)
			continue;
		if (!before && get_rel_relkind(leaf) == RELKIND_PARTITIONED_TABLE)
			partition_ddl_refuse_nested(name);
		else if (!before)
			partition_attached(name, root, leaf);
		else if (get_rel_relkind(leaf) == RELKIND_RELATION)
			partition_drop_before(name, root, leaf,
								  partition->concurrent ? PARTITION_DETACH_CONCURRENTLY :
														  PARTITION_DETACH);
	}
}

/*
 * Acts on DROP TABLE, for each partition that it names.
 */
static void
partition_ddl_drop(DropStmt *drop)
{
	ListCell *lc;

	foreach(lc, drop->objects)
	{
		RangeVar *range = makeRangeVarFromNameList(lfirst_node(List, lc));
		Oid leaf = RangeVarGetRelid(range, NoLock, true);
		Oid root = OidIsValid(leaf) ? partition_root(leaf) : InvalidOid;
		char *name;

		if (!OidIsValid(root) || get_rel_relkind(leaf) != RELKIND_RELATION ||
			!compat_class_ownercheck(leaf, GetUserId()))
			continue;
		name = partition_log_name(root);
		if (name != NULL)
			partition_drop_before(name, root, leaf, PARTITION_DROP);
	}
}

void
partition_ddl_before(Node *statement)
{
	/* An error may have left something. */
	if (IsA(statement, AlterTableStmt) || IsA(statement, DropStmt) || IsA(statement, DropOwnedStmt))
		partition_drop_forget();
	if (IsA(statement, AlterTableStmt) && ((AlterTableStmt *) statement)->objtype == OBJECT_TABLE)
		partition_ddl_alter((AlterTableStmt *) statement, true);
	else if (IsA(statement, DropStmt) && ((DropStmt *) statement)->removeType == OBJECT_TABLE)
		partition_ddl_drop((DropStmt *) statement);
	else if (IsA(statement, CreateStmt))
		partition_ddl_create((CreateStmt *) statement);
}

void
partition_ddl_after(Node *statement)
{
	if (IsA(statement, AlterTableStmt) && ((AlterTableStmt *) statement)->objtype == OBJECT_TABLE)
		partition_ddl_alter((AlterTableStmt *) statement, false);
}

static void
partition_ddl_refuse_truncate(Oid relid)
{
	Oid root = partition_root(relid);
	char *name = OidIsValid(root) ? partition_log_name(root) : NULL;

	if (name != NULL)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("cannot truncate partition \"%s\" of event log \"%s\"",
							   get_rel_name(relid), name),
						errhint("Drop the partition when its events have been handled.")));
}

static void
partition_ddl_access(ObjectAccessType access, Oid class, Oid object, int subid, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, class, object, subid, arg);
	if (class != RelationRelationId || subid != 0 ||
		(access != OAT_DROP && access != OAT_TRUNCATE) || !get_rel_relispartition(object) ||
		get_rel_relkind(object) != RELKIND_RELATION)
		return;
	if (access == OAT_TRUNCATE)
		partition_ddl_refuse_truncate(object);
	else
		partition_drop_note(object);
}

void
partition_ddl_install(void)
{
	prev_object_access = object_access_hook;
	object_access_hook = partition_ddl_access;
}
