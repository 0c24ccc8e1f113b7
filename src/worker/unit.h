/*
 * unit.h
 *		Keeps the units that a dispatcher runs.
 */
#ifndef PM_UNIT_H
#define PM_UNIT_H

#include "nodes/bitmapset.h"

#include "dispatch/isolate.h"
#include "manager/journal_purge.h"
#include "manager/registry.h"
#include "worker/contention.h"
#include "worker/watch.h"

/* With up to this many logs, a batch reads all of them. */
#define UNIT_FEW 64

/* How long until a unit is run again; doubled each time up to the maximum, in ms. */
#define UNIT_HELD_MIN 10 /* a mark is held back, or something is locked */
#define UNIT_HELD_MAX 100
#define UNIT_WAIT_MIN 500 /* something outside is wrong */
#define UNIT_WAIT_MAX 5000
#define UNIT_SENT_NAP 1000 /* a transaction is open that has sent something to instances */

/* One lane of one process manager, as its dispatcher sees it. */
typedef struct Unit
{
	ProcessManager *pm;
	int lane;
	bool dirty;				/* may have something to do, */
	bool first;				/* but only because it was just loaded: others come first */
	bool check;				/* when loaded: run a batch even if nothing is known to do */
	TimestampTz not_before; /* when to run it again, DT_NOEND: when woken */
	TimestampTz due;		/* when a timer or retry is due, DT_NOEND: none */
	bool leave_parked;		/* the next batch begins with the logs, not with parked events */
	Isolate isolate;
	Contention contention;
	int careful;		/* items that it has handled carefully since it was loaded */
	bool passed;		/* it had nothing in hand at the promotion, or has passed it, */
	bool unwritten;		/* and the row of its lane does not say so yet (passed.c) */
	bool awaits;		/* it waits for a standby, or for its turn among careful calls */
	int servers_faults; /* failures in a row that look like problems of the server */
	bool polling;		/* not_before is for a mark or a lock: a wake-up ends the wait */
	long held_nap;
	long wait_nap;
	Follow *follows;		/* one for each of pm->logs */
	bool all;				/* the next batch reads all logs, not only those that have moved */
	bool sent;				/* the next batch looks for what was sent to instances */
	uint64 sent_count;		/* it looks when this count of slot_sent.c has changed */
	TimestampTz sent_again; /* or at this time; DT_NOEND: never */
	JournalPurge purge;		/* of the first lane: what has been removed */
	TimestampTz purge_at;	/* when to remove more; 0: now */
} Unit;

/* The units of one dispatcher.  All zero: not loaded yet. */
typedef struct Units
{
	MemoryContext context; /* of the list and all that it refers to */
	List *list;			   /* of Unit, in the order of process managers and lanes */
	Watches watches;
	uint64 version; /* of the registrations, when they were loaded */
	uint64 generation;
	uint64 worker_generation; /* of the dispatchers, when the share was last computed */
	int rank;				  /* this one's number among its role's dispatchers, from 0 */
	int colleagues;			  /* how many dispatchers the role has */
	bool share_changed;		  /* rank or colleagues, since the units were loaded */
	bool loaded;			  /* it is not known yet which of them have something to do */
	bool unwritten;			  /* some of them have passed, and that is not written yet */
	TimestampTz loaded_at;	  /* when the last load ended */
	TimestampTz settled;	  /* until then, only some changes make the units stale */
} Units;

/* Called once in a process, before the first load. */
extern void unit_install(void);

/* Loads the units if they have changed; false if this dispatcher is not needed any more. */
extern bool unit_load(Units *units);
extern bool unit_stale(Units *units);
/* When they will be loaded again, because of a change that can wait. */
extern TimestampTz unit_stale_at(const Units *units);

/* Set when to run a unit again that cannot continue now. */
extern void unit_poll(Unit *unit);
extern void unit_wait(Unit *unit);

/* Finds out whether the next batch of the unit has to look for what was sent to instances. */
extern void unit_look_sent(Unit *unit, TimestampTz now);

/* Find out which logs the next batch of a unit must read, and record what the last one has read. */
extern bool unit_moved(Unit *unit, Bitmapset **logs);
extern void unit_looked(Unit *unit, bool all, const Bitmapset *logs, const Bitmapset *rest);

#endif /* PM_UNIT_H */
