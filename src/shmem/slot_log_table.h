/*
 * slot_log_table.h
 *		The layout of what shared memory keeps of the logs.
 *
 * This header is private to src/shmem.  Other folders use the functions of
 * slot_log.h, slot_mark.h, slot_interest.h and slot_pin.h, which take the locks.
 */
#ifndef PM_SLOT_LOG_TABLE_H
#define PM_SLOT_LOG_TABLE_H

#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/lwlock.h"
#include "utils/hsearch.h"

#include "shmem/slot_generations.h"
#include "shmem/slot_ref.h"
#include "shmem/slot_wake.h"

/*
 * The workers and consumers that wait for the writers of a log, or of the logs of a group.
 */
typedef struct LogWaiters
{
	int number;									/* of the slot; the groups come after all slots */
	pg_atomic_uint64 interest[SLOT_WAKE_WORDS]; /* the workers that wait */
	pg_atomic_uint32 fetchers; /* the rooms in which consumers wait (slot_fetch.c) */
	pg_atomic_uint64 wakes; /* counts the writers that ended while somebody waited; never reset */
} LogWaiters;

/*
 * The slot of one log.
 *
 * A slot can be taken from its log and given to another one at any time.  That is
 * done under its lock, and "incarnation" rises before anything else changes.  So a
 * backend that has taken the lock compares the OIDs, and a reader without the lock
 * compares the incarnation after it has read.
 */
struct LogSlot
{
	LWLock lock; /* protects "generations" */
	pg_atomic_uint64 incarnation;
	Oid database; /* InvalidOid: the slot is free */
	Oid relid;
	Oid owner; /* the table's owner when the slot was given */
	int next_free;
	pg_atomic_uint32 seeded;  /* the mark is at least the furthest cursor */
	pg_atomic_uint32 pins;	  /* transactions that have used the mark and have not ended */
	pg_atomic_uint32 used_at; /* when the log was last read or written, s since 2000 */
	pg_atomic_uint64 mark;	  /* a copy of generations.mark, read without the lock */
	pg_atomic_uint64 reached; /* a copy of generations.reached, read without the lock */
	LogWaiters waiters;
	Generations generations;
	GenerationMember members[SLOT_MEMBERS];
};

typedef struct LogKey
{
	Oid database;
	Oid relid;
} LogKey;

/* Which log has which slot. */
typedef struct LogEntry
{
	LogKey key;
	int index;
} LogEntry;

/* How many slots the logs of a role have. */
typedef struct LogOwner
{
	Oid owner;
	int count;
} LogOwner;

/*
 * Logs without a slot share these: a log belongs to a group by its hash.  A writer of such
 * a log wakes all processes that wait for a log of its group.
 */
#define SLOT_LOG_GROUPS 1024

typedef struct LogShared
{
	LWLock lock;		  /* protects the four fields below, and both hash tables */
	int nslots;			  /* how many slots have ever been in use */
	int free;			  /* the first of these that is free, -1: none */
	int searched;		  /* the slot where the next search for an idle one begins */
	TimestampTz all_used; /* when no idle slot was found */
	LogWaiters groups[SLOT_LOG_GROUPS];
	LogSlot slots[FLEXIBLE_ARRAY_MEMBER];
} LogShared;

extern LogShared *LogSlots;
extern HTAB *LogEntries; /* of LogEntry */
extern HTAB *LogOwners;	 /* of LogOwner */

/* Adds the logs' part of shared memory; called while the postmaster preloads. */
extern void slot_log_table_install(void);

/* Makes a slot that has never been in use. */
extern void slot_log_table_init(LogSlot *slot, int index);

/* The group of a log, and the waiters with a number. */
extern LogWaiters *slot_log_table_group(const LogKey *key);
extern LogWaiters *slot_log_table_waiters(int number);

/* How many there are at most, so that their numbers are below this. */
extern int slot_log_table_numbers(void);

/* The time as LogSlot.used_at has it. */
static inline uint32
slot_log_table_seconds(TimestampTz at)
{
	return (uint32) (at / USECS_PER_SEC);
}

/*
 * Does any worker or consumer wait?
 */
static inline bool
slot_log_table_wanted(LogWaiters *waiters)
{
	for (int w = 0; w < SLOT_WAKE_WORDS; w++)
		if (pg_atomic_read_u64(&waiters->interest[w]) != 0)
			return true;
	return pg_atomic_read_u32(&waiters->fetchers) != 0;
}

#endif /* PM_SLOT_LOG_TABLE_H */
