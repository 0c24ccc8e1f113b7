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
 *
 * A command looks up its tables by their names again, after what is done here.  If a table is
 * renamed meanwhile, it finds another one.  So the names are looked up again when the tables are
 * locked, and it is checked afterwards that the command has removed the partitions that were
 * checked, and no other.
 */
#include "pm.h"

#include "access/xact.h"
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
 * The name of the partitioned log that a command names; NULL if the table is no such log, or not
 * the caller's.
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

COMPAT_NORETURN static void
partition_ddl_refuse_renamed(const char *name)
{
	ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
					errmsg("a partition of event log \"%s\" was renamed or replaced while the "
						   "command waited",
						   name),
					errhint("Run the command again.")));
}

/*
 * The ATTACH or the DETACH in an ALTER TABLE; NULL if there is none.
 */
static AlterTableCmd *
partition_ddl_command(Node *statement)
{
	ListCell *lc;

	if (!IsA(statement, AlterTableStmt) || ((AlterTableStmt *) statement)->objtype != OBJECT_TABLE)
		return NULL;
	/* PostgreSQL's grammar allows nothing else in the same command. */
	foreach(lc, ((AlterTableStmt *) statement)->cmds)
	{
		AlterTableCmd *command = lfirst_node(AlterTableCmd, lc);

		if (command->subtype == AT_AttachPartition || command->subtype == AT_DetachPartition)
			return command;
	}
	return NULL;
}

bool
partition_ddl_concerns(Node *statement)
{
	return partition_ddl_command(statement) != NULL;
}

static Oid
partition_ddl_leaf(AlterTableCmd *command)
{
	return RangeVarGetRelid(castNode(PartitionCmd, command->def)->name, NoLock, true);
}

/*
 * Does what must be done before a DETACH.
 */
static List *
partition_ddl_detach(AlterTableStmt *alter, AlterTableCmd *command)
{
	Oid root;
	Oid again;
	char *name = partition_ddl_log(alter->relation, &root);
	Oid leaf = name == NULL ? InvalidOid : partition_ddl_leaf(command);

	if (!OidIsValid(leaf) || partition_root(leaf) != root ||
		get_rel_relkind(leaf) != RELKIND_RELATION)
		return NIL;
	partition_drop_before(name, root, leaf,
						  castNode(PartitionCmd, command->def)->concurrent ?
							  PARTITION_DETACH_CONCURRENTLY :
							  PARTITION_DETACH);
	if (partition_ddl_log(alter->relation, &again) == NULL || again != root ||
		partition_ddl_leaf(command) != leaf)
		partition_ddl_refuse_renamed(name);
	return list_make1_oid(leaf);
}

static void
partition_ddl_attached(AlterTableStmt *alter, AlterTableCmd *command)
{
	Oid root;
	char *name = partition_ddl_log(alter->relation, &root);
	Oid leaf = name == NULL ? InvalidOid : partition_ddl_leaf(command);

	if (!OidIsValid(leaf) || partition_root(leaf) != root)
		return;
	if (get_rel_relkind(leaf) == RELKIND_PARTITIONED_TABLE)
		partition_ddl_refuse_nested(name);
	partition_attached(name, root, leaf);
}

/*
 * The command has locked the tables that it has found.
 */
static void
partition_ddl_detached(AlterTableStmt *alter, AlterTableCmd *command, List *leaves)
{
	Oid root;
	char *name = partition_ddl_log(alter->relation, &root);
	Oid leaf = name == NULL ? InvalidOid : partition_ddl_leaf(command);

	if (OidIsValid(leaf) && get_rel_relkind(leaf) == RELKIND_RELATION &&
		!list_member_oid(leaves, leaf))
		partition_ddl_refuse_renamed(name);
}

/*
 * Acts on DROP TABLE, for each partition that it names.
 */
static List *
partition_ddl_drop(DropStmt *drop)
{
	List *leaves = NIL;
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
		if (name == NULL)
			continue;
		partition_drop_before(name, root, leaf, PARTITION_DROP);
		if (RangeVarGetRelid(range, NoLock, true) != leaf)
			partition_ddl_refuse_renamed(name);
		leaves = lappend_oid(leaves, leaf);
	}
	return leaves;
}

List *
partition_ddl_before(Node *statement)
{
	AlterTableCmd *command = partition_ddl_command(statement);

	/* An earlier command that failed may have left entries. */
	if (IsA(statement, AlterTableStmt) || IsA(statement, DropStmt) || IsA(statement, DropOwnedStmt))
		partition_drop_forget();
	if (command != NULL && command->subtype == AT_DetachPartition)
		return partition_ddl_detach((AlterTableStmt *) statement, command);
	if (IsA(statement, DropStmt) && ((DropStmt *) statement)->removeType == OBJECT_TABLE)
		return partition_ddl_drop((DropStmt *) statement);
	if (IsA(statement, CreateStmt))
		partition_ddl_create((CreateStmt *) statement);
	return NIL;
}

/*
 * Raises an error if a partition that was checked has not gone.
 */
static void
partition_ddl_require_gone(List *leaves)
{
	ListCell *lc;

	foreach(lc, leaves)
	{
		Oid root = partition_root(lfirst_oid(lc));
		char *name = OidIsValid(root) ? partition_log_name(root) : NULL;

		if (name != NULL)
			partition_ddl_refuse_renamed(name);
	}
}

void
partition_ddl_after(Node *statement, List *leaves)
{
	AlterTableCmd *command = statement == NULL ? NULL : partition_ddl_command(statement);

	if (leaves == NIL && command == NULL)
		return;
	CommandCounterIncrement();
	partition_ddl_require_gone(leaves);
	if (command != NULL && command->subtype == AT_DetachPartition)
		partition_ddl_detached((AlterTableStmt *) statement, command, leaves);
	else if (command != NULL)
		partition_ddl_attached((AlterTableStmt *) statement, command);
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
