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

#endif /* PM_ATTACH_PARTITION_H */
