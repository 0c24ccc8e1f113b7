/*
 * log_read.c
 *		Reads a log's events by type, by stream, or by what their metadata contain.
 *
 * This is done along a suitable index if the log has one, and without a query:
 * the head of log_index.c says why.
 */
#include "pm.h"

#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "log/attached.h"
#include "log/log_audit.h"
#include "log/log_read.h"

/* The initial size of the array of rows. */
#define LOG_READ_ROOM 64

/* The OIDs of the GIN operator families jsonb_ops and jsonb_path_ops, for which C has no names. */
#define LOG_READ_JSONB_OPS		4036
#define LOG_READ_JSONB_PATH_OPS 4037

/* ---------- by type ---------- */

void
log_types_begin(LogTypes *types, PmLog *log, Datum array)
{
	Datum *elements;
	bool *nulls;
	int count;
	Oid type;
	int32 typmod;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &elements,
					  &nulls, &count);
	types->types = elements;
	types->count = 0;
	/* A NULL in the array matches nothing. */
	for (int i = 0; i < count; i++)
		if (!nulls[i])
			types->types[types->count++] = elements[i];
	if (log->attached != NULL)
	{
		types->collation = log->attached->collation;
		return;
	}
	get_atttypetypmodcoll(log->relid, log->attnum[EVENT_TYPE], &type, &typmod, &types->collation);
}

bool
log_types_have(const LogTypes *types, const EventFields *event)
{
	for (int i = 0; i < types->count && !event->nulls[EVENT_TYPE - 1]; i++)
		if (DatumGetBool(DirectFunctionCall2Coll(texteq, types->collation,
												 event->values[EVENT_TYPE - 1], types->types[i])))
			return true;
	return false;
}

/* ---------- by stream ---------- */

/* Where an event of the stream is. */
typedef struct StreamRow
{
	bool versionless; /* it has no version */
	int64 version;
	int64 position;
	ItemPointerData tid;
} StreamRow;

typedef struct StreamRows
{
	int64 count;
	int64 room;
	StreamRow *rows;
} StreamRows;

/*
 * The index of (stream, version) that pm.create_log makes.
 */
static bool
log_read_of_streams(LogIndexScan *scan, Relation index)
{
	AttrNumber stream = scan->log->attnum[EVENT_STREAM];

	return index->rd_rel->relam == BTREE_AM_OID && index->rd_index->indisunique &&
		   index->rd_index->indnkeyatts == 2 && index->rd_index->indkey.values[0] == stream &&
		   index->rd_index->indkey.values[1] == scan->log->attnum[EVENT_VERSION] &&
		   index->rd_opfamily[0] == TEXT_BTREE_FAM_OID && index->rd_opcintype[0] == TEXTOID &&
		   index->rd_opfamily[1] == INTEGER_BTREE_FAM_OID && index->rd_opcintype[1] == INT8OID &&
		   index->rd_indoption[0] == 0 && index->rd_indoption[1] == 0 &&
		   index->rd_indcollation[0] ==
			   TupleDescAttr(RelationGetDescr(scan->rel), stream - 1)->attcollation;
}

static int64
log_read_attribute(LogIndexScan *scan, int attribute, bool *isnull)
{
	Datum value = slot_getattr(scan->slot, scan->log->attnum[attribute], isnull);

	return *isnull ? 0 : DatumGetInt64(value);
}

static StreamRow *
log_read_add(StreamRows *rows)
{
	if (rows->count == rows->room)
	{
		rows->room = Max(rows->room * 2, LOG_READ_ROOM);
		rows->rows = rows->rows == NULL ? palloc(sizeof(StreamRow) * rows->room) :
										  repalloc_huge(rows->rows, sizeof(StreamRow) * rows->room);
	}
	return &rows->rows[rows->count++];
}

static void
log_read_note(StreamRows *rows, LogIndexScan *scan)
{
	StreamRow *row = log_read_add(rows);
	bool isnull;

	row->version = log_read_attribute(scan, EVENT_VERSION, &row->versionless);
	row->position = log_read_attribute(scan, EVENT_POSITION, &isnull);
	row->tid = scan->slot->tts_tid;
}

/*
 * Scans the index of streams for one stream, after a version.
 */
static void
log_read_after(LogIndexScan *scan, ScanKey keys, Datum stream, int64 after)
{
	Oid collation = scan->index->rd_indcollation[0];

	ScanKeyEntryInitialize(&keys[0], 0, 1, BTEqualStrategyNumber, InvalidOid, collation, F_TEXTEQ,
						   stream);
	ScanKeyEntryInitialize(&keys[1], 0, 2, BTGreaterStrategyNumber, InvalidOid, InvalidOid,
						   F_INT8GT, Int64GetDatum(after));
	log_index_along(scan, keys, 2);
}

/*
 * Collects the positions of a stream's events in the table, with the index of
 * streams.  The index has the versions in order, so no more rows are visited
 * than are wanted.
 */
static void
log_read_along_stream(LogIndexScan *scan, Datum stream, int64 after, int64 max_count,
					  StreamRows *rows)
{
	ScanKeyData keys[2];

	log_read_after(scan, keys, stream, after);
	while (rows->count < max_count && log_index_next(scan, ForwardScanDirection))
		log_read_note(rows, scan);
	if (after > 0 || rows->count >= max_count)
		return;
	/* Then those without a version, all of them: the index has them in no order. */
	ScanKeyEntryInitialize(&keys[1], SK_ISNULL | SK_SEARCHNULL, 2, InvalidStrategy, InvalidOid,
						   InvalidOid, InvalidOid, (Datum) 0);
	log_index_along(scan, keys, 2);
	while (log_index_next(scan, ForwardScanDirection))
		log_read_note(rows, scan);
}

/*
 * An index that finds the rows of a stream of an attached log.
 */
static bool
log_read_of_attached(LogIndexScan *scan, Relation index)
{
	AttrNumber stream = scan->log->attnum[EVENT_STREAM];

	return stream != InvalidAttrNumber && index->rd_rel->relam == BTREE_AM_OID &&
		   index->rd_index->indkey.values[0] == stream &&
		   index->rd_opfamily[0] == TEXT_BTREE_FAM_OID && index->rd_opcintype[0] == TEXTOID &&
		   index->rd_indcollation[0] ==
			   TupleDescAttr(RelationGetDescr(scan->rel), stream - 1)->attcollation;
}

/*
 * Notes the row in the slot if it is an event of the stream, after the version.
 */
static void
log_read_note_attached(LogIndexScan *scan, Datum stream, int64 after, StreamRows *rows)
{
	EventFields event;
	StreamRow *row;
	bool versionless;
	int64 version;

	log_index_event(scan, &event);
	if (scan->error != NULL)
		log_index_refuse_row(scan);
	if (!scan->passed ||
		!DatumGetBool(DirectFunctionCall2Coll(texteq, DEFAULT_COLLATION_OID,
											  event.values[EVENT_STREAM - 1], stream)))
		return;
	versionless = event.nulls[EVENT_VERSION - 1];
	version = versionless ? 0 : DatumGetInt64(event.values[EVENT_VERSION - 1]);
	if (versionless ? after > 0 : version <= after)
		return;
	row = log_read_add(rows);
	row->versionless = versionless;
	row->version = version;
	row->position = log_index_position(scan);
	row->tid = scan->slot->tts_tid;
}

/*
 * Collects the positions of a stream of an attached log.
 */
static void
log_read_attached(LogIndexScan *scan, Datum stream, int64 after, StreamRows *rows)
{
	ScanKeyData key;

	if (log_index_choose(scan, log_read_of_attached))
	{
		ScanKeyEntryInitialize(&key, 0, 1, BTEqualStrategyNumber, InvalidOid,
							   scan->index->rd_indcollation[0], F_TEXTEQ, stream);
		log_index_along(scan, &key, 1);
	}
	else if (log_index_choose(scan, log_index_of_positions))
		log_index_along(scan, NULL, 0);
	else
		log_index_refuse(scan->log);
	while (log_index_next(scan, ForwardScanDirection))
		log_read_note_attached(scan, stream, after, rows);
}

/*
 * Is the event in the slot one of the stream?
 */
static bool
log_read_is_of(LogIndexScan *scan, Datum stream)
{
	AttrNumber attnum = scan->log->attnum[EVENT_STREAM];
	Oid collation = TupleDescAttr(RelationGetDescr(scan->rel), attnum - 1)->attcollation;
	bool isnull;
	Datum value = slot_getattr(scan->slot, attnum, &isnull);

	return !isnull && DatumGetBool(DirectFunctionCall2Coll(texteq, collation, value, stream));
}

/*
 * Collects them without that index, by reading the whole log.
 */
static void
log_read_all(LogIndexScan *scan, Datum stream, int64 after, StreamRows *rows)
{
	log_index_along(scan, NULL, 0);
	while (log_index_next(scan, ForwardScanDirection))
	{
		bool isnull;
		int64 version;

		if (!log_read_is_of(scan, stream))
			continue;
		version = log_read_attribute(scan, EVENT_VERSION, &isnull);
		if (isnull ? after <= 0 : version > after)
			log_read_note(rows, scan);
	}
}

static int
log_read_compare(const void *a, const void *b)
{
	const StreamRow *one = a;
	const StreamRow *other = b;

	if (one->versionless != other->versionless)
		return one->versionless ? 1 : -1;
	if (one->version != other->version)
		return one->version < other->version ? -1 : 1;
	return one->position < other->position ? -1 : one->position > other->position ? 1 : 0;
}

/*
 * First collects the TIDs of the events and sorts them, then fetches the events
 * one by one.
 */
void
log_read_stream(PmLog *log, Datum stream, int64 after, int64 max_count, LogIndexTake take,
				void *arg)
{
	LogIndexScan scan;
	StreamRows rows = {0, 0, NULL};
	EventFields event;

	log_index_begin(&scan, log);
	log_audit(log, ACL_SELECT);
	if (scan.attached != NULL)
		log_read_attached(&scan, stream, after, &rows);
	else if (log_index_choose(&scan, log_read_of_streams))
		log_read_along_stream(&scan, stream, after, max_count, &rows);
	else if (log_index_choose(&scan, log_index_of_positions))
		log_read_all(&scan, stream, after, &rows);
	else
		log_index_refuse(log);
	if (rows.count > 1)
		qsort(rows.rows, rows.count, sizeof(StreamRow), log_read_compare);
	for (int64 i = 0; i < Min(rows.count, max_count); i++)
	{
		CHECK_FOR_INTERRUPTS();
		/* The scan's snapshot is still registered, so the row cannot have been vacuumed. */
		if (!table_tuple_fetch_row_version(scan.rel, &rows.rows[i].tid, scan.snapshot, scan.slot))
			elog(ERROR, "an event of log \"%s\" is gone", log->name);
		log_index_event(&scan, &event);
		if (scan.error != NULL)
			log_index_refuse_row(&scan);
		if (!take(arg, &event))
			break;
	}
	log_index_end(&scan);
}

/*
 * Does the stream have an event with a higher version?  The index that was chosen is
 * that of streams (by_stream), or that of positions.
 */
static bool
log_read_goes_on(LogIndexScan *scan, bool by_stream, Datum stream, int64 version)
{
	ScanKeyData keys[2];
	bool isnull;

	if (by_stream)
	{
		log_read_after(scan, keys, stream, version);
		return log_index_next(scan, ForwardScanDirection);
	}
	log_index_along(scan, NULL, 0);
	while (log_index_next(scan, ForwardScanDirection))
		if (log_read_is_of(scan, stream) &&
			log_read_attribute(scan, EVENT_VERSION, &isnull) > version && !isnull)
			return true;
	return false;
}

void
log_read_ends(PmLog *log, Datum *streams, Datum *versions, int count, bool *goes_on)
{
	LogIndexScan scan;
	bool by_stream;

	log_index_begin(&scan, log);
	by_stream = log_index_choose(&scan, log_read_of_streams);
	if (!by_stream && !log_index_choose(&scan, log_index_of_positions))
		log_index_refuse(log);
	for (int i = 0; i < count; i++)
		goes_on[i] = log_read_goes_on(&scan, by_stream, streams[i], DatumGetInt64(versions[i]));
	log_index_end(&scan);
}

/* ---------- by what the metadata contain ---------- */

/*
 * A GIN index of the metadata that supports @>.
 */
static bool
log_read_of_metadata(LogIndexScan *scan, Relation index)
{
	AttrNumber metadata = scan->log->attnum[EVENT_METADATA];

	return metadata != InvalidAttrNumber && index->rd_rel->relam == GIN_AM_OID &&
		   index->rd_index->indkey.values[0] == metadata &&
		   (index->rd_opfamily[0] == LOG_READ_JSONB_OPS ||
			index->rd_opfamily[0] == LOG_READ_JSONB_PATH_OPS);
}

/*
 * The rows that the index finds for any of the notes.
 */
static TIDBitmap *
log_read_bitmap(LogIndexScan *scan, List *notes)
{
	TIDBitmap *bitmap = tbm_create((Size) work_mem * 1024, NULL);
	IndexScanDesc index_scan = compat_index_beginscan_bitmap(scan->index, scan->snapshot, 1);
	ListCell *lc;

	foreach(lc, notes)
	{
		ScanKeyData key;

		ScanKeyEntryInitialize(&key, 0, 1, JsonbContainsStrategyNumber, InvalidOid, InvalidOid,
							   F_JSONB_CONTAINS, PointerGetDatum(lfirst(lc)));
		index_rescan(index_scan, &key, 1, NULL, 0);
		(void) index_getbitmap(index_scan, bitmap);
	}
	index_endscan(index_scan);
	return bitmap;
}

/*
 * Fetches the rows of one page of the bitmap.  If the page is lossy (count is
 * negative), the bitmap does not know which of its rows match, so all are
 * fetched.
 */
static void
log_read_page(LogIndexScan *scan, IndexFetchTableData *fetch, BlockNumber block,
			  OffsetNumber *offsets, int count, LogIndexTake take, void *arg)
{
	bool lossy = count < 0;

	for (int i = 0; i < (lossy ? MaxHeapTuplesPerPage : count); i++)
	{
		bool again = false;
		EventFields event;
		ItemPointerData tid;

		CHECK_FOR_INTERRUPTS();
		/* A HOT chain is followed from its root, as by an index scan. */
		ItemPointerSet(&tid, block, lossy ? FirstOffsetNumber + i : offsets[i]);
		if (!table_index_fetch_tuple(fetch, &tid, scan->snapshot, scan->slot, &again, NULL))
			continue;
		log_index_event(scan, &event);
		if (scan->passed)
			(void) take(arg, &event);
	}
}

bool
log_read_containing(PmLog *log, List *notes, LogIndexTake take, void *arg)
{
	LogIndexScan scan;
	OffsetNumber offsets[MaxHeapTuplesPerPage];
	TIDBitmap *bitmap;
	CompatBitmapIterator *iterator;
	IndexFetchTableData *fetch;
	BlockNumber block;
	int count;

	log_index_begin(&scan, log);
	if (!log_index_choose(&scan, log_read_of_metadata))
	{
		log_index_end(&scan);
		return false;
	}
	log_audit(log, ACL_SELECT);
	bitmap = log_read_bitmap(&scan, notes);
	fetch = compat_index_fetch_begin(scan.rel);
	iterator = compat_bitmap_begin(bitmap);
	while (compat_bitmap_next(iterator, &block, offsets, &count))
		log_read_page(&scan, fetch, block, offsets, count, take, arg);
	compat_bitmap_end(iterator);
	table_index_fetch_end(fetch);
	tbm_free(bitmap);
	log_index_end(&scan);
	return true;
}
