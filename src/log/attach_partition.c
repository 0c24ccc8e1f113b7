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
 *
 * Of two open transactions, one can attach a partition with rows, and the other can make a log of
 * the partitioned table.  Neither sees what the other has written to the catalogs.  So
 * pm.attach_log takes a lock that the event trigger looks for, and then waits for the
 * transactions that hold the lock that attaching a partition takes on a partitioned table.  If
 * the event trigger does not find the lock, its transaction had locked the table earlier, and
 * pm.attach_log waits for that transaction.  The lock on the table itself could not be used: it
 * would block writers of the table, and any role that may read the table could hold it.
 */
#include "pm.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "commands/event_trigger.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/exec.h"
#include "base/identifier.h"
#include "log/attach_partition.h"
#include "log/attach_sequence.h"
#include "log/log_catalog.h"
#include "log/partition.h"
#include "log/partition_check.h"

/* The last part of the tag of the lock that pm.attach_log takes. */
#define ATTACH_PARTITION_LOCK 1

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
	const PartitionSet *set = partition_set_nowait(root, log->attnum[EVENT_POSITION]);

	partition_count_leaves(log->relid, log->attnum[EVENT_POSITION]);
	for (int i = 0; set != NULL && i < set->count; i++)
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

/* ---------- while the table is being attached ---------- */

static void
attach_partition_tag(LOCKTAG *tag, Oid root)
{
	SET_LOCKTAG_OBJECT(*tag, MyDatabaseId, exec_require_relid("log"), root, ATTACH_PARTITION_LOCK);
}

/*
 * Waits for the transactions that have attached a partition to this table.
 */
static void
attach_partition_wait_for(Oid relid)
{
	LOCKTAG tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
	WaitForLockers(tag, ShareUpdateExclusiveLock, false);
}

void
attach_partition_begin(Oid root)
{
	LOCKTAG tag;
	ListCell *lc;

	if (get_rel_relkind(root) != RELKIND_PARTITIONED_TABLE)
		return;
	attach_partition_tag(&tag, root);
	(void) LockAcquire(&tag, ShareLock, false, false);
	attach_partition_wait_for(root);
	/* Now all partitions that are partitioned themselves are known, or the lock is found. */
	foreach(lc, find_all_inheritors(root, NoLock, NULL))
		if (lfirst_oid(lc) != root && get_rel_relkind(lfirst_oid(lc)) == RELKIND_PARTITIONED_TABLE)
			attach_partition_wait_for(lfirst_oid(lc));
}

/*
 * Is another transaction making a log of the table at the top of this partition?
 */
static bool
attach_partition_is_beginning(Oid partition)
{
	Oid root = partition_root(partition);
	LOCKTAG tag;
	int count;

	if (!OidIsValid(root))
		return false;
	attach_partition_tag(&tag, root);
	pfree(GetLockConflicts(&tag, ExclusiveLock, &count));
	return count > 0;
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
 * The name of a table with rows: the partition or, if that is partitioned itself, a leaf of it.
 * NULL if there is none.
 */
static char *
attach_partition_rows(Oid partition)
{
	ListCell *lc;

	foreach(lc, find_all_inheritors(partition, AccessShareLock, NULL))
		if (attach_partition_has_rows(lfirst_oid(lc)))
			return get_rel_name(lfirst_oid(lc));
	return NULL;
}

static void
attach_partition_refuse_rows(const char *log, Oid partition)
{
	char *name = attach_partition_rows(partition);

	if (name == NULL)
		return;
	if (log == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot attach partition \"%s\", because it has rows, and another "
						"transaction is making a log of the partitioned table",
						name),
				 errdetail("Readers of the log may have passed their positions."),
				 errhint("Attach it while it is empty, or try again when the transaction that has "
						 "called pm.attach_log has ended.")));
	ereport(
		ERROR,
		(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		 errmsg("cannot attach partition \"%s\" to the table of log \"%s\", because it has rows",
				name, log),
		 errdetail("Readers of the log may have passed their positions."),
		 errhint("Attach it while it is empty, and insert the rows with new positions, or "
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
		if (!OidIsValid(partition))
			continue;
		log = attach_partition_log(partition);
		if (log != NULL || attach_partition_is_beginning(partition))
			attach_partition_refuse_rows(log, partition);
	}
	return (Datum) 0;
}
