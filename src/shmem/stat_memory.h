/*
 * stat_memory.h
 *		The layout of the counters in shared memory.
 *
 * This header is private to src/shmem.  Other folders use stat.h.
 */
#ifndef PM_STAT_MEMORY_H
#define PM_STAT_MEMORY_H

#include "datatype/timestamp.h"
#include "storage/lwlock.h"
#include "storage/spin.h"
#include "utils/hsearch.h"

#include "shmem/stat_counts.h"

/* A lane of a process manager.  All bytes count, so those after the name are zero. */
typedef struct StatKey
{
	Oid database;
	int lane;
	char manager[NAMEDATALEN];
} StatKey;

/*
 * The counters of a lane.  Entries are found, added and removed under StatShared.lock; the
 * fields after the key also change under a shared lock and the spinlock.
 */
typedef struct StatEntry
{
	StatKey key;
	slock_t mutex;
	Oid owner; /* of the process manager, when it was counted last; InvalidOid: not known */
	TimestampTz reset_at;	/* 0: never */
	TimestampTz counted_at; /* when something was counted last */
	StatCounts counts;
} StatEntry;

typedef struct StatShared
{
	LWLock lock;
	TimestampTz began; /* since when all is counted */
	bool crowded;	   /* entries have been given up (stat_room.c) */
} StatShared;

/* NULL when the library is not preloaded. */
extern StatShared *Stats;
extern HTAB *StatEntries;

/* The hooks for shared memory; stat_memory_startup() returns whether the memory is new. */
extern void stat_memory_request(void);
extern bool stat_memory_startup(void);

extern void stat_memory_key(StatKey *key, const char *manager, int lane);
extern bool stat_memory_full(void);

/*
 * Finds an entry, or adds one with zeros if there is room; else NULL.  The caller holds the
 * lock exclusively.
 */
extern StatEntry *stat_memory_enter(const StatKey *key, uint32 hash, Oid owner);

/* Adds to an entry.  The caller holds the lock. */
extern void stat_memory_add(StatEntry *entry, const StatCounts *add, Oid owner);

#endif /* PM_STAT_MEMORY_H */
