/*
 * scan.h
 *		Rows of a private table, along one of its indexes.
 */
#ifndef PM_SCAN_H
#define PM_SCAN_H

#include "access/genam.h"
#include "access/skey.h"
#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "storage/itemptr.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

#define SCAN_MAX_KEYS 3

typedef struct RowScan
{
	Relation rel;
	Relation index;
	LOCKMODE lock;
	ScanKeyData keys[SCAN_MAX_KEYS];
	int nkeys;
	ScanKeyData from[2];  /* of scan_from */
	Snapshot snapshot;	  /* NULL until the first row is asked for */
	SnapshotData dirty;	  /* of scan_use_dirty */
	SysScanDesc scan;	  /* NULL until the index is */
	TupleTableSlot *slot; /* of scan_at */
	HeapTuple tuple;	  /* the row found last, */
	Datum *values;		  /* and its columns */
	bool *nulls;
} RowScan;

/* A private table whose columns its reader knows by number. */
typedef struct ScanTable
{
	const char *name;
	const char *index;
	const char *const *columns; /* their names; the first one is number 1 */
	int ncolumns;
	Oid checked; /* the table in which they were found to have these numbers */
} ScanTable;

extern void scan_begin(RowScan *scan, const char *table, const char *index, LOCKMODE lock);
/* The same; checks once a backend that the columns have the numbers that the reader assumes. */
extern void scan_begin_table(RowScan *scan, ScanTable *table, LOCKMODE lock);
extern void scan_where_text(RowScan *scan, AttrNumber column, const char *value);
extern void scan_where_oid(RowScan *scan, AttrNumber column, Oid value);
extern void scan_use_dirty(RowScan *scan);
extern void scan_use_snapshot(RowScan *scan, Snapshot snapshot);
extern void scan_where_bytea(RowScan *scan, AttrNumber column, Datum value);
extern void scan_where_int4(RowScan *scan, AttrNumber column, int32 value);
extern void scan_from_id(RowScan *scan, AttrNumber column, int64 id);
extern void scan_from(RowScan *scan, AttrNumber time_column, TimestampTz time, AttrNumber id_column,
					  int64 id);
extern AttrNumber scan_column(RowScan *scan, const char *name);
extern bool scan_at(RowScan *scan, ItemPointer tid);
extern bool scan_next(RowScan *scan);
extern char *scan_text(RowScan *scan, AttrNumber column);
extern void scan_reset(RowScan *scan);
extern void scan_end(RowScan *scan);

#endif /* PM_SCAN_H */
