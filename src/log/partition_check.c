/*
 * partition_check.c
 *		Checks the partitions of a log.
 *
 * Each leaf must be an ordinary table with the guard's trigger (guard_row.c), which the owner
 * of the leaf can disable.  A leaf that another session has locked exclusively is not looked
 * at: if that session changes the leaf, the log is checked again.
 */
#include "pm.h"

#include "access/relation.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "base/identifier.h"
#include "log/guard_ddl.h"
#include "log/partition.h"
#include "log/partition_check.h"

bool
partition_check_table(PmLog *log, Relation leaf, const char *name)
{
	if (leaf->rd_rel->relkind != RELKIND_RELATION)
		log_note_problem(log,
						 psprintf("partition %s of log \"%s\" is not an ordinary table", name,
								  log->name),
						 "Detach it.");
	else if (leaf->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT)
		log_note_problem(log, psprintf("partition %s of log \"%s\" is not logged", name, log->name),
						 psprintf("Run ALTER TABLE %s SET LOGGED.", name));
	else
		return true;
	return false;
}

static void
partition_check_leaf(PmLog *log, Relation leaf)
{
	const char *later;
	const char *missing;
	const char *name = identifier_of_relation(RelationGetRelid(leaf));

	if (name == NULL)
		return;
	if (!partition_check_table(log, leaf, name))
		return;
	missing = guard_missing_in_leaf(leaf, &later);
	if (missing != NULL)
		log_note_problem(
			log,
			psprintf("trigger \"%s\" of partition %s of log \"%s\" is missing or disabled, so "
					 "events may be lost",
					 missing, name, log->name),
			psprintf("Run ALTER TABLE %s ENABLE ALWAYS TRIGGER %s.", name, missing));
	else if (later != NULL)
		log_note_problem(
			log,
			psprintf("trigger \"%s\" of partition %s of log \"%s\" fires after the one that checks "
					 "positions",
					 later, name, log->name),
			psprintf("Run ALTER TRIGGER %s ON %s RENAME TO a name that comes before \"%s\".",
					 quote_identifier(later), name, GUARD_ROW_TRIGGER));
}

void
partition_check(PmLog *log, Relation root)
{
	const PartitionSet *set;

	if (!partition_by_position(root, log->attnum[EVENT_POSITION]))
		log_note_problem(log,
						 psprintf("log \"%s\" is not partitioned by range of its positions",
								  log->name),
						 "Make a log with pm.create_log, and move the events.");
	set = partition_set_nowait(root, log->attnum[EVENT_POSITION]);
	for (int i = 0; set != NULL && i < set->count; i++)
	{
		Oid relid = set->leaves[i].relid;
		Relation leaf;

		if (!ConditionalLockRelationOid(relid, AccessShareLock))
			continue;
		leaf = try_relation_open(relid, NoLock);
		if (leaf != NULL)
		{
			partition_check_leaf(log, leaf);
			relation_close(leaf, NoLock);
		}
		UnlockRelationOid(relid, AccessShareLock);
	}
}
