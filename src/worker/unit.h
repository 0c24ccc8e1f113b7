/*
 * unit.h
 *		What a dispatcher knows of the units it runs and the logs they follow.
 */
#ifndef PM_UNIT_H
#define PM_UNIT_H

#include "nodes/bitmapset.h"

#include "dispatch/isolate.h"
#include "manager/registry.h"

#define UNIT_HELD_MIN 10   /* polling a mark that is held back, ms */
#define UNIT_HELD_MAX 100  /* and at most */
#define UNIT_WAIT_MIN 500  /* looking again at what is wrong outside, ms */
#define UNIT_WAIT_MAX 5000 /* and at most */

struct Unit;

/* A log that a unit follows. */
typedef struct Follow
{
	struct Unit *unit;
	bool moved; /* since the unit last looked at it */
} Follow;

typedef struct Unit
{
	ProcessManager *pm;
	int lane;
	bool dirty;				/* may have something to do */
	TimestampTz not_before; /* to look again, DT_NOEND: when woken */
	TimestampTz due;		/* a timer or retry, DT_NOEND: none */
	bool leave_parked;		/* the logs come first this time */
	Isolate isolate;
	int at_once;		/* failures in a row that were not counted */
	int conflicts;		/* of these, not yet written down */
	int servers_faults; /* and those that look like the server's own trouble */
	bool polling;		/* not_before is for a mark or lock: a wake-up ends it */
	long held_nap;
	long wait_nap;
	Follow *follows; /* of each of pm->logs */
	bool all;		 /* look at all logs next time, not at those that have moved */
} Unit;

extern List *Units;

extern void unit_install(void);
extern void unit_load(void);
extern bool unit_stale(void);
extern void unit_poll(Unit *unit);
extern void unit_wait(Unit *unit);
extern bool unit_incomplete(void);
extern void unit_look(void);
extern bool unit_moved(Unit *unit, Bitmapset **logs);
extern void unit_looked(Unit *unit, bool all, const Bitmapset *logs, const Bitmapset *rest);

#endif /* PM_UNIT_H */
