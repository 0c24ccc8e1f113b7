/*
 * log_tables.c
 *		The tables that have a log's events: the log's own, or its leaves.
 *
 * This is for reading that is not in the order of positions (for that, see
 * partition_read.c): the events of a stream, or those whose metadata contains something.
 */
#include "pm.h"

#include "access/table.h"
#include "utils/rel.h"

#include "log/log_tables.h"

void
log_tables_begin(LogTables *tables, PmLog *log, Snapshot snapshot)
{
	tables->log = log;
	tables->snapshot = snapshot;
	tables->root = table_open(log->relid, NoLock);
	tables->set = log->partitioned ? partition_set(tables->root, log->attnum[EVENT_POSITION]) :
									 NULL;
	tables->count = tables->set == NULL ? 1 : tables->set->count;
	tables->ordered = tables->set == NULL ? 1 : tables->set->nranged;
}

bool
log_tables_have(LogTables *tables, LogScanFits fits)
{
	LogScan scan;
	bool has;

	log_scan_begin(&scan, tables->log, tables->root, tables->root, tables->snapshot);
	has = log_scan_has(&scan, fits);
	log_scan_end(&scan);
	return has;
}

bool
log_tables_scan(LogTables *tables, int number, LogScanFits fits, LogScan *scan)
{
	Relation rel = tables->root;

	if (tables->set != NULL)
		rel = partition_open(&tables->set->leaves[number], AccessShareLock);
	if (rel == NULL)
		return false;
	log_scan_begin(scan, tables->log, tables->root, rel, tables->snapshot);
	if (log_scan_choose(scan, fits))
		return true;
	if (tables->set != NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("partition \"%s\" of log \"%s\" lacks an index that the log's "
							   "table has",
							   RelationGetRelationName(rel), tables->log->name),
						errhint("If the index was just created, try again.")));
	log_scan_end(scan);
	return false;
}

void
log_tables_scan_end(LogTables *tables, LogScan *scan)
{
	Relation rel = scan->rel;

	log_scan_end(scan);
	if (tables->set != NULL)
		table_close(rel, AccessShareLock);
}

void
log_tables_end(LogTables *tables)
{
	table_close(tables->root, NoLock);
}
