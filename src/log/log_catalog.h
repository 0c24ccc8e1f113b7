/*
 * log_catalog.h
 *		Reads and writes the catalog of logs, pm_catalog.log.
 */
#ifndef PM_LOG_CATALOG_H
#define PM_LOG_CATALOG_H

#include "nodes/pg_list.h"

#include "base/event.h"
#include "log/log.h"

/* A row of the catalog. */
typedef struct LogRow
{
	char *name;	 /* its first name, by which everything that is stored refers to it */
	char *title; /* its present name */
	LogKind kind;
	Oid relid;
	Oid sequence_file; /* of the sequence that was last accepted */
	bool at_home;	   /* the sequence was accepted in this database of this cluster */
	/*
	 * The names of the columns, by EVENT_POSITION and so on.  For an attached log they can be
	 * expressions, and some can be NULL.
	 */
	char *columns[EVENT_ATTRIBUTES + 1];
	/* Of an attached log. */
	char *filter;				 /* which rows are events; NULL: all */
	Oid attached_by;			 /* InvalidOid: not known here */
	TransactionId sequence_xmin; /* of the sequence's row in pg_sequence when it was accepted */
} LogRow;

/* A log whose table has not been read yet. */
typedef struct LogSource
{
	char *name;
	Oid relid;
	bool at_home; /* its sequence was last accepted in this database */
} LogSource;

/* Reads the row of a log by any of its names; false if there is none. */
extern bool log_catalog_row(const char *name, LogRow *row);
/* The rows of all logs, as a list of LogRow. */
extern List *log_catalog_rows(void);
/* The table of a log, or InvalidOid. */
extern Oid log_catalog_table(const char *name);
/* The name of the log with this table, or NULL. */
extern char *log_catalog_name(Oid relid);
/* All logs, of LogSource, by name; none of them is locked. */
extern List *log_catalog_list(void);
/* The tables of all logs. */
extern List *log_catalog_tables(void);
/*
 * Keeps an attached log from being detached until the end of the transaction; false if there is
 * none of this name.  Waits for a transaction that is detaching it.
 */
extern bool log_catalog_hold(const char *name);
/* The names of the process managers that follow a log, for a message; NULL if there are none. */
extern char *log_catalog_followers(const char *name);
/* Adds an ordinary log, whose sequence has this file. */
extern void log_catalog_insert(const char *name, Oid relid, Oid sequence_file);
/* Adds a log of another kind.  It belongs to this database, whatever row->at_home says. */
extern void log_catalog_insert_kind(const LogRow *row);
/* Accepts this file for the log's sequence, in this database. */
extern void log_catalog_accept(const char *name, Oid sequence_file);
/* The same for an attached log, of which the row has the sequence. */
extern void log_catalog_accept_attached(const LogRow *row);
/* This table has taken the place of an ordinary log's table; from now on the log is partitioned. */
extern void log_catalog_partition(const char *name, Oid relid, Oid sequence_file);
/* Removes a log, and what is kept about its streams. */
extern void log_catalog_delete(const char *name);

#endif /* PM_LOG_CATALOG_H */
