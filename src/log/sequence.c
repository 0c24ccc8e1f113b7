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
#include "access/tupdesc.h"
#include "catalog/pg_sequence.h"
#include "commands/sequence.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "log/sequence.h"

/*
 * The page of a sequence holds one tuple, which nextval() changes in place under
 * the buffer's lock.  All its columns are of fixed width and not null.
 */
int64
sequence_read(Relation rel)
{
	Buffer buffer;
	Page page;
	HeapTupleHeader tuple;
	FormData_pg_sequence_data *data;
	int64 last;

	buffer = ReadBuffer(rel, 0);
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
	int64 last = sequence_read(rel);

	relation_close(rel, NoLock);
	return last;
}

Relation
sequence_open_nowait(Oid seqid)
{
	Relation rel;

	if (!ConditionalLockRelationOid(seqid, AccessShareLock))
		return NULL;
	/* While we hold the lock, the sequence cannot be dropped: check whether it still exists. */
	rel = try_relation_open(seqid, NoLock);
	if (rel == NULL || rel->rd_rel->relkind != RELKIND_SEQUENCE)
	{
		if (rel != NULL)
			relation_close(rel, NoLock);
		UnlockRelationOid(seqid, AccessShareLock);
		return NULL;
	}
	return rel;
}

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
