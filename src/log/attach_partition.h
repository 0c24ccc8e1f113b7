/*
 * attach_partition.h
 *		The partitions of an attached table.
 */
#ifndef PM_ATTACH_PARTITION_H
#define PM_ATTACH_PARTITION_H

#include "utils/relcache.h"

#include "log/log.h"

/*
 * Notes the first problem of the partitions of an attached log, and has their locks count for
 * its mark.  Never waits.
 */
extern void attach_partition_check(PmLog *log, Relation root);
/*
 * The transaction begins to make a log of a table.  Waits until no other transaction is attaching a
 * partition to it.  Until this transaction ends, none can attach a partition with rows.
 */
extern void attach_partition_begin(Oid root);

#endif /* PM_ATTACH_PARTITION_H */
