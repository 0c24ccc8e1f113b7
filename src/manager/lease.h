/*
 * lease.h
 *		Leases: which consumer holds a lane, and what it has fetched from it.
 */
#ifndef PM_LEASE_H
#define PM_LEASE_H

#include "manager/registry.h"

/* What has been fetched of one log. */
typedef struct Fetched
{
	char *log;
	int64 up_to; /* all up to here has been fetched, parked, or is not for this lane */
	int nevents; /* events that were fetched and not advanced, by their positions */
	int64 *events;
	int npassed; /* events that were parked, and are not fetched again, by their positions */
	int64 *passed;
	int ntried;		 /* the entries of tried_to and tries */
	int64 *tried_to; /* positions up to which something had been fetched when a lease ran out */
	int32 *tries;	 /* how often that has happened up to each of these positions */
} Fetched;

typedef struct Lease
{
	ProcessManager *pm;
	int lane;
	char *consumer;	   /* NULL: no one holds the lane */
	Oid role;		   /* of the consumer */
	TimestampTz since; /* when it began to hold the lane */
	TimestampTz until; /* when the lease runs out */
	TimestampTz served_at;
	int nparked; /* parked events that were fetched and not advanced, by the ids of their rows */
	int64 *parked;
	int ntimers; /* timers that were fetched and not advanced, by their ids */
	int64 *timers;
	int ntried_timers; /* timers that had been fetched when a lease ran out, by their ids */
	int64 *tried_timers;
	int32 *timer_tries;	 /* how often that has happened to each of them */
	char *dead_log;		 /* the event that must not be fetched once more; NULL: a timer */
	int64 dead_position; /* 0: none */
	bool parked_last;	 /* what was fetched last were parked events */
	char *run_out;		 /* the consumer whose lease has just been found to have run out, or NULL */
	List *logs;			 /* of Fetched */
} Lease;

/* Ends all leases of a process manager whose units are locked, and forgets what was fetched. */
extern void lease_void(const ProcessManager *pm);

/* Does somebody hold the lane now? */
extern bool lease_is_held(const Lease *lease);

/*
 * Does this consumer, as the current user, hold the lane, or did it hold the lane until
 * the lease ran out?
 */
extern bool lease_is_of(const Lease *lease, const char *consumer);

/* How many events and timers have been fetched and not advanced? */
extern int lease_count(const Lease *lease);

/* What has been fetched of a log; NULL if nothing has, unless it is to be added. */
extern Fetched *lease_fetched(Lease *lease, const char *log, bool add);

/* How often a lease ran out after the event, or the timer, had been fetched. */
extern int lease_event_tries(Lease *lease, const char *log, int64 position);
/* Had the event been fetched when a lease was given up, or ran out? */
extern bool lease_was_tried(Lease *lease, const char *log, int64 position);
extern int lease_timer_tries(const Lease *lease, int64 id);

/* Has the event been fetched, and not advanced? */
extern bool lease_has_event(Lease *lease, const char *log, int64 position);

/* Has the event been parked already? */
extern bool lease_has_passed(Lease *lease, const char *log, int64 position);
extern void lease_pass(Lease *lease, const char *log, int64 position);

/* Is a number among these? */
extern bool lease_has(const int64 *numbers, int count, int64 number);
extern int64 *lease_add(int64 *numbers, int *count, int64 number);

/* Takes a number out, and returns how many are left. */
extern int lease_without(int64 *numbers, int count, int64 number);

/* Keeps the numbers after a position, and returns how many there are. */
extern int lease_keep_after(int64 *numbers, int count, int64 position);

/* The consumer, as the current user, holds the lane from now on. */
extern void lease_take(Lease *lease, const char *consumer, TimestampTz until);

/* Gives up the lane, and counts this many tries of what was fetched and not advanced. */
extern void lease_give_up(Lease *lease, int tries);

/* Forgets what is known of positions up to the cursors. */
extern void lease_forget_up_to(Lease *lease, const char *log, int64 position);

#endif /* PM_LEASE_H */
