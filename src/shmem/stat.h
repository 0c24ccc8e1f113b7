/*
 * stat.h
 *		Counts what process managers do, in shared memory.
 */
#ifndef PM_STAT_H
#define PM_STAT_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

#include "shmem/stat_counts.h"

/* Adds the part of shared memory; called while the postmaster preloads. */
extern void stat_install(void);

/* These count when the transaction commits.  The owner may be unknown (InvalidOid). */
extern void stat_count(const char *manager, int lane, Oid owner, const StatCounts *add);
extern void stat_count_failed(const char *manager, int lane, int failures, int conflicts);

/* When the transaction commits: lanes "from" to "lanes" - 1 are gone, or have just been added. */
extern void stat_forget(const char *manager, int from, int lanes);

/* When the transaction commits: the counts of lanes "from" to "lanes" - 1 are those of lane 0. */
extern void stat_merge(const char *manager, int from, int lanes);

/* The databases that have counters. */
extern List *stat_databases(void);

/* At once: a database is gone, or does not have the extension any more. */
extern void stat_forget_database(Oid database);

/* Sets the counts of a lane to zero, at once. */
extern void stat_reset(const char *manager, int lane, Oid owner);

/*
 * Reads the counts of a lane, and since when they count.  False if nothing is counted,
 * because the library is not preloaded.
 */
extern bool stat_read(const char *manager, int lane, StatCounts *counts, TimestampTz *since);

#endif /* PM_STAT_H */
