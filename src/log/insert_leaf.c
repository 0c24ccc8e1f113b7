/*
 * insert_leaf.c
 *		The partition into which an event is written.
 */
#include "pm.h"

#include "access/genam.h"
#include "catalog/pg_index.h"
#include "catalog/pg_trigger.h"
#include "storage/lmgr.h"
#include "utils/rel.h"

#include "log/guard_ddl.h"
#include "log/insert_leaf.h"

COMPAT_NORETURN static void
insert_leaf_refuse(PmLog *log, int64 position)
{
	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg("log \"%s\" has no partition for position %lld", log->name,
					(long long) position),
			 errdetail("The log is partitioned, and the last of its partitions may be full."),
			 errhint("Create a partition FOR VALUES FROM (%lld), or let pg_partman create them in "
					 "advance.",
					 (long long) position)));
}

const PartitionLeaf *
insert_leaf(PmLog *log, Relation root, const PartitionSet **set, int64 position)
{
	int number = partition_find(*set, position);

	/* It may have been attached since. */
	if (number < 0)
	{
		*set = partition_set(root, log->attnum[EVENT_POSITION]);
		number = partition_find(*set, position);
	}
	if (number >= 0)
		return &(*set)->leaves[number];
	/* A default partition, or one that is partitioned itself, may take it. */
	if ((*set)->count == (*set)->nranged)
		insert_leaf_refuse(log, position);
	return NULL;
}

/*
 * Does the leaf have only the guard's trigger, whose work pm.append does?
 */
static bool
insert_leaf_plain_triggers(Relation leaf)
{
	TriggerDesc *desc = leaf->trigdesc;
	const char *later;

	for (int i = 0; desc != NULL && i < desc->numtriggers; i++)
		if (TRIGGER_FOR_INSERT(desc->triggers[i].tgtype) &&
			TRIGGER_FOR_ROW(desc->triggers[i].tgtype) &&
			strcmp(desc->triggers[i].tgname, GUARD_ROW_TRIGGER) != 0)
			return false;
	return guard_missing_in_leaf(leaf, &later) == NULL;
}

/*
 * Does the leaf have no checks and, apart from the columns of an event, no column that has to be
 * computed or may not be NULL? Defaults of a partition do not apply to what is inserted into the
 * log.
 */
static bool
insert_leaf_plain_columns(Relation leaf, const AttrNumber *column)
{
	TupleDesc desc = RelationGetDescr(leaf);

	if (desc->constr != NULL && desc->constr->num_check > 0)
		return false;
	for (int i = EVENT_POSITION; i <= EVENT_ATTRIBUTES; i++)
		if (column[i] == InvalidAttrNumber)
			return false;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		bool written = false;

		for (int j = EVENT_POSITION; j <= EVENT_ATTRIBUTES; j++)
			written = written || column[j] == i + 1;
		if (att->attgenerated != '\0' || (!written && !att->attisdropped && att->attnotnull))
			return false;
	}
	return true;
}

/*
 * Does the leaf have no index that could refuse the row, except that of positions?
 */
static bool
insert_leaf_plain_indexes(Relation leaf)
{
	List *indexes = RelationGetIndexList(leaf);
	ListCell *lc;
	bool plain = true;

	foreach(lc, indexes)
	{
		Relation index = index_open(lfirst_oid(lc), AccessShareLock);

		if (!index->rd_index->indisready || !index->rd_index->indimmediate ||
			index->rd_index->indisexclusion)
			plain = false;
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return plain;
}

bool
insert_leaf_is_plain(Relation leaf, const AttrNumber *column)
{
	return insert_leaf_plain_triggers(leaf) && insert_leaf_plain_columns(leaf, column) &&
		   insert_leaf_plain_indexes(leaf);
}
