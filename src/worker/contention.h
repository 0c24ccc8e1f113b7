/*
 * contention.h
 *		What a unit does after a conflict with another session over a lock or a stream.
 */
#ifndef PM_CONTENTION_H
#define PM_CONTENTION_H

#include "datatype/timestamp.h"

#include "manager/registry.h"

typedef struct Contention
{
	int in_a_row;			 /* conflicts of an item that was alone in its batch */
	int unrecorded;			 /* conflicts that are not yet added to the lane's row */
	bool alone;				 /* its batch runs while no other lane's does */
	bool beside;			 /* the lanes run in parallel; false before the first batch */
	TimestampTz turn_began;	 /* when its turn among the lanes began; 0: it does not have the turn */
	TimestampTz waits_since; /* since when it waits for its turn; 0: it does not */
} Contention;

/* Called before a batch of a process manager with this many lanes. */
extern void contention_begin(int lanes);

/* Do the lanes run one after another now? */
extern bool contention_alone(const ProcessManager *pm);

/* Called after a conflict: sets when to run the unit again. */
extern void contention_met(const Contention *contention, const ProcessManager *pm,
						   const ErrorData *error, TimestampTz *not_before);

/*
 * Lanes that run alone take turns.  Takes the turn, unless another lane has it.  If the
 * unit has waited for a long time, it has the turn next, and *until is set to how long to
 * wait at the lock for the lane that runs now; 0: not at all.  "busy" says that the
 * dispatcher did not sleep meanwhile.
 */
extern bool contention_take(const Contention *contention, const ProcessManager *pm, bool busy,
							TimestampTz *until);

/* Called after the batch, or when the wait did not help. */
extern void contention_taken(void);

/* Called if another lane runs: sets when to run the unit again, if it is not woken earlier. */
extern void contention_wait(Contention *contention, int manager, TimestampTz *not_before);

/*
 * Called when the unit has run alone, with the time at which its batch began.  Returns whether
 * its turn is over and another lane has the turn.
 */
extern bool contention_ran(Contention *contention, int manager, TimestampTz began, bool more);

#endif /* PM_CONTENTION_H */
