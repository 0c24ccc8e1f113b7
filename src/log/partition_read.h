/*
 * partition_read.h
 *		Reads the events of a partitioned log by position, leaf after leaf.
 */
#ifndef PM_PARTITION_READ_H
#define PM_PARTITION_READ_H

#include "lib/binaryheap.h"

#include "log/log_scan.h"
#include "log/partition.h"

/* A leaf that is being read. */
typedef struct PartitionPart
{
	LogScan scan;
	bool open;
	int64 position; /* of the event in the scan's slot */
} PartitionPart;

typedef struct PartitionRead
{
	PmLog *log;
	Relation root;
	Snapshot snapshot;
	const PartitionSet *set;
	int64 after; /* events with after < position <= up_to */
	int64 up_to;
	bool wait;	 /* wait for leaves that are locked */
	bool locked; /* one is locked: nothing is known of it, nor of what comes after it */
	bool begun;
	ScanDirection direction;
	int number;			  /* of the ranged leaf that is read now, or was read last */
	PartitionPart ranged; /* that leaf */
	PartitionPart *loose; /* the leaves that are not ranges of positions; NULL: not opened yet */
	int nloose;
	binaryheap *heap; /* of PartitionPart, by position; NULL: only ranged leaves are read */
} PartitionRead;

/* The table and the snapshot belong to the caller. */
extern void partition_read_begin(PartitionRead *read, PmLog *log, Relation root, Snapshot snapshot,
								 int64 after, int64 up_to, bool wait);
/* Finds the next event.  The scan that is at it, or NULL.  The direction must not change. */
extern LogScan *partition_read_next(PartitionRead *read, ScanDirection direction);
/* Finds the event at a position.  The scan that is at it, or NULL. */
extern LogScan *partition_read_at(PartitionRead *read, int64 position);
extern void partition_read_end(PartitionRead *read);

#endif /* PM_PARTITION_READ_H */
