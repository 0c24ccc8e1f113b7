/*
 * attach_partition.c
 *		The partitions of an attached table.
 *
 * A statement that names a partition does not lock the partitioned table.  So the locks of all
 * leaves count for the mark (highwater_holders.c), and each leaf must draw its positions from
 * the sequence of the partitioned table, or have no default, so that such a statement fails.
 *
 * A table that is attached as a partition brings its rows with it, at positions that readers
 * may have passed.  Nothing in the catalogs shows that afterwards.  So an event trigger refuses
 * a partition that has rows.  No row can be added meanwhile, because the command has locked the
 * partition exclusively.
 */
#include "pm.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "commands/event_trigger.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/identifier.h"
#include "log/attach_partition.h"
#include "log/attach_sequence.h"
#include "log/log_catalog.h"
#include "log/partition.h"
#include "log/partition_check.h"

PG_FUNCTION_INFO_V1(pm_attach_after_alter_table);

/* ---------- the leaves ---------- */

static void
attach_partition_check_sequence(PmLog *log, Relation root, Relation leaf, const char *name)
{
	AttrNumber attnum[EVENT_ATTRIBUTES + 1];
	Oid seqid;
	bool other;

	partition_columns(log, root, leaf, attnum);
	if (attnum[EVENT_POSITION] == InvalidAttrNumber)
		return;
	seqid = attach_sequence(leaf, attnum[EVENT_POSITION], &other);
	if (other || (OidIsValid(seqid) && seqid != log->seqid))
		log_note_problem(
			log,
			psprintf("partition %s of log \"%s\" does not draw its positions from the "
					 "sequence of the log",
					 name, log->name),
			psprintf("Run ALTER TABLE %s ALTER COLUMN %s DROP DEFAULT, or DROP IDENTITY.", name,
					 log->pos));
}

static void
attach_partition_check_leaf(PmLog *log, Relation root, Relation leaf)
{
	const char *name = identifier_of_relation(RelationGetRelid(leaf));

	if (name != NULL && partition_check_table(log, leaf, name))
		attach_partition_check_sequence(log, root, leaf, name);
}

/*
 * A leaf that another session has locked exclusively is not looked at: if that session changes
 * it, the log is checked again.
 */
void
attach_partition_check(PmLog *log, Relation root)
{
	const PartitionSet *set = partition_set(root, log->attnum[EVENT_POSITION]);

	partition_count_leaves(log->relid, log->attnum[EVENT_POSITION]);
	for (int i = 0; i < set->count; i++)
	{
		Oid relid = set->leaves[i].relid;
		Relation leaf;

		if (!ConditionalLockRelationOid(relid, AccessShareLock))
			continue;
		leaf = try_relation_open(relid, NoLock);
		if (leaf != NULL)
		{
			attach_partition_check_leaf(log, root, leaf);
			relation_close(leaf, NoLock);
		}
		UnlockRelationOid(relid, AccessShareLock);
	}
}

/* ---------- new partitions ---------- */

/*
 * The attached log over this table or over one of which it is a partition; NULL if there is
 * none.
 */
static char *
attach_partition_log(Oid relid)
{
	Oid root = partition_root(relid);
	char *name = log_catalog_name(OidIsValid(root) ? root : relid);
	LogRow row;

	return name != NULL && log_catalog_row(name, &row) && row.kind == LOG_ATTACHED ? name : NULL;
}

static bool
attach_partition_has_rows(Oid relid)
{
	Relation rel = table_open(relid, NoLock);
	bool found = false;

	if (rel->rd_rel->relkind == RELKIND_RELATION)
	{
		Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
		TableScanDesc scan = compat_table_beginscan(rel, snapshot);
		TupleTableSlot *slot = table_slot_create(rel, NULL);

		found = table_scan_getnextslot(scan, ForwardScanDirection, slot);
		ExecDropSingleTupleTableSlot(slot);
		table_endscan(scan);
		UnregisterSnapshot(snapshot);
	}
	table_close(rel, NoLock);
	return found;
}

/*
 * Refuses a partition that has rows.  It can be partitioned itself.
 */
static void
attach_partition_refuse_rows(const char *log, Oid partition)
{
	ListCell *lc;

	foreach(lc, find_all_inheritors(partition, AccessShareLock, NULL))
		if (attach_partition_has_rows(lfirst_oid(lc)))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("cannot attach partition \"%s\" to the table of log \"%s\", because it "
							"has rows",
							get_rel_name(lfirst_oid(lc)), log),
					 errdetail("Readers of the log may have passed their positions."),
					 errhint(
						 "Attach it while it is empty, and insert the rows with new positions, or "
						 "remove the log with pm.detach_log.")));
}

/*
 * Event trigger on the end of ALTER TABLE.
 */
Datum
pm_attach_after_alter_table(PG_FUNCTION_ARGS)
{
	EventTriggerData *data = (EventTriggerData *) fcinfo->context;
	AlterTableStmt *statement;
	ListCell *lc;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("pm_catalog.after_alter_table is an event trigger")));
	statement = (AlterTableStmt *) data->parsetree;
	if (!IsA(statement, AlterTableStmt))
		return (Datum) 0;
	foreach(lc, statement->cmds)
	{
		AlterTableCmd *command = lfirst_node(AlterTableCmd, lc);
		Oid partition;
		char *log;

		if (command->subtype != AT_AttachPartition)
			continue;
		/* The command has locked both tables. */
		partition = RangeVarGetRelid(castNode(PartitionCmd, command->def)->name, NoLock, true);
		log = OidIsValid(partition) ? attach_partition_log(partition) : NULL;
		if (log != NULL)
			attach_partition_refuse_rows(log, partition);
	}
	return (Datum) 0;
}
