/*
 * highwater_holders.h
 *		The transactions that hold the locks that writers of a log take.
 */
#ifndef PM_HIGHWATER_HOLDERS_H
#define PM_HIGHWATER_HOLDERS_H

#include "storage/lock.h"
#include "utils/relcache.h"

#include "log/partition.h"
#include "log/sequence.h"

typedef enum HighwaterView
{
	HIGHWATER_EVERYBODY, /* nothing of this transaction counts as settled */
	HIGHWATER_OWN		 /* this transaction's own events may be read */
} HighwaterView;

/*
 * The tables on which writers hold their lock.  A log of ours has one: an insert into a leaf of a
 * partitioned log is refused unless its transaction holds the lock on the log's table
 * (guard_row.c). The table of another program may have leaves into which any session can insert.
 */
typedef struct HighwaterTables
{
	Oid relid;
	const PartitionSet *leaves; /* NULL: their locks do not count */
	int64 last;					/* up to this last value of the sequence, "leaves" is complete */
} HighwaterTables;

/* H, and what its members have published. */
typedef struct HighwaterHolders
{
	VirtualTransactionId *vxids;
	int count;
	bool hinted; /* all of them have a hint */
	int64 floor; /* the lowest hint */
} HighwaterHolders;

/*
 * Looks up the tables of a log, for a look at this sequence, or NULL: for a look at H alone.  False
 * if the leaves are needed, but cannot be looked up without waiting.
 */
extern bool highwater_tables(HighwaterTables *tables, Oid relid, const Sequence *sequence);
/* Waits until the leaves can be looked up, if they are needed. */
extern void highwater_await_tables(Oid relid);
/* Reads H. */
extern HighwaterHolders highwater_holders(const HighwaterTables *tables, HighwaterView view);
/* Does this transaction itself hold a lock that a writer takes? */
extern bool highwater_self_writes(Oid relid);
/* The transactions that may write the log now. */
extern VirtualTransactionId *highwater_writers(Oid relid, int *count);

#endif /* PM_HIGHWATER_HOLDERS_H */
