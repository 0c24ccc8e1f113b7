/*
 * insert_newest.c
 *		Finds the version of a stream in the partition that is being written.
 *
 * Most streams that are appended to have their last event in the newest partition.  If so, one
 * look at an index of that partition, which pm.append opens anyway, finds the version.  In all
 * other cases the caller looks in the way that covers them (stream_version.c).
 *
 * The caller has locked the stream, so nobody gives a version to another event of it.
 * Under the lock, the event with the highest version is the last one of the stream,
 * whatever any snapshot shows.  So the first entry from the end of the index is looked at
 * without a snapshot, and then the state of the row is checked.  The answer is certain only
 * if the row is committed, or written by this transaction, and neither updated nor deleted.
 * A scan with a dirty snapshot would not be correct, because it passes over a row that has
 * been updated, and may not see the row that has replaced it.
 *
 * The statement's snapshot is older than the look, so no entry of a row that it shows can be
 * removed meanwhile.
 */
#include "pm.h"

#include "access/genam.h"
#include "access/sysattr.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_type.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "log/insert_newest.h"
#include "log/sequence.h"

/*
 * The index of (stream, version), among those of the partition, which are open.
 */
static Relation
insert_newest_index(Insert *insert)
{
	AttrNumber stream = insert->attnum[EVENT_STREAM];

	for (int i = 0; i < insert->target->ri_NumIndices; i++)
	{
		Relation index = insert->target->ri_IndexRelationDescs[i];
		Form_pg_index form = index->rd_index;

		if (index->rd_rel->relam == BTREE_AM_OID && form->indisvalid && !form->indcheckxmin &&
			form->indnkeyatts == 2 && form->indkey.values[0] == stream &&
			form->indkey.values[1] == insert->attnum[EVENT_VERSION] &&
			index->rd_opfamily[0] == TEXT_BTREE_FAM_OID && index->rd_opcintype[0] == TEXTOID &&
			index->rd_opfamily[1] == INTEGER_BTREE_FAM_OID && index->rd_opcintype[1] == INT8OID &&
			index->rd_indoption[0] == 0 && index->rd_indoption[1] == 0 &&
			index->rd_indcollation[0] ==
				TupleDescAttr(RelationGetDescr(insert->rel), stream - 1)->attcollation &&
			RelationGetIndexPredicate(index) == NIL)
			return index;
	}
	return NULL;
}

/* Is the row in the slot one that nobody is about to remove, or to write? */
static bool
insert_newest_certain(Insert *insert)
{
	SnapshotData dirty;

	InitDirtySnapshot(dirty);
	return table_tuple_satisfies_snapshot(insert->rel, insert->slot, &dirty) &&
		   !TransactionIdIsValid(dirty.xmin) && !TransactionIdIsValid(dirty.xmax);
}

/*
 * Opens the partition of the sequence's last value, if the next position is most likely in it too.
 */
static bool
insert_newest_open(Insert *insert)
{
	const PartitionSet *set = insert->set;
	int64 last;
	int number;

	/* An event in a default partition can have any position. */
	if (set->count != set->nranged)
		return false;
	last = sequence_last(insert->log->seqid);
	number = partition_find(set, last);
	return number >= 0 && last < set->leaves[number].to && insert_into_leaf(insert, last + 1);
}

bool
insert_newest(Insert *insert, Datum stream, int64 *version)
{
	Relation index;
	IndexScanDesc scan;
	ScanKeyData keys[2];
	bool isnull;
	bool found;

	/* The snapshot of the transaction counts too, and it locks what it has read. */
	if (IsolationUsesXactSnapshot() || !ActiveSnapshotSet())
		return false;
	if (!insert_newest_open(insert))
		return false;
	index = insert_newest_index(insert);
	if (index == NULL)
		return false;
	scan = compat_index_beginscan(insert->rel, index, SnapshotAny, 2);
	ScanKeyEntryInitialize(&keys[0], 0, 1, BTEqualStrategyNumber, InvalidOid,
						   index->rd_indcollation[0], F_TEXTEQ, stream);
	/* Backwards from the highest version: NULLs are last in the index, and left out. */
	ScanKeyEntryInitialize(&keys[1], SK_ISNULL | SK_SEARCHNOTNULL, 2, InvalidStrategy, InvalidOid,
						   InvalidOid, InvalidOid, (Datum) 0);
	index_rescan(scan, keys, 2, NULL, 0);
	found = index_getnext_slot(scan, BackwardScanDirection, insert->slot) &&
			insert_newest_certain(insert);
	if (found)
	{
		*version = DatumGetInt64(
			slot_getattr(insert->slot, insert->attnum[EVENT_VERSION], &isnull));
		insert->last = DatumGetTransactionId(
			slot_getsysattr(insert->slot, MinTransactionIdAttributeNumber, &isnull));
	}
	index_endscan(scan);
	ExecClearTuple(insert->slot);
	return found;
}
