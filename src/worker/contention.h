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
	int in_a_row;			/* conflicts of an item that was alone in its batch */
	int unrecorded;			/* conflicts that are not yet added to the lane's row */
	TimestampTz turn_began; /* when its turn among the lanes began; 0: it does not have the turn */
} Contention;

/* Called before a batch of a process manager with this many lanes. */
extern void contention_begin(int lanes);

/* Do the lanes run one after another now? */
extern bool contention_alone(const ProcessManager *pm);

/* Called after a conflict: sets when to run the unit again. */
extern void contention_met(const Contention *contention, const ProcessManager *pm, int sqlerrcode,
						   TimestampTz *not_before);

/*
 * Lanes that run alone take turns.  Takes the turn, unless another lane has it.  "napped" says
 * that the unit has waited until its time was up, and was not woken.
 */
extern bool contention_take(int manager, bool napped);

/* Called if another lane runs: sets when to run the unit again, if it is not woken earlier. */
extern void contention_wait(int manager, TimestampTz *not_before);

/*
 * Called when the unit has run alone, with the time at which its batch began.  Returns whether
 * its turn is over and another lane has the turn.
 */
extern bool contention_ran(Contention *contention, int manager, TimestampTz began, bool more);

#endif /* PM_CONTENTION_H */
