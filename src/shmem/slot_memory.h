/*
 * slot_memory.h
 *		The layout of what workers share: their slots, the databases, lost calls.
 *
 * This header is private to src/shmem.  Other folders use the functions of the
 * files here, which take the locks.
 */
#ifndef PM_SLOT_MEMORY_H
#define PM_SLOT_MEMORY_H

#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/spin.h"

#include "shmem/lost_call.h"
#include "shmem/worker_now.h"

/* For how many databases there is room. */
#define SLOT_MAX_DATABASES 1024

/* How many counters there are for events sent to instances (slot_sent.c). */
#define SLOT_SENT_COUNTS 1024

/* How many of its last batches a dispatcher publishes (slot_batch.c). */
#define SLOT_BATCHES 8

/* Why a worker was asked to leave. */
typedef enum LeaveReason
{
	LEAVE_NOT,
	LEAVE_FOR_GOOD,	 /* the database is needed, or pm.launcher is off */
	LEAVE_FOR_OTHERS /* another worker has waited too long for its place */
} LeaveReason;

/*
 * One background worker.
 *
 * A slot is claimed under SlotShared.lock by the process that starts the worker.
 * The worker itself attaches to the slot, and gives it up when it ends.
 *
 * Other processes compare "generation", which increases with each claim, to know
 * whether the slot still belongs to the same worker.
 *
 * "now" is written by the worker and read by the monitoring functions, under
 * the spinlock.  Single fields of it that are written without the lock are
 * marked in slot_activity.c.
 */
typedef struct WorkerSlot
{
	bool in_use;
	WorkerKind kind;
	uint32 generation;
	Oid database;
	Oid role;
	pid_t claimer; /* the process that starts the worker */
	pid_t pid;	   /* 0 until the worker has attached */
	PGPROC *proc;
	TimestampTz started_at;
	pg_atomic_uint32 leave; /* a LeaveReason */
	pg_atomic_uint32 wakes; /* counts wake-ups, because other waits can reset the latch */

	slock_t mutex; /* protects "now" */
	WorkerNow now;

	bool serving;	 /* a dispatcher that has a share of its role's units */
	bool makes_room; /* it is about to leave, so that another worker gets its place */

	/* Used by slot_turn.c: ids of process managers, 0: none. */
	pg_atomic_uint32 turn;		   /* the process manager for whose lane it has the turn */
	pg_atomic_uint64 turn_at;	   /* when the turn was last renewed, a TimestampTz */
	pg_atomic_uint32 awaits;	   /* the process manager for whose lane it waits */
	pg_atomic_uint64 awaits_since; /* since when it waits, a TimestampTz */
	pg_atomic_uint32 asks;		   /* the process manager whose lock of lanes it waits for, */
	pg_atomic_uint64 asks_until;   /* and until when at most */

	/* Used by slot_batch.c: ids of process managers as well. */
	pg_atomic_uint32 batch;						   /* the one of whose lanes it runs a batch */
	uint32 batches;								   /* used by the worker itself: a count of */
	pg_atomic_uint32 batch_managers[SLOT_BATCHES]; /* its last batches: the process managers, */
	pg_atomic_uint32 batch_xids[SLOT_BATCHES];	   /* and the transactions */

	/* Used by slot_careful.c; protected by SlotShared.lock. */
	uint64 careful_ticket;	   /* its place in the queue of those that wait, 0: it does not wait */
	TimestampTz careful_waits; /* since when it waits */
	bool careful_absent;	   /* it was its turn, but it did not take it */
	bool careful_more;		   /* it waits because it has just had a turn, and has more to do */
	int64 careful_used;		   /* how much time of turns its role has used, us */
	uint64 careful_turn;	   /* the number of the turn that it has, 0: none */
	TimestampTz careful_since; /* since when it has the turn, for this item */
	bool careful_suspected;	   /* the item may have crashed a server before */
	bool careful_awaits;	   /* the note is committed, and waits for a standby */
	bool careful_noted;		   /* the note is committed, and the call may be made */
	bool careful_shared;	   /* and marked as shared */
	bool careful_misses;	   /* a standby must follow first; written without the lock */

	/* Used by slot_place.c and slot_press.c; protected by SlotShared.lock. */
	uint32 waits;	  /* how many workers it cannot start for lack of a place or a slot */
	bool waits_slot;  /* what they lack is a worker slot */
	bool waits_brief; /* one of them has only little to do */
	Oid waits_role;	  /* a role that has its share of places, but no dispatcher in this database */
	TimestampTz waits_since;
	TimestampTz pressed_at; /* when it was asked to give way, 0: it was not */
	int pressed;			/* a PlacePressed */
	int64 allowance;		/* its handlers run undisturbed for this long, ms */

	/* How a worker ended, as the generation of that worker. */
	uint32 gave_way;   /* its handler was canceled, so that it gave way */
	uint32 left;	   /* it left of its own accord */
	uint32 unfinished; /* it left to make room although it had more to do */
	uint32 lost;	   /* it died while a handler ran */
} WorkerSlot;

/*
 * A database that the launcher has looked at, or should look at.  All fields
 * but the atomic ones are protected by SlotShared.lock.
 */
typedef struct DatabaseSlot
{
	Oid database;			 /* InvalidOid: the slot is free */
	bool active;			 /* a scheduler has found the extension in the database */
	pg_atomic_uint32 away;	 /* its scheduler has left to make room */
	pg_atomic_uint32 wanted; /* something has happened in it since */
	TimestampTz due;		 /* when to start a scheduler again at the latest */
	int gave_way;			 /* how often in a row a role had to give way in it */
	int nroles;				 /* the number of roles that own process managers in it */
	Oid role;				 /* one of these roles */
	uint32 announced;		 /* counts announcements (slot_database_announce()) */
	uint32 looked;			 /* the count when a scheduler last started */
	int held_out_by;		 /* pid of the backend that drops, renames or copies it, or 0 */
	TimestampTz refused_at;	 /* when no worker slot was free, 0: the last worker could start */
	uint32 notices;			 /* what the server's log has said about it, of DatabaseNotice */
} DatabaseSlot;

/* Consumers wait in as many rooms as a log's slot has bits for them (slot_fetch.c). */
#define SLOT_FETCH_ROOMS 32

/* How many process managers are remembered because their lanes have conflicted (slot_turn.c). */
#define SLOT_TURNS 1024

/*
 * Until when the lanes of a process manager run one after another.  Written and read
 * without a lock.
 */
typedef struct TurnsSlot
{
	pg_atomic_uint32 database;
	pg_atomic_uint32 manager;
	pg_atomic_uint64 until; /* a TimestampTz */
	pg_atomic_uint32 lasts; /* for how long they run so, as decided last, ms */
} TurnsSlot;

typedef struct SlotShared
{
	LWLock lock; /* protects workers, lost calls and databases */
	int nworkers;
	pg_atomic_uint64 registry_generation;	 /* counts commits that changed a registration */
	pg_atomic_uint64 worker_generation;		 /* counts dispatchers that came or went */
	pg_atomic_uint32 waiting;				 /* the sum of slot_memory_waits() of all workers */
	pg_atomic_uint32 waiting_brief;			 /* how many workers have waits_brief */
	pg_atomic_uint64 scarce_until;			 /* until then worker slots are scarce, a TimestampTz */
	pg_atomic_uint64 primary_since;			 /* when the launcher first started, a TimestampTz */
	uint64 careful_number;					 /* the last ticket or turn of slot_careful.c */
	TimestampTz careful_free;				 /* since when a turn may have been free */
	int64 careful_reached;					 /* careful_used of the role that was last to begin */
	pg_atomic_uint64 sent[SLOT_SENT_COUNTS]; /* indexed by slot_sent_of() */
	pg_atomic_uint32 fetch_wakes[SLOT_FETCH_ROOMS]; /* how often each room was woken */
	ConditionVariable fetchers[SLOT_FETCH_ROOMS];	/* consumers that wait, see slot_fetch.c */
	ConditionVariable moved;						/* broadcast when a cursor has moved */
	WorkerSlot workers[WORKER_MAX];
	pg_atomic_uint32 nlost;
	uint64 lost_number; /* of the newest lost call */
	LostCall lost[LOST_CALL_MAX];
	DatabaseSlot databases[SLOT_MAX_DATABASES];
	TurnsSlot turns[SLOT_TURNS]; /* indexed by slot_turns_of() */
} SlotShared;

/* NULL when the library is not preloaded. */
extern SlotShared *Slots;

/* The slot of this process, NULL in sessions. */
extern WorkerSlot *MyWorkerSlot;

/* Adds the workers' part of shared memory; called while the postmaster preloads. */
extern void slot_memory_install(void);

/*
 * Does the worker serve (database, role), or is it being started for it?
 */
static inline bool
slot_memory_serves(WorkerSlot *slot, WorkerKind kind, Oid database, Oid role)
{
	return slot->in_use && slot->kind == kind && slot->database == database && slot->role == role;
}

/*
 * How many workers serve (database, role)?  The caller holds Slots->lock.
 */
static inline int
slot_memory_count(WorkerKind kind, Oid database, Oid role)
{
	int count = 0;

	Assert(LWLockHeldByMe(&Slots->lock));
	for (int i = 0; i < Slots->nworkers; i++)
		if (slot_memory_serves(&Slots->workers[i], kind, database, role))
			count++;
	return count;
}

/*
 * How many workers does this worker wait to start?
 */
static inline uint32
slot_memory_waits(WorkerSlot *slot)
{
	return slot->waits + (OidIsValid(slot->waits_role) ? 1 : 0);
}

#endif /* PM_SLOT_MEMORY_H */
