/*
 * contention.h
 *		What a unit does after it has met another session at a lock or a stream.
 */
#ifndef PM_CONTENTION_H
#define PM_CONTENTION_H

#include "datatype/timestamp.h"

typedef struct Contention
{
	int in_a_row;			 /* conflicts of an item that was alone in its batch */
	int unrecorded;			 /* conflicts that are not yet added to the lane's row */
	TimestampTz alone_until; /* until then it runs only while no other lane does so */
	long alone_for;			 /* for so long, ms, when it was decided last */
	int ran;				 /* batches since it last let the other lanes run */
} Contention;

/* Called before a batch of a process manager with this many lanes. */
extern void contention_begin(int lanes);

/* Must the next batch run alone, if the unit is one of several lanes? */
extern bool contention_alone(const Contention *contention);

/* Called after a conflict: sets when to run the unit again. */
extern void contention_met(Contention *contention, int sqlerrcode, TimestampTz *not_before);

/* Called when another lane runs alone, or when this one has done so and has more to do. */
extern void contention_busy(Contention *contention, TimestampTz *not_before);
extern void contention_ran(Contention *contention, TimestampTz *not_before);

#endif /* PM_CONTENTION_H */
