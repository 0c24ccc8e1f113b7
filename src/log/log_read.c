/*
 * log_read.c
 *		Reads a log's events by type or by stream.
 *
 * This is done along a suitable index if the log has one, and without a query:
 * the head of log_scan.c says why.
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
#include "utils/snapmgr.h"

#include "log/attached.h"
#include "log/log_audit.h"
#include "log/log_read.h"
#include "log/log_tables.h"

/* The initial size of the array of rows. */
#define LOG_READ_ROOM 64

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
	int table; /* its number */
	ItemPointerData tid;
} StreamRow;

typedef struct StreamRows
{
	int64 count;
	int64 room;
	StreamRow *rows;
} StreamRows;

/* What is looked for in each table. */
typedef struct StreamRead
{
	Datum stream;
	int64 after; /* a version */
	int64 max_count;
	LogScanFits fits;
	bool by_stream; /* along an index of streams that fits; if not, the whole table is read */
	StreamRows rows;
} StreamRead;

/*
 * The index of (stream, version) that pm.create_log makes.  It is unique, except over several
 * partitions.
 */
static bool
log_read_of_streams(LogScan *scan, Relation index)
{
	AttrNumber stream = scan->attnum[EVENT_STREAM];

	return index->rd_rel->relam == BTREE_AM_OID &&
		   (index->rd_index->indisunique || scan->log->partitioned) &&
		   index->rd_index->indnkeyatts == 2 && index->rd_index->indkey.values[0] == stream &&
		   index->rd_index->indkey.values[1] == scan->attnum[EVENT_VERSION] &&
		   index->rd_opfamily[0] == TEXT_BTREE_FAM_OID && index->rd_opcintype[0] == TEXTOID &&
		   index->rd_opfamily[1] == INTEGER_BTREE_FAM_OID && index->rd_opcintype[1] == INT8OID &&
		   index->rd_indoption[0] == 0 && index->rd_indoption[1] == 0 &&
		   index->rd_indcollation[0] ==
			   TupleDescAttr(RelationGetDescr(scan->rel), stream - 1)->attcollation;
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
log_read_note(StreamRows *rows, LogScan *scan, int table)
{
	StreamRow *row = log_read_add(rows);
	bool isnull;

	row->version = log_scan_number(scan, EVENT_VERSION, &isnull);
	row->versionless = isnull;
	row->position = log_scan_position(scan);
	row->table = table;
	row->tid = scan->slot->tts_tid;
}

/*
 * Scans the index of streams for one stream, after a version.
 */
static void
log_read_after(LogScan *scan, ScanKey keys, Datum stream, int64 after)
{
	Oid collation = scan->index->rd_indcollation[0];

	ScanKeyEntryInitialize(&keys[0], 0, 1, BTEqualStrategyNumber, InvalidOid, collation, F_TEXTEQ,
						   stream);
	ScanKeyEntryInitialize(&keys[1], 0, 2, BTGreaterStrategyNumber, InvalidOid, InvalidOid,
						   F_INT8GT, Int64GetDatum(after));
	log_scan_along(scan, keys, 2);
}

/*
 * Collects the places of a stream's events in the table, with the index of streams.  The
 * index has the versions in order, so no more rows are visited than are wanted.
 */
static void
log_read_along_stream(StreamRead *read, LogScan *scan, int table)
{
	StreamRows *rows = &read->rows;
	ScanKeyData keys[2];
	int64 last = read->max_count > PG_INT64_MAX - rows->count ? PG_INT64_MAX :
																rows->count + read->max_count;

	log_read_after(scan, keys, read->stream, read->after);
	while (rows->count < last && log_scan_next(scan, ForwardScanDirection))
		log_read_note(rows, scan, table);
	if (read->after > 0 || rows->count >= last)
		return;
	/* Then collect those without a version, all of them, because the index has them in no order. */
	ScanKeyEntryInitialize(&keys[1], SK_ISNULL | SK_SEARCHNULL, 2, InvalidStrategy, InvalidOid,
						   InvalidOid, InvalidOid, (Datum) 0);
	log_scan_along(scan, keys, 2);
	while (log_scan_next(scan, ForwardScanDirection))
		log_read_note(rows, scan, table);
}

/*
 * An index that finds the rows of a stream of an attached log.
 */
static bool
log_read_of_attached(LogScan *scan, Relation index)
{
	AttrNumber stream = scan->attnum[EVENT_STREAM];

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
log_read_note_attached(StreamRead *read, LogScan *scan, int table)
{
	EventFields event;
	StreamRow *row;
	bool versionless;
	int64 version;

	log_scan_event(scan, &event);
	if (scan->error != NULL)
		log_scan_refuse_row(scan);
	if (!scan->passed ||
		!DatumGetBool(DirectFunctionCall2Coll(texteq, DEFAULT_COLLATION_OID,
											  event.values[EVENT_STREAM - 1], read->stream)))
		return;
	versionless = event.nulls[EVENT_VERSION - 1];
	version = versionless ? 0 : DatumGetInt64(event.values[EVENT_VERSION - 1]);
	if (versionless ? read->after > 0 : version <= read->after)
		return;
	row = log_read_add(&read->rows);
	row->versionless = versionless;
	row->version = version;
	row->position = log_scan_position(scan);
	row->table = table;
	row->tid = scan->slot->tts_tid;
}

/*
 * Collects the rows of a stream of an attached log.
 */
static void
log_read_attached(StreamRead *read, LogScan *scan, int table)
{
	ScanKeyData key;

	if (read->by_stream)
	{
		ScanKeyEntryInitialize(&key, 0, 1, BTEqualStrategyNumber, InvalidOid,
							   scan->index->rd_indcollation[0], F_TEXTEQ, read->stream);
		log_scan_along(scan, &key, 1);
	}
	else
		log_scan_along(scan, NULL, 0);
	while (log_scan_next(scan, ForwardScanDirection))
		log_read_note_attached(read, scan, table);
}

/*
 * Is the event in the slot one of the stream?
 */
static bool
log_read_is_of(LogScan *scan, Datum stream)
{
	AttrNumber attnum = scan->attnum[EVENT_STREAM];
	Oid collation = TupleDescAttr(RelationGetDescr(scan->rel), attnum - 1)->attcollation;
	bool isnull;
	Datum value = slot_getattr(scan->slot, attnum, &isnull);

	return !isnull && DatumGetBool(DirectFunctionCall2Coll(texteq, collation, value, stream));
}

/*
 * Collects them without that index, by reading the whole table.
 */
static void
log_read_all(StreamRead *read, LogScan *scan, int table)
{
	log_scan_along(scan, NULL, 0);
	while (log_scan_next(scan, ForwardScanDirection))
	{
		bool isnull;
		int64 version;

		if (!log_read_is_of(scan, read->stream))
			continue;
		version = log_scan_number(scan, EVENT_VERSION, &isnull);
		if (isnull ? read->after <= 0 : version > read->after)
			log_read_note(&read->rows, scan, table);
	}
}

/*
 * Collects the events of the stream in one table.  *complete is whether no older partition can
 * have one that is wanted.
 */
static void
log_read_table(StreamRead *read, LogTables *tables, LogScan *scan, int number, bool *complete)
{
	int64 before = read->rows.count;
	int64 lowest = PG_INT64_MAX;

	if (!log_tables_scan(tables, number, read->by_stream ? read->fits : log_scan_of_positions,
						 scan))
	{
		scan->rel = NULL;
		return;
	}
	if (scan->attached != NULL)
	{
		/* Nothing is known of how its versions and positions belong together. */
		log_read_attached(read, scan, number);
		return;
	}
	if (read->by_stream)
		log_read_along_stream(read, scan, number);
	else
		log_read_all(read, scan, number);
	for (int64 i = before; i < read->rows.count; i++)
		if (!read->rows.rows[i].versionless)
			lowest = Min(lowest, read->rows.rows[i].version);
	*complete = read->after > 0 && lowest == read->after + 1;
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
 * Hands the events that were found to the caller, in their order.
 */
static void
log_read_take(StreamRead *read, LogScan *scans, LogIndexTake take, void *arg)
{
	StreamRows *rows = &read->rows;
	EventFields event;

	if (rows->count > 1)
		qsort(rows->rows, rows->count, sizeof(StreamRow), log_read_compare);
	for (int64 i = 0; i < Min(rows->count, read->max_count); i++)
	{
		LogScan *scan = &scans[rows->rows[i].table];

		CHECK_FOR_INTERRUPTS();
		/* The scan's snapshot is still registered, so the row cannot have been vacuumed. */
		if (!table_tuple_fetch_row_version(scan->rel, &rows->rows[i].tid, scan->snapshot,
										   scan->slot))
			elog(ERROR, "an event of log \"%s\" is gone", scan->log->name);
		log_scan_event(scan, &event);
		if (scan->error != NULL)
			log_scan_refuse_row(scan);
		if (!take(arg, &event))
			break;
	}
}

/*
 * First collects the TIDs of the events and sorts them, then fetches the events
 * one by one.
 *
 * The versions of a stream rise with its positions, so partitions are visited from the newest
 * to the oldest, until one has the first version that is wanted.
 */
void
log_read_stream(PmLog *log, Datum stream, int64 after, int64 max_count, LogIndexTake take,
				void *arg)
{
	Snapshot snapshot = RegisterSnapshot(GetTransactionSnapshot());
	StreamRead read = {stream,
					   after,
					   max_count,
					   log->kind == LOG_ATTACHED ? log_read_of_attached : log_read_of_streams,
					   true,
					   {0, 0, NULL}};
	LogTables tables;
	LogScan *scans;
	bool complete = false;

	log_tables_begin(&tables, log, snapshot);
	log_audit(log, ACL_SELECT);
	read.by_stream = log_tables_have(&tables, read.fits);
	if (!read.by_stream && !log_tables_have(&tables, log_scan_of_positions))
		log_index_refuse(log);
	scans = palloc0(sizeof(LogScan) * Max(tables.count, 1));
	/* Those without an order first, since they can have any version. */
	for (int i = tables.count - 1; i >= 0 && !complete; i--)
	{
		log_read_table(&read, &tables, &scans[i], i, &complete);
		complete = complete && i < tables.ordered;
	}
	log_read_take(&read, scans, take, arg);
	for (int i = 0; i < tables.count; i++)
		if (scans[i].rel != NULL)
			log_tables_scan_end(&tables, &scans[i]);
	pfree(scans);
	log_tables_end(&tables);
	UnregisterSnapshot(snapshot);
}

/*
 * Does the table have an event of the stream with a higher version?
 */
static bool
log_read_goes_on(LogScan *scan, bool by_stream, Datum stream, int64 version)
{
	ScanKeyData keys[2];
	bool isnull;

	if (by_stream)
	{
		log_read_after(scan, keys, stream, version);
		return log_scan_next(scan, ForwardScanDirection);
	}
	log_scan_along(scan, NULL, 0);
	while (log_scan_next(scan, ForwardScanDirection))
		if (log_read_is_of(scan, stream) &&
			log_scan_number(scan, EVENT_VERSION, &isnull) > version && !isnull)
			return true;
	return false;
}

void
log_read_ends(PmLog *log, Datum *streams, Datum *versions, int count, bool *goes_on)
{
	Snapshot snapshot = RegisterSnapshot(GetTransactionSnapshot());
	LogTables tables;
	bool by_stream;

	memset(goes_on, 0, sizeof(bool) * count);
	log_tables_begin(&tables, log, snapshot);
	by_stream = log_tables_have(&tables, log_read_of_streams);
	if (!by_stream && !log_tables_have(&tables, log_scan_of_positions))
		log_index_refuse(log);
	/* Look from the newest partition to the oldest. */
	for (int i = tables.count - 1; i >= 0; i--)
	{
		LogScan scan;

		if (!log_tables_scan(&tables, i, by_stream ? log_read_of_streams : log_scan_of_positions,
							 &scan))
			continue;
		for (int j = 0; j < count; j++)
			goes_on[j] = goes_on[j] ||
						 log_read_goes_on(&scan, by_stream, streams[j], DatumGetInt64(versions[j]));
		log_tables_scan_end(&tables, &scan);
	}
	log_tables_end(&tables);
	UnregisterSnapshot(snapshot);
}
