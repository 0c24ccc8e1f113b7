/*
 * sequence.c
 *		The last position that a log's sequence has handed out.
 *
 * Reads the sequence's one tuple from its page, without the rights check and
 * the SPI round trip of SELECT last_value: writers and readers do it often.
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
 * The last position handed out by an open sequence.
 *
 * The page of a sequence holds one tuple, changed in place under the buffer's
 * lock; all its columns are fixed-width and not null.
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

/*
 * The last position handed out by a sequence, which may have to wait for DDL
 * on it.
 */
int64
sequence_last(Oid seqid)
{
	Relation rel = relation_open(seqid, AccessShareLock);
	int64 last = sequence_read(rel);

	relation_close(rel, NoLock);
	return last;
}

/*
 * Opens a sequence without waiting; NULL while it is locked, or gone.
 */
Relation
sequence_open_nowait(Oid seqid)
{
	Relation rel;

	if (!ConditionalLockRelationOid(seqid, AccessShareLock))
		return NULL;
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

/*
 * The sequence of a log's position column, the first column that is GENERATED
 * ALWAYS AS IDENTITY.  InvalidOid when the table has none.
 */
Oid
sequence_of_log(Relation rel, AttrNumber *attnum)
{
	TupleDesc desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped || att->attidentity != ATTRIBUTE_IDENTITY_ALWAYS)
			continue;
		*attnum = att->attnum;
		return compat_identity_sequence(rel, att->attnum);
	}
	return InvalidOid;
}

/*
 * The relfilenode of a sequence: ALTER SEQUENCE ... RESTART changes it.
 */
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
