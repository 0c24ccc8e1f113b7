/*
 * partition_versions.h
 *		The last version of each stream in a partition.
 */
#ifndef PM_PARTITION_VERSIONS_H
#define PM_PARTITION_VERSIONS_H

#include "access/genam.h"
#include "executor/tuptable.h"
#include "storage/buf.h"

#include "log/log_scan.h"

typedef struct PartitionVersions
{
	Relation rel;
	Relation index; /* of (stream, version) */
	Snapshot snapshot;
	IndexScanDesc scan;
	TupleTableSlot *slot;
	Buffer map;		 /* a page of the visibility map */
	bool more;		 /* there is a current event: */
	Datum stream;	 /* its stream, in the index page's copy */
	bool unnumbered; /* it has no version, */
	int64 version;	 /* or this one */
} PartitionVersions;

/* "scan" has chosen the index of streams and versions, and stays open for as long. */
extern void partition_versions_begin(PartitionVersions *versions, LogScan *scan);
/*
 * The next stream, in the current memory context, and its last version, 0 if none of its events
 * has one.  NULL if there is no other stream.
 */
extern text *partition_versions_next(PartitionVersions *versions, int64 *version);
extern void partition_versions_end(PartitionVersions *versions);

#endif /* PM_PARTITION_VERSIONS_H */
