/*
 * partition_drop.h
 *		A partition that is about to leave its log, or has come to it.
 */
#ifndef PM_PARTITION_DROP_H
#define PM_PARTITION_DROP_H

#include "postgres_ext.h"

/* What happens to the partition. */
typedef enum PartitionEnd
{
	PARTITION_DETACH,
	PARTITION_DETACH_CONCURRENTLY,
	PARTITION_DROP
} PartitionEnd;

/* The name of the partitioned log whose table this is; NULL if it is none. */
extern char *partition_log_name(Oid root);
/*
 * To be called before a command that detaches or drops a partition.  Raises an error if an event
 * of it is still needed; keeps the versions of its streams.  Unless the command does not lock the
 * log's table, locks it, with pauses, so that writers never wait for a long time.
 */
extern void partition_drop_before(const char *name, Oid root, Oid leaf, PartitionEnd end);
/* To be called after a partition was attached: raises an error if followers would miss its rows. */
extern void partition_attached(const char *name, Oid root, Oid leaf);
/*
 * To be called when a partition is dropped in another way, for example with its schema.  It is
 * only noted, since the log may be dropped too.
 */
extern void partition_drop_note(Oid leaf);
/* Raises an error if what was noted since the last call may not be dropped. */
extern void partition_drop_check(void);
/* Forgets what was noted. */
extern void partition_drop_forget(void);

#endif /* PM_PARTITION_DROP_H */
