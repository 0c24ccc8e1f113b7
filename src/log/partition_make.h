/*
 * partition_make.h
 *		Turns the table of an ordinary log into a partition of a new table, which takes its place.
 */
#ifndef PM_PARTITION_MAKE_H
#define PM_PARTITION_MAKE_H

#include "log/log.h"

/*
 * Raises an error unless the log can be made a partitioned one without a scan of its table.  The
 * caller holds some lock on the table.
 */
extern void partition_make_require(PmLog *log, int64 up_to);
/*
 * Makes the log a partitioned one.  The table gets the name "partition", and takes the positions
 * below up_to.  Returns the new table, which has the log's name.  The caller has locked the table
 * and its sequence exclusively.
 */
extern Oid partition_make(PmLog *log, const char *partition, int64 up_to);

#endif /* PM_PARTITION_MAKE_H */
