/*
 * bulk.h
 *		Inserts many rows into a private table at once, without SQL.
 */
#ifndef PM_BULK_H
#define PM_BULK_H

#include "access/attnum.h"
#include "nodes/execnodes.h"
#include "utils/relcache.h"

/* A private table whose columns its writer knows by number. */
typedef struct BulkTable
{
	const char *name;
	const char *const *columns; /* their names; the first one is number 1 */
	int ncolumns;
	AttrNumber identity; /* this column is drawn from its sequence; 0: none is */
	int ids;			 /* the number of rows for which one value of the sequence suffices */
	Oid checked;		 /* the table in which the columns were found to have these numbers */
	int optional;		 /* this many, at the end, may be missing if the extension is older */
} BulkTable;

/* The rows that are collected before they are written. */
#define BULK_ROWS 100

typedef struct Bulk
{
	const BulkTable *table;
	Relation rel;
	TupleDesc desc;
	EState *estate;
	ResultRelInfo *target; /* the table with its indexes, for the executor */
	Oid sequence;		   /* of the identity column, or InvalidOid */
	int64 id;			   /* the value of the next row */
	int ids;			   /* how many values, from "id" on, are still to be used */
	TupleTableSlot *slots[BULK_ROWS];
	int made; /* how many of the slots exist */
	int used; /* how many of the slots have a row */
} Bulk;

extern void bulk_begin(Bulk *bulk, BulkTable *table);

/*
 * Begins a row; bulk_set() then sets each of its other columns.  Returns the value of
 * its identity column.
 */
extern int64 bulk_add(Bulk *bulk);
/* A column that the table does not have yet is left out. */
extern void bulk_set(Bulk *bulk, AttrNumber column, Datum value, bool isnull);

/* Writes what is left, and closes the table. */
extern void bulk_end(Bulk *bulk);

#endif /* PM_BULK_H */
