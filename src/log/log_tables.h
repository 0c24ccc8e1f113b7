/*
 * log_tables.h
 *		The tables that have a log's events: the log's own, or its leaves.
 */
#ifndef PM_LOG_TABLES_H
#define PM_LOG_TABLES_H

#include "log/log_scan.h"
#include "log/partition.h"

typedef struct LogTables
{
	PmLog *log;
	Relation root;
	Snapshot snapshot;
	const PartitionSet *set; /* NULL: it is one table */
	int count;
	/* This many of them, from the first one on, are in the order of positions. */
	int ordered;
} LogTables;

/* The log's table is locked.  The snapshot stays registered by the caller. */
extern void log_tables_begin(LogTables *tables, PmLog *log, Snapshot snapshot);
/* Does the log have an index that fits?  If its table has one, all leaves have one. */
extern bool log_tables_have(LogTables *tables, LogScanFits fits);
/*
 * Begins a scan of one of them.  False if it is gone, or if it has no index that fits; that is an
 * error unless the log's table has none.
 */
extern bool log_tables_scan(LogTables *tables, int number, LogScanFits fits, LogScan *scan);
extern void log_tables_scan_end(LogTables *tables, LogScan *scan);
extern void log_tables_end(LogTables *tables);

#endif /* PM_LOG_TABLES_H */
