/*
 * slot.h
 *		Shared memory: the workers, the logs they wait for, the writers' hints.
 *
 * All of it can be lost at any time (a crash restart does): the tables and the
 * lock manager are the authority, this is what makes them fast to ask.
 */
#ifndef PM_SLOT_H
#define PM_SLOT_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/lock.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/spin.h"

/* Room for the name of a log. */
#define SLOT_LOG_NAME 264 /* two identifiers of 63 bytes, all of them quotes, quoted */
/* At most this many workers, whatever max_worker_processes is. */
#define SLOT_MAX_WORKERS 256
#define SLOT_WAKE_WORDS	 (SLOT_MAX_WORKERS / 64)
/* A backend's hints for logs: this many sets of this many; a log belongs to one set. */
#define SLOT_HINT_SETS 16
#define SLOT_HINT_WAYS 4
/* Generations kept a log (highwater.c), and transactions in them. */
#define SLOT_GENERATIONS 16
#define SLOT_MEMBERS	 16
/* Calls of handlers that died with their dispatcher, until they are counted. */
#define SLOT_MAX_LOST 128
/* Databases that the launcher keeps an eye on or that are held out. */
#define SLOT_MAX_DATABASES 1024

typedef enum WorkerKind
{
	WORKER_LAUNCHER,
	WORKER_SCHEDULER,
	WORKER_DISPATCHER
} WorkerKind;

typedef enum WorkerActivity
{
	ACTIVITY_STARTING,
	ACTIVITY_IDLE,
	ACTIVITY_READING,  /* locking, mark, reading */
	ACTIVITY_HANDLING, /* a handler runs */
	ACTIVITY_COMMITTING
} WorkerActivity;

typedef enum LeaveReason
{
	LEAVE_NOT,
	LEAVE_FOR_GOOD,	 /* the database is needed, or pm.launcher is off */
	LEAVE_FOR_OTHERS /* somebody has waited for too long for its place */
} LeaveReason;

typedef enum HandlingSource
{
	HANDLING_EVENT, /* of a log */
	HANDLING_TIMER,
	HANDLING_PARKED /* an event or timer that is tried again */
} HandlingSource;

/*
 * What the handler has in hand that runs: whoever outlives it knows whom to
 * blame.
 */
typedef struct Handling
{
	int manager; /* its id, 0 for none */
	int lane;
	int lanes; /* of how many */
	HandlingSource source;
	bool several;	  /* events in one call: which one, is not known */
	bool correlating; /* its key is being asked for */
	bool outside;	  /* no function of a user runs: it is being read, or set aside */
	int64 position;
	int64 id;				 /* of a timer's or a parked event's row */
	char log[SLOT_LOG_NAME]; /* empty for a timer */
} Handling;

/* Copies one over another: most often the log is the same, and is not copied. */
static inline void
handling_copy(Handling *to, const Handling *from)
{
	memcpy(to, from, offsetof(Handling, log));
	if (strcmp(to->log, from->log) != 0)
		strlcpy(to->log, from->log, SLOT_LOG_NAME);
}

/*
 * One background worker.  Claimed by who starts it, under SlotShared->lock;
 * the worker itself attaches and gives it up.  "now" is written by the worker
 * and read by the monitoring functions, under the spinlock.
 */
typedef struct WorkerSlot
{
	bool in_use;
	WorkerKind kind;
	uint32 generation; /* of the claim: who waits for a start compares */
	Oid database;
	Oid role;
	pid_t claimer; /* who starts it */
	pid_t pid;	   /* 0 until attached */
	PGPROC *proc;
	TimestampTz started_at;
	pg_atomic_uint32 leave; /* a LeaveReason */
	pg_atomic_uint32 wakes; /* counts wake-ups: a latch can be reset by others' waits */

	slock_t mutex;
	struct
	{
		WorkerActivity activity;
		TimestampTz since;
		Handling handling;
		char name[NAMEDATALEN]; /* of the process manager */
		bool overdue;			/* the handler ignored its timeout's first firing */
		TimestampTz called_at;	/* the handler, last; written without the lock */
	} now;
	bool serving;	 /* a dispatcher has its share of its role's units */
	bool makes_room; /* it is about to leave, for somebody who waits */

	/* slot_place.c, under SlotShared->lock */
	uint32 waits;	 /* starts that lack a place or a worker slot */
	bool waits_slot; /* what they lack is a worker slot */
	Oid waits_role;	 /* a role that has its share of places, all in other databases */
	TimestampTz waits_since;
	TimestampTz pressed_at; /* when it was asked to give way, 0: not so */
	int pressed;			/* how hard */
	uint32 gave_way;		/* the generation that last had its handler cancelled for that */
	int64 allowance;		/* what a handler may take before others' do give way, ms */
	uint32 left;			/* the generation that last left of its own accord */
	uint32 lost;			/* the generation that last died in the midst of a handler */
} WorkerSlot;

/*
 * Does it serve (database, role), or will it?
 */
static inline bool
slot_serves(WorkerSlot *slot, WorkerKind kind, Oid database, Oid role)
{
	return slot->in_use && slot->kind == kind && slot->database == database && slot->role == role;
}

/*
 * How many starts a worker waits for.
 */
static inline uint32
slot_waits(WorkerSlot *slot)
{
	return slot->waits + (OidIsValid(slot->waits_role) ? 1 : 0);
}

/*
 * What a dispatcher had in hand that has died in the midst of a handler, until
 * that is counted as an attempt.  It is kept apart from the workers' slots: a
 * session may hold the unit's lock for as long as it likes, and no worker has
 * to wait for that.
 */
typedef struct LostCall
{
	Oid database; /* InvalidOid: free */
	Oid role;
	uint64 number; /* rises: the oldest has the lowest */
	pid_t pid;	   /* of the dispatcher */
	TimestampTz died_at;
	bool overdue; /* the handler ignored its timeout */
	Handling handling;
} LostCall;

/* A transaction that may still write below a generation's last position. */
typedef struct GenerationMember
{
	VirtualTransactionId vxid;
	uint32 generations; /* bit g: it belongs to generation g */
} GenerationMember;

/* The generations of one log; highwater.c explains them. */
typedef struct Generations
{
	int64 mark;	   /* settled: nothing can appear at or below it */
	int64 reached; /* the highest last value that a look has seen, or a cursor */
	uint32 used;   /* bit g: generation g is pending */
	int64 last[SLOT_GENERATIONS];
	int nmembers;
	int max_members;
	bool fixed; /* there is room for no more */
	GenerationMember *members;
} Generations;

/*
 * One log.  "lock" protects the generations; "interest" has a bit for every
 * worker that wants to be woken when a writer of this log ends.
 *
 * A slot can be taken away and given to another log at any time.  Each time,
 * "incarnation" rises before anything else changes.  It changes hands under its
 * lock; without the lock, compare the incarnation afterwards.
 */
typedef struct LogSlot
{
	LWLock lock;
	pg_atomic_uint64 incarnation;
	Oid database; /* InvalidOid: free */
	Oid relid;
	Oid owner; /* of the table, when the slot was given: it is of this role's share */
	int index; /* of this slot */
	int next_free;
	pg_atomic_uint32 seeded;  /* the mark is at least the furthest cursor */
	pg_atomic_uint32 pins;	  /* transactions that have used its mark and go on */
	pg_atomic_uint32 used_at; /* when somebody last read or wrote the log, s since 2000 */
	pg_atomic_uint64 mark;	  /* copies of generations.mark and generations.reached, */
	pg_atomic_uint64 reached; /* to read without the lock */
	pg_atomic_uint64 interest[SLOT_WAKE_WORDS];
	pg_atomic_uint64
		wakes; /* counts ends of writers while somebody was to be woken; never set back */
	Generations generations;
	GenerationMember members[SLOT_MEMBERS];
} LogSlot;

/* Why slot_claim() gives none. */
typedef enum SlotRefusal
{
	SLOT_NO_PLACE = -1,	   /* pm.max_workers are at work */
	SLOT_SHARE_TAKEN = -2, /* the role has all that it may have in this database */
	SLOT_ROLE_FULL = -3	   /* or in all of them together */
} SlotRefusal;

/* A log's slot, as somebody remembers it. */
typedef struct LogRef
{
	LogSlot *slot; /* NULL: none */
	uint64 incarnation;
} LogRef;

/* A database that the launcher has looked at or should look at. */
typedef struct DatabaseSlot
{
	Oid database;			 /* InvalidOid: free */
	bool active;			 /* a scheduler has found pm in it */
	pg_atomic_uint32 away;	 /* its scheduler has left, to make room */
	pg_atomic_uint32 wanted; /* and something has happened since */
	TimestampTz due;		 /* when to send one back at the latest */
	int gave_way;			 /* how often a role has had to, in a row */
	int nroles;				 /* that own process managers in it, */
	Oid role;				 /* one of them */
	uint32 announced;		 /* counts: "this database has pm, look again" */
	uint32 looked;			 /* the count when a scheduler last started */
	int held_out_by;		 /* pid of the backend that drops, renames or copies it */
	TimestampTz refused_at;	 /* there was no process for a worker, 0: there was, last time */
} DatabaseSlot;

typedef struct SlotShared
{
	LWLock lock; /* workers, databases */
	int nworkers;
	pg_atomic_uint64 registry_generation; /* counts commits that changed a registration */
	pg_atomic_uint64 worker_generation;	  /* counts comings and goings of dispatchers */
	pg_atomic_uint32 waiting;			  /* the sum of what slot_waits() says of the workers */
	pg_atomic_uint64 scarce_until;		  /* there are too few worker slots, a TimestampTz */
	ConditionVariable moved;			  /* broadcast when a cursor has moved */
	WorkerSlot workers[SLOT_MAX_WORKERS];
	pg_atomic_uint32 nlost;
	uint64 lost_number; /* of the last lost call */
	LostCall lost[SLOT_MAX_LOST];
	DatabaseSlot databases[SLOT_MAX_DATABASES];
} SlotShared;

extern SlotShared *Slots; /* NULL when the library is not preloaded */
extern WorkerSlot *MyWorkerSlot;

extern void slot_install_hooks(void);

extern int slot_claim(WorkerKind kind, Oid database, Oid role, int colleagues, uint32 *generation);
extern void slot_unclaim(int index, uint32 generation);
extern void slot_attach(Datum arg);
extern Datum slot_arg(int index, uint32 generation);
extern int slot_orphan(WorkerKind kind, Oid database, int from);
extern uint32 slot_announced(void);
extern void slot_set_looked(uint32 announced);
extern int slot_count(WorkerKind kind, Oid database, Oid role);
extern void slot_workers_changed(WorkerKind kind, Oid database, Oid role);
extern void slot_serve(void);
extern void slot_lost_add(WorkerSlot *slot);
extern bool slot_lost_unit(int manager, int lane);
extern int slot_lost_next(int from, LostCall *call);
extern void slot_lost_forget(int index, uint64 number);
extern void slot_lost_forget_database(Oid database);
extern int slot_rank(int *count);

extern bool slot_place_free(Oid role, bool *share_taken);
extern void slot_place_wait(uint32 waits, bool for_slot, Oid role, TimestampTz since);
extern bool slot_place_make_room(void);
extern void slot_place_press(void);
extern bool slot_place_waited(int64 ms);
extern bool slot_place_last(void);
extern bool slot_place_others_first(void);
extern bool slot_place_schedulers_wait(void);
extern void slot_place_scarce(void);
extern bool slot_place_is_scarce(void);

extern void slot_wake(int index);
extern uint64 slot_registry_generation(void);
extern void slot_wake_kind(WorkerKind kind, Oid database);
extern void slot_activity(WorkerActivity activity);
extern void slot_handling(const Handling *handling, const char *name);
extern void slot_handled(void);

extern void slot_log_shmem_request(void);
extern void slot_log_shmem_startup(void);
extern void slot_clear_interest(int index);
extern LogSlot *slot_log(Oid relid, bool create);
extern void slot_log_ref(Oid relid, bool create, LogRef *ref);
extern bool slot_log_valid(const LogRef *ref);
extern bool slot_log_read(const LogRef *ref, int64 *mark, int64 *reached);
extern void slot_log_used(LogSlot *slot);
extern void slot_pin_install(void);
extern void slot_pin(LogSlot *slot);
extern void slot_log_seed(LogSlot *slot, Oid relid, int64 cursor, int64 moved);
extern void slot_log_reach(LogSlot *slot, int64 last);
extern LogSlot *slot_log_nth(int n);
extern void slot_log_interest(Oid relid, LogRef *ref);
extern void slot_no_interest(void);
extern void slot_log_wake(LogSlot *slot);
extern bool slot_wake_wanted(LogSlot *slot);
extern void slot_wake_bits(const uint64 *words);
extern void slot_forget_log(Oid relid);
extern void slot_forget_database(Oid database);
extern void slot_sweep_logs(List *relids);

extern void slot_hint_shmem_request(void);
extern void slot_hint_shmem_startup(void);
extern void slot_hint_publish(Oid relid, int64 floor);
extern bool slot_hint(VirtualTransactionId vxid, Oid relid, int64 *floor);

extern DatabaseSlot *slot_database(Oid database, bool create);
extern bool slot_held_out(Oid database);
extern void slot_refused(Oid database, bool refused);
extern void slot_set_active(bool active, int nroles, Oid role);
extern void slot_database_leave(TimestampTz due, int gave_way);
extern int slot_database_gave_way(void);
extern void slot_database_due(TimestampTz due);
extern void slot_database_touch(Oid database);
extern bool slot_database_others(Oid role);
extern bool slot_asked_to_leave(void);
extern bool slot_gives_way(void);

#endif /* PM_SLOT_H */
