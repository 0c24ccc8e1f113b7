/*
 * stream_version.c
 *		The version of a stream in a partitioned log, under a lock of the stream.
 *
 * A unique index on (stream, version) over all partitions is not possible, so nothing but
 * pm.append keeps versions unique.  It locks the stream, finds the version, writes the
 * event, and releases the lock.  So a transaction holds one such lock at a time, however
 * many streams it appends to.  The next transaction that locks the stream finds the event,
 * although it is not committed, and waits for its transaction.  A snapshot that is taken
 * after that shows all events of the stream.
 *
 * Most streams have their last event in the newest partition, and one look there is enough
 * (insert_newest.c).  Otherwise two things are looked for in each partition, the newest first:
 * an event that another transaction has inserted and not committed (with a dirty snapshot), and
 * then the highest version (with a new snapshot).  One look with the dirty snapshot would not be
 * enough for both: it can miss an event that is being updated, by pm.erase for example.
 *
 * Versions of a stream rise with positions, because a position is drawn under the lock.  So the
 * first partition that has an event with a version has the highest one.  The other partitions
 * are only asked whether the stream has any event at all, and a partition that has none takes
 * one look at its index.
 */
#include "pm.h"

#include "access/relation.h"
#include "access/sysattr.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "nodes/tidbitmap.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "log/insert_newest.h"
#include "log/log_tables.h"
#include "log/sequence.h"
#include "log/stream_version.h"

/* Which partitions may have events of the stream. */
typedef struct StreamLook
{
	LogTables tables;
	Datum name;
	bool tried; /* the newest partition, which most likely has no event of the stream */
	int *found; /* numbers of tables in which the stream has entries */
	int nfound;
	bool stopped;		 /* the last of them has a version, so the older ones were not looked at */
	int64 version;		 /* the highest that was seen, by any transaction */
	TransactionId other; /* has inserted an event and not ended */
	TIDBitmap *bitmap;	 /* NULL: not needed yet */
} StreamLook;

/*
 * The lock belongs to the log, so a role that may not write the log cannot take it.  The class is
 * the log's sequence: that of ids is its table (append_once.c).
 */
static void
stream_version_tag(StreamVersion *stream, PmLog *log, Datum name)
{
	text *given = DatumGetTextPP(name);
	uint64 hash = hash_bytes_extended((const unsigned char *) VARDATA_ANY(given),
									  VARSIZE_ANY_EXHDR(given), 0);

	/* Two streams that have the same hash wait for each other, and nothing else. */
	SET_LOCKTAG_OBJECT(stream->tag, MyDatabaseId, log->seqid, (uint32) hash, (uint16) (hash >> 32));
}

/*
 * The index of (stream, version) of a partition.
 */
bool
stream_version_fits(LogScan *scan, Relation index)
{
	AttrNumber stream = scan->attnum[EVENT_STREAM];

	return index->rd_rel->relam == BTREE_AM_OID && index->rd_index->indnkeyatts == 2 &&
		   index->rd_index->indkey.values[0] == stream &&
		   index->rd_index->indkey.values[1] == scan->attnum[EVENT_VERSION] &&
		   index->rd_opfamily[0] == TEXT_BTREE_FAM_OID && index->rd_opcintype[0] == TEXTOID &&
		   index->rd_opfamily[1] == INTEGER_BTREE_FAM_OID && index->rd_opcintype[1] == INT8OID &&
		   index->rd_indoption[0] == 0 && index->rd_indoption[1] == 0 &&
		   index->rd_indcollation[0] ==
			   TupleDescAttr(RelationGetDescr(scan->rel), stream - 1)->attcollation;
}

/*
 * Scans the events of the stream, all, or only those with a version.
 */
static void
stream_version_along(LogScan *scan, Datum name, Snapshot snapshot, bool versions)
{
	ScanKeyData keys[2];

	scan->snapshot = snapshot;
	ScanKeyEntryInitialize(&keys[0], 0, 1, BTEqualStrategyNumber, InvalidOid,
						   scan->index->rd_indcollation[0], F_TEXTEQ, name);
	/* NULLs are last in the index, and left out. */
	ScanKeyEntryInitialize(&keys[1], SK_ISNULL | SK_SEARCHNOTNULL, 2, InvalidStrategy, InvalidOid,
						   InvalidOid, InvalidOid, (Datum) 0);
	log_scan_along(scan, keys, versions ? 2 : 1);
}

/*
 * Does the partition's index have an entry of the stream?  Only the index is opened, since most
 * partitions have none of a new stream.  True if it is not known.
 */
static bool
stream_version_may_have(StreamLook *look, int number)
{
	const PartitionSet *set = look->tables.set;
	const PartitionLeaf *leaf = set == NULL ? NULL : &set->leaves[number];
	bool may = true;
	Relation index;

	if (leaf == NULL || !OidIsValid(leaf->stream_index))
		return true;
	index = try_relation_open(leaf->stream_index, AccessShareLock);
	if (index == NULL)
		return true;
	if (index->rd_rel->relkind == RELKIND_INDEX && index->rd_index->indrelid == leaf->relid &&
		index->rd_index->indisvalid)
	{
		IndexScanDesc scan = compat_index_beginscan_bitmap(index, look->tables.snapshot, 1);
		ScanKeyData key;

		if (look->bitmap == NULL)
			look->bitmap = tbm_create((Size) work_mem * 1024, NULL);
		ScanKeyEntryInitialize(&key, 0, 1, BTEqualStrategyNumber, InvalidOid,
							   index->rd_indcollation[0], F_TEXTEQ, look->name);
		index_rescan(scan, &key, 1, NULL, 0);
		may = index_getbitmap(scan, look->bitmap) > 0;
		index_endscan(scan);
	}
	relation_close(index, AccessShareLock);
	return may;
}

/*
 * Looks for the event with the highest version, whether it is committed or not.
 */
static bool
stream_version_highest(StreamLook *look, LogScan *scan, int number)
{
	SnapshotData dirty;
	bool isnull;

	InitDirtySnapshot(dirty);
	stream_version_along(scan, look->name, &dirty, true);
	if (!log_scan_next(scan, BackwardScanDirection))
		return false;
	look->other = dirty.xmin;
	look->version = Max(look->version, log_scan_number(scan, EVENT_VERSION, &isnull));
	look->stopped = number < look->tables.ordered;
	return true;
}

/*
 * Looks into a partition for entries of the stream, and for an event that is not committed.  In
 * the newest one there most likely is one.
 */
static void
stream_version_look_at(StreamLook *look, int number, bool newest)
{
	LogScan scan;
	bool found;

	if ((!newest && !stream_version_may_have(look, number)) ||
		!log_tables_scan(&look->tables, number, stream_version_fits, &scan))
		return;
	if (look->tables.set != NULL)
		partition_note_index(look->tables.set, number, RelationGetRelid(scan.index));
	found = stream_version_highest(look, &scan, number);
	if (!found)
	{
		/* An entry of an event that is gone costs a further look, but none is missed. */
		stream_version_along(&scan, look->name, SnapshotAny, false);
		found = log_scan_next(&scan, ForwardScanDirection);
	}
	if (found)
		look->found[look->nfound++] = number;
	log_tables_scan_end(&look->tables, &scan);
}

/*
 * Looks into the partitions, from that of the sequence's last value to the oldest one.  There
 * are no events in the newer ones.  Those that are not in the order of positions come first.
 */
static void
stream_version_look(StreamLook *look)
{
	LogTables *tables = &look->tables;
	int first = tables->ordered - 1;

	look->nfound = 0;
	look->stopped = false;
	look->version = 0;
	look->other = InvalidTransactionId;
	if (tables->set != NULL)
		first = Min(first, partition_from(tables->set, sequence_last(tables->log->seqid)));
	for (int i = tables->count - 1; i >= 0 && !look->stopped; i--)
	{
		if (i < tables->ordered && i > first)
			continue;
		CHECK_FOR_INTERRUPTS();
		stream_version_look_at(look, i, i == first && !look->tried);
		if (TransactionIdIsValid(look->other))
			return;
	}
}

/*
 * Finds the highest version in a partition.
 */
static void
stream_version_read(StreamVersion *stream, StreamLook *look, int number)
{
	LogScan scan;
	int64 version;
	bool isnull;

	if (!log_tables_scan(&look->tables, number, stream_version_fits, &scan))
		return;
	stream_version_along(&scan, look->name, look->tables.snapshot, true);
	if (log_scan_next(&scan, BackwardScanDirection))
	{
		version = log_scan_number(&scan, EVENT_VERSION, &isnull);
		stream->any = true;
		if (version > stream->version)
		{
			stream->version = version;
			stream->last = DatumGetTransactionId(
				slot_getsysattr(scan.slot, MinTransactionIdAttributeNumber, &isnull));
		}
	}
	else if (!stream->any)
	{
		stream_version_along(&scan, look->name, look->tables.snapshot, false);
		stream->any = log_scan_next(&scan, ForwardScanDirection);
	}
	log_tables_scan_end(&look->tables, &scan);
}

/*
 * Reads the version from the partitions that were found.  False if it must be looked for again,
 * since the event at which the look stopped is gone.
 */
static bool
stream_version_find(StreamVersion *stream, StreamLook *look)
{
	Snapshot snapshot = RegisterSnapshot(GetTransactionSnapshot());

	stream->version = 0;
	stream->any = false;
	stream->last = InvalidTransactionId;
	look->tables.snapshot = snapshot;
	for (int i = 0; i < look->nfound; i++)
	{
		stream_version_read(stream, look, look->found[i]);
		if (stream->version > 0 && look->found[i] < look->tables.ordered)
			break;
	}
	UnregisterSnapshot(snapshot);
	stream->newer = IsolationUsesXactSnapshot() && look->version > stream->version;
	return !look->stopped || stream->version > 0 || stream->newer;
}

/*
 * Finds the version in all partitions.  False if it must be looked for again: the event at which
 * the look stopped is gone, or *other has inserted an event and not ended.
 */
static bool
stream_version_search(StreamVersion *stream, PmLog *log, Datum name, bool tried,
					  TransactionId *other)
{
	Snapshot snapshot;
	StreamLook look;
	bool done = false;

	/* What this transaction has written so far counts. */
	CommandCounterIncrement();
	/* While it is registered, no entry of an event that it shows is removed. */
	snapshot = RegisterSnapshot(GetTransactionSnapshot());
	look.name = name;
	look.tried = tried;
	look.bitmap = NULL;
	log_tables_begin(&look.tables, log, snapshot);
	look.found = palloc(sizeof(int) * Max(look.tables.count, 1));
	stream_version_look(&look);
	*other = look.other;
	if (!TransactionIdIsValid(look.other))
		done = stream_version_find(stream, &look);
	log_tables_end(&look.tables);
	UnregisterSnapshot(snapshot);
	pfree(look.found);
	if (look.bitmap != NULL)
		tbm_free(look.bitmap);
	return done;
}

void
stream_version_lock(StreamVersion *stream, PmLog *log, Datum name, Insert *insert)
{
	/* insert_newest() does not look if the transaction has one snapshot. */
	bool tried = insert != NULL && !IsolationUsesXactSnapshot();

	stream_version_tag(stream, log, name);
	for (;;)
	{
		TransactionId other;

		(void) LockAcquire(&stream->tag, ExclusiveLock, false, false);
		if (insert != NULL && insert_newest(insert, name, &stream->version))
		{
			stream->any = true;
			stream->newer = false;
			stream->last = insert->last;
			return;
		}
		if (stream_version_search(stream, log, name, tried, &other))
			return;
		/* While we wait, others may look too: they wait for the same transaction. */
		LockRelease(&stream->tag, ExclusiveLock, false);
		if (TransactionIdIsValid(other))
			XactLockTableWait(other, NULL, NULL, XLTW_None);
		CHECK_FOR_INTERRUPTS();
	}
}

void
stream_version_unlock(StreamVersion *stream)
{
	LockRelease(&stream->tag, ExclusiveLock, false);
}
