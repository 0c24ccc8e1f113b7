/*
 * partition_check.h
 *		Checks the partitions of a log.
 */
#ifndef PM_PARTITION_CHECK_H
#define PM_PARTITION_CHECK_H

#include "utils/relcache.h"

#include "log/log.h"

/* Notes that a partition of this name is not an ordinary, permanent table; then false. */
extern bool partition_check_table(PmLog *log, Relation leaf, const char *name);
/* Notes the first problem of a partitioned log's table and its partitions.  Never waits. */
extern void partition_check(PmLog *log, Relation root);

#endif /* PM_PARTITION_CHECK_H */
