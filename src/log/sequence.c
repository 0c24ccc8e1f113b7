/*
 * sequence.c
 *		The last position that a log's sequence has handed out.
 *
 * Each batch and each writing transaction asks for it, so the sequence's one
 * tuple is read from its page, without the SPI round trip and the check of
 * rights that SELECT last_value would cost.
 */
#include "pm.h"

#include "access/relation.h"
#include "access/rmgr.h"
#include "access/tupdesc.h"
#include "access/xact.h"
#include "access/xloginsert.h"
#include "catalog/pg_sequence.h"
#include "commands/sequence.h"
#include "common/int.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/lmgr.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "log/sequence.h"

/* Files of sequences that need not be opened. */
typedef struct SequenceFile
{
	Oid seqid; /* hash key */
	CompatFile file;
} SequenceFile;

static HTAB *files = NULL;

/* ---------- reading ---------- */

/*
 * The page of a sequence holds one tuple, which nextval() changes in place under
 * the buffer's lock.  All its columns are of fixed width and not null.
 */
static int64
sequence_read_buffer(Buffer buffer)
{
	Page page;
	HeapTupleHeader tuple;
	FormData_pg_sequence_data *data;
	int64 last;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buffer);
	tuple = (HeapTupleHeader) PageGetItem(page, PageGetItemId(page, FirstOffsetNumber));
	data = (FormData_pg_sequence_data *) ((char *) tuple + tuple->t_hoff);
	/* Before the first nextval(), last_value is the next one, not the last. */
	last = data->last_value;
	if (!data->is_called && last > PG_INT64_MIN)
		last--;
	UnlockReleaseBuffer(buffer);
	return last;
}

int64
sequence_last(Oid seqid)
{
	Relation rel = relation_open(seqid, AccessShareLock);
	int64 last = sequence_read_buffer(ReadBuffer(rel, 0));

	relation_close(rel, NoLock);
	return last;
}

/*
 * Opening it is expensive the first time, because PostgreSQL then reads what the catalogs
 * say about it and its columns.  A session that looks at thousands of sequences need not
 * do that if it knows their files.
 */
bool
sequence_open_nowait(Oid seqid, Sequence *sequence)
{
	SequenceFile *known;

	if (!ConditionalLockRelationOid(seqid, AccessShareLock))
		return false;
	sequence->seqid = seqid;
	sequence->rel = NULL;
	/*
	 * Locking has processed the invalidations of earlier changes.  So the file is known only
	 * if the sequence still exists and has this file.
	 */
	known = files == NULL ? NULL : hash_search(files, &seqid, HASH_FIND, NULL);
	if (known != NULL)
	{
		sequence->file = known->file;
		return true;
	}
	/* While we hold the lock, the sequence cannot be dropped: check whether it still exists. */
	sequence->rel = try_relation_open(seqid, NoLock);
	if (sequence->rel != NULL && sequence->rel->rd_rel->relkind == RELKIND_SEQUENCE)
		return true;
	sequence_close(sequence);
	return false;
}

int64
sequence_read(const Sequence *sequence)
{
	if (sequence->rel != NULL)
		return sequence_read_buffer(ReadBuffer(sequence->rel, 0));
	return sequence_read_buffer(
		ReadBufferWithoutRelcache(sequence->file, MAIN_FORKNUM, 0, RBM_NORMAL, NULL, true));
}

/*
 * A file that is known belongs to committed rows, because a change by this transaction
 * itself makes it unknown.
 */
bool
sequence_is_new(const Sequence *sequence)
{
	return sequence->rel != NULL && compat_file_is_new(sequence->rel);
}

void
sequence_close(Sequence *sequence)
{
	if (sequence->rel != NULL)
		relation_close(sequence->rel, NoLock);
	UnlockRelationOid(sequence->seqid, AccessShareLock);
}

bool
sequence_look(Oid seqid, int64 *last)
{
	Sequence sequence;

	if (!OidIsValid(seqid) || !sequence_open_nowait(seqid, &sequence))
		return false;
	*last = sequence_read(&sequence);
	sequence_close(&sequence);
	return true;
}

/* ---------- known files ---------- */

/*
 * The caller has made sure that nothing has changed since it has read the row of the sequence
 * (relation_change.c), that the row is committed, and that the sequence is a permanent one.
 */
void
sequence_remember(Oid seqid, Oid tablespace, Oid file)
{
	SequenceFile *known;

	if (files == NULL)
	{
		HASHCTL ctl;

		memset(&ctl, 0, sizeof(ctl));
		ctl.keysize = sizeof(Oid);
		ctl.entrysize = sizeof(SequenceFile);
		files = hash_create("pm files of sequences", 64, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	known = hash_search(files, &seqid, HASH_ENTER, NULL);
	known->file = (CompatFile){OidIsValid(tablespace) ? tablespace : MyDatabaseTableSpace,
							   MyDatabaseId, file};
}

/*
 * Called for each invalidation, so this allocates nothing.
 */
void
sequence_forget(Oid relid)
{
	HASH_SEQ_STATUS scan;
	SequenceFile *known;

	if (files == NULL)
		return;
	if (OidIsValid(relid))
	{
		(void) hash_search(files, &relid, HASH_REMOVE, NULL);
		return;
	}
	hash_seq_init(&scan, files);
	while ((known = hash_seq_search(&scan)) != NULL)
		(void) hash_search(files, &known->seqid, HASH_REMOVE, NULL);
}

/* ---------- skipping positions ---------- */

/*
 * Raises the error that the sequence has no room to skip positions.
 */
COMPAT_NORETURN static void
sequence_refuse_skip(Relation rel, int64 count)
{
	ereport(ERROR,
			(errcode(ERRCODE_SEQUENCE_GENERATOR_LIMIT_EXCEEDED),
			 errmsg("sequence \"%s\" cannot skip %lld positions, as it must after a promotion",
					RelationGetRelationName(rel), (long long) count),
			 errdetail("That would exceed its maximum value. The old primary may have drawn these "
					   "positions."),
			 errhint("Give the sequence a higher MAXVALUE, or lower pm.promotion_gap.")));
}

/*
 * Writes the last value on the locked page, with the same WAL as nextval().
 */
static void
sequence_write(Relation rel, Buffer buffer, ItemId item, HeapTupleHeader tuple, int64 last)
{
	Page page = BufferGetPage(buffer);
	FormData_pg_sequence_data *data = (FormData_pg_sequence_data *) ((char *) tuple +
																	 tuple->t_hoff);

	START_CRIT_SECTION();
	data->last_value = last;
	data->is_called = true;
	data->log_cnt = 0;
	MarkBufferDirty(buffer);
	if (RelationNeedsWAL(rel))
	{
		xl_seq_rec record;
		XLogRecPtr end;

		compat_sequence_record(&record, rel);
		XLogBeginInsert();
		XLogRegisterBuffer(0, buffer, REGBUF_WILL_INIT);
		XLogRegisterData((char *) &record, sizeof(record));
		XLogRegisterData((char *) tuple, ItemIdGetLength(item));
		end = XLogInsert(RM_SEQ_ID, XLOG_SEQ_LOG);
		PageSetLSN(page, end);
	}
	END_CRIT_SECTION();
}

/*
 * With setval(), other sessions could draw positions between the time when the value is
 * computed and the time when it is written.  So this changes the page under the lock of
 * its buffer.
 */
void
sequence_skip(Oid seqid, int64 count, int64 *from, int64 *to)
{
	Relation rel = relation_open(seqid, RowExclusiveLock);
	HeapTuple definition = SearchSysCache1(SEQRELID, ObjectIdGetDatum(seqid));
	Form_pg_sequence form;
	Buffer buffer;
	ItemId item;
	HeapTupleHeader tuple;
	FormData_pg_sequence_data *data;
	int64 distance;
	int64 last;

	if (!HeapTupleIsValid(definition))
		elog(ERROR, "cache lookup failed for sequence %u", seqid);
	form = (Form_pg_sequence) GETSTRUCT(definition);
	if (pg_mul_s64_overflow(count, form->seqincrement, &distance))
		sequence_refuse_skip(rel, count);
	/* As in nextval(): the commit of this transaction must wait for the WAL. */
	if (RelationNeedsWAL(rel))
		(void) GetTopTransactionId();

	buffer = ReadBuffer(rel, 0);
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	item = PageGetItemId(BufferGetPage(buffer), FirstOffsetNumber);
	tuple = (HeapTupleHeader) PageGetItem(BufferGetPage(buffer), item);
	data = (FormData_pg_sequence_data *) ((char *) tuple + tuple->t_hoff);
	/* Before the first nextval(), last_value is the next one, not the last. */
	if (pg_sub_s64_overflow(data->last_value, data->is_called ? 0 : form->seqincrement, &last) ||
		pg_add_s64_overflow(last, distance, to) || *to > form->seqmax)
	{
		UnlockReleaseBuffer(buffer);
		sequence_refuse_skip(rel, count);
	}
	sequence_write(rel, buffer, item, tuple, *to);
	UnlockReleaseBuffer(buffer);
	ReleaseSysCache(definition);
	/* Keep the lock until the transaction ends, as nextval() does. */
	relation_close(rel, NoLock);
	*from = last + 1;
}

/* ---------- which sequence it is ---------- */

AttrNumber
sequence_column(Relation rel)
{
	TupleDesc desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS)
			return att->attnum;
	}
	return InvalidAttrNumber;
}

Oid
sequence_of_log(Relation rel, AttrNumber *attnum)
{
	*attnum = sequence_column(rel);
	return *attnum == InvalidAttrNumber ? InvalidOid : compat_identity_sequence(rel, *attnum);
}

Oid
sequence_file(Oid seqid)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(seqid));
	Oid file;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	file = ((Form_pg_class) GETSTRUCT(tuple))->relfilenode;
	ReleaseSysCache(tuple);
	return file;
}
