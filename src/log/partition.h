/*
 * partition.h
 *		The partitions of a table that is a log.
 */
#ifndef PM_PARTITION_H
#define PM_PARTITION_H

#include "utils/relcache.h"

#include "log/log.h"

/* A partition that has rows itself. */
typedef struct PartitionLeaf
{
	Oid relid;
	/* If it is a range of positions: the lowest and the highest that it takes. */
	int64 from;
	int64 to;
	Oid stream_index; /* InvalidOid: not looked up yet (stream_version.c) */
} PartitionLeaf;

/* The leaves of a partitioned table. */
typedef struct PartitionSet
{
	Oid root;
	int count;
	/*
	 * This many of them, from the first one on, are ranges of positions, in ascending order,
	 * which do not overlap.  The others can have any positions.
	 */
	int nranged;
	bool nested; /* a partition is partitioned itself */
	PartitionLeaf *leaves;
} PartitionSet;

extern void partition_install(void);

/* Is an open partitioned table partitioned by range of this column alone? */
extern bool partition_by_position(Relation rel, AttrNumber position);
/*
 * The leaves of an open partitioned table, as they are now: every leaf into which another
 * transaction has inserted before this call, in whatever way, is among them.  The result is
 * valid until the end of the transaction.
 */
extern const PartitionSet *partition_set(Relation root, AttrNumber position);
/* The same; NULL if a partition that is partitioned itself is locked exclusively. */
extern const PartitionSet *partition_set_nowait(Relation root, AttrNumber position);
/* Remembers the index of (stream, version) of a leaf, for as long as nothing changes. */
extern void partition_note_index(const PartitionSet *set, int number, Oid index);
/* The number of the leaf that takes this position; -1 if no range of positions does. */
extern int partition_find(const PartitionSet *set, int64 position);
/* The number of the first leaf that takes positions at or above this one, among the ranged. */
extern int partition_from(const PartitionSet *set, int64 position);
/*
 * Opens a leaf; NULL if it is not a partition any more.  The lock is kept until the end of the
 * transaction, unless the caller releases it.
 */
extern Relation partition_open(const PartitionLeaf *leaf, LOCKMODE mode);
/* The same; does not wait.  NULL, and *locked is true, if the leaf is locked. */
extern Relation partition_open_nowait(const PartitionLeaf *leaf, LOCKMODE mode, bool *locked);
/* The numbers of a log's columns in one of its leaves. */
extern void partition_columns(PmLog *log, Relation root, Relation leaf, AttrNumber *attnum);
/*
 * Leaves of this table can be written without a lock on the table itself, so their locks count
 * for its mark (highwater.c).
 */
extern void partition_count_leaves(Oid root, AttrNumber position);
extern bool partition_leaves_count(Oid root, AttrNumber *position);
/* The table of which this table is a partition, at the top; InvalidOid if it is none. */
extern Oid partition_root(Oid relid);
/* The same, if it is known from partition_set(), without reading a catalog. */
extern Oid partition_known_root(Oid relid);

#endif /* PM_PARTITION_H */
