/*
 * contention.h
 *		What a unit does after it has met another session at a lock or a stream.
 */
#ifndef PM_CONTENTION_H
#define PM_CONTENTION_H

#include "datatype/timestamp.h"

#include "manager/registry.h"

typedef struct Contention
{
	int in_a_row;			/* conflicts of an item that was alone in its batch */
	int unrecorded;			/* conflicts that are not yet added to the lane's row */
	TimestampTz turn_began; /* since then it has its turn among the lanes, 0: it has not */
} Contention;

/* Called before a batch of a process manager with this many lanes. */
extern void contention_begin(int lanes);

/* Do the lanes run one after another now? */
extern bool contention_alone(const ProcessManager *pm);

/* Called after a conflict: sets when to run the unit again. */
extern void contention_met(const Contention *contention, const ProcessManager *pm, int sqlerrcode,
						   TimestampTz *not_before);

/*
 * Lanes that run alone take turns.  Takes the turn, unless another lane has it.  "napped":
 * the unit has waited for its time, and nothing has woken it.
 */
extern bool contention_take(int manager, bool napped);

/* Called if another lane runs: sets when to run the unit again, if it is not woken earlier. */
extern void contention_wait(int manager, TimestampTz *not_before);

/*
 * Called when the unit has run alone, in a batch that began at a time.  Returns whether its turn is
 * over, and that of another one has begun.
 */
extern bool contention_ran(Contention *contention, int manager, TimestampTz began, bool more);

#endif /* PM_CONTENTION_H */
