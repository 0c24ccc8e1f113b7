/*
 * erasures.h
 *		Completes, in the scheduler, what pm.erase has left to do.
 */
#ifndef PM_ERASURES_H
#define PM_ERASURES_H

#include "datatype/timestamp.h"
#include "utils/palloc.h"

typedef struct Erasures
{
	MemoryContext context; /* of a round */
	uint64 version;		   /* of the registrations, when it last looked */
	uint64 generation;
	TimestampTz looked_at;	/* when it last looked, */
	TimestampTz not_before; /* when it may look again, */
	TimestampTz due;		/* and when it will; DT_NOEND: nothing is left to do */
	long nap;				/* until then, ms */
	int turn;				/* which log comes first */
	int await;				/* how long a unit is waited for, ms */
	int await_turn;			/* which process manager is waited for */
} Erasures;

extern void erasures_begin(Erasures *erasures);

/* In transactions of its own.  Returns when to call it again. */
extern TimestampTz erasures_round(Erasures *erasures);

/* The same for a scheduler that leaves. */
extern TimestampTz erasures_due_away(const Erasures *erasures);

#endif /* PM_ERASURES_H */
