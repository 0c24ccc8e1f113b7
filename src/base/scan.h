/*
 * scan.h
 *		Reads rows of a private table with an index, without SPI.
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
	ScanKeyData from[2];  /* for scan_from() */
	Snapshot snapshot;	  /* NULL until the first row is asked for */
	SnapshotData dirty;	  /* for scan_use_dirty() */
	SysScanDesc scan;	  /* NULL until the index is used */
	TupleTableSlot *slot; /* for scan_at() */
	HeapTuple tuple;	  /* the row that was found last */
	Datum *values;		  /* the columns of that row */
	bool *nulls;
} RowScan;

/*
 * A private table whose columns its reader knows by number.  An extension that is
 * older than the library may lack the last ones.
 */
typedef struct ScanTable
{
	const char *name;
	const char *index;
	const char *const *columns; /* their names; the first one is number 1 */
	int ncolumns;
	int required; /* this many, from the first on, exist since PM_OLDEST_SERVED */
	Oid checked;  /* the table in which the columns were found to have these numbers */
	int natts;	  /* how many columns that table had then */
} ScanTable;

/* Begins a scan.  The index must begin with the columns that are asked for. */
extern void scan_begin(RowScan *scan, const char *table, const char *index, LOCKMODE lock);

/*
 * The same.  Once in each backend, it checks that the columns have the numbers that the
 * reader assumes.  Columns that the table does not have yet are read as NULL, and are
 * not written, since a tuple is formed by the table's own columns.
 */
extern void scan_begin_table(RowScan *scan, ScanTable *table, LOCKMODE lock);

/*
 * Does a private table have a page?  It has none before its first row, and gets one before that
 * row is committed.  False if there is no such table.
 */
extern bool scan_table_has_pages(const char *table);

/* Does the table have this column of its ScanTable? */
extern bool scan_has(RowScan *scan, AttrNumber column);

/* The number of a column; the second one returns InvalidAttrNumber if there is none. */
extern AttrNumber scan_column(RowScan *scan, const char *name);
extern AttrNumber scan_optional_column(RowScan *scan, const char *name);

/* Only rows in which the column has this value. */
extern void scan_where_text(RowScan *scan, AttrNumber column, const char *value);
extern void scan_where_oid(RowScan *scan, AttrNumber column, Oid value);
extern void scan_where_bytea(RowScan *scan, AttrNumber column, Datum value);
extern void scan_where_int4(RowScan *scan, AttrNumber column, int32 value);
extern void scan_where_int8(RowScan *scan, AttrNumber column, int64 value);

/* Only rows with this id or a higher one. */
extern void scan_from_id(RowScan *scan, AttrNumber column, int64 id);

/*
 * Only rows with a later time, and those with this time and this id or a higher one.
 * The two columns follow each other in the index.
 */
extern void scan_from(RowScan *scan, AttrNumber time_column, TimestampTz time, AttrNumber id_column,
					  int64 id);

/* Also sees what open transactions have written. */
extern void scan_use_dirty(RowScan *scan);

/* Sees what this snapshot sees.  The snapshot remains the caller's. */
extern void scan_use_snapshot(RowScan *scan, Snapshot snapshot);

/*
 * Is the wanted row at this TID, or was it there?  If so, *tid is set to its current
 * TID.  The TID may be a guess: any row may be there, or none.  Must not be called
 * after scan_next().
 */
extern bool scan_at(RowScan *scan, ItemPointer tid);

/*
 * Is the wanted row still at this TID, where this transaction has seen it, and unchanged?
 * Waits for another session that is changing it.
 */
extern bool scan_only_at(RowScan *scan, ItemPointer tid);

/* Finds the next row in the order of the index; false at the end. */
extern bool scan_next(RowScan *scan);

/* A text column of the row that was found last, or NULL. */
extern char *scan_text(RowScan *scan, AttrNumber column);

/* Forgets the conditions, so that another row can be asked for. */
extern void scan_reset(RowScan *scan);

extern void scan_end(RowScan *scan);

#endif /* PM_SCAN_H */
