/*
 * log_containing.c
 *		Reads a log's events by what their metadata contains.
 *
 * This is done along a GIN index, and without a query: the head of log_scan.c says why.
 */
#include "pm.h"

#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "executor/tuptable.h"
#include "nodes/tidbitmap.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "log/log_audit.h"
#include "log/log_containing.h"
#include "log/log_tables.h"

/* The OIDs of the GIN operator families jsonb_ops and jsonb_path_ops, for which C has no names. */
#define LOG_CONTAINING_JSONB_OPS	  4036
#define LOG_CONTAINING_JSONB_PATH_OPS 4037

/*
 * A GIN index of the metadata that supports @>.
 */
static bool
log_containing_fits(LogScan *scan, Relation index)
{
	AttrNumber metadata = scan->attnum[EVENT_METADATA];

	return metadata != InvalidAttrNumber && index->rd_rel->relam == GIN_AM_OID &&
		   index->rd_index->indkey.values[0] == metadata &&
		   (index->rd_opfamily[0] == LOG_CONTAINING_JSONB_OPS ||
			index->rd_opfamily[0] == LOG_CONTAINING_JSONB_PATH_OPS);
}

/*
 * The rows that the index finds for any of the notes.
 */
static TIDBitmap *
log_containing_bitmap(LogScan *scan, List *notes)
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
log_containing_page(LogScan *scan, IndexFetchTableData *fetch, BlockNumber block,
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
		log_scan_event(scan, &event);
		if (scan->passed)
			(void) take(arg, &event);
	}
}

/*
 * Reads what one table has.
 */
static void
log_containing_table(LogScan *scan, List *notes, LogIndexTake take, void *arg)
{
	OffsetNumber offsets[MaxHeapTuplesPerPage];
	TIDBitmap *bitmap = log_containing_bitmap(scan, notes);
	IndexFetchTableData *fetch = compat_index_fetch_begin(scan->rel);
	CompatBitmapIterator *iterator = compat_bitmap_begin(bitmap);
	BlockNumber block;
	int count;

	while (compat_bitmap_next(iterator, &block, offsets, &count))
		log_containing_page(scan, fetch, block, offsets, count, take, arg);
	compat_bitmap_end(iterator);
	table_index_fetch_end(fetch);
	tbm_free(bitmap);
}

bool
log_containing(PmLog *log, List *notes, LogIndexTake take, void *arg)
{
	Snapshot snapshot = RegisterSnapshot(GetTransactionSnapshot());
	LogTables tables;
	bool usable;

	log_tables_begin(&tables, log, snapshot);
	usable = log_tables_have(&tables, log_containing_fits);
	if (usable)
		log_audit(log, ACL_SELECT);
	for (int i = 0; usable && i < tables.count; i++)
	{
		LogScan scan;

		if (!log_tables_scan(&tables, i, log_containing_fits, &scan))
			continue;
		log_containing_table(&scan, notes, take, arg);
		log_tables_scan_end(&tables, &scan);
	}
	log_tables_end(&tables);
	UnregisterSnapshot(snapshot);
	return usable;
}
