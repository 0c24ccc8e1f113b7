/*
 * tally.h
 *		What has come of a batch.
 */
#ifndef PM_TALLY_H
#define PM_TALLY_H

#include "nodes/bitmapset.h"

#include "dispatch/batch.h"

/* Of one of the batch's logs. */
typedef struct TallyLog
{
	int done;		/* events got past */
	int handled;	/* of these, by the handler */
	int64 position; /* of the last one got past */
} TallyLog;

typedef struct Tally
{
	int done;	 /* events and timers got past: handled, parked, not for this unit */
	int handled; /* of these, by the handler */
	TallyLog *logs;
	bool again;		 /* look again at once: timers have fired, events been parked */
	bool halted;	 /* the unit has been */
	bool busy;		 /* some log cannot be read now, and the unit waits for it */
	bool more;		 /* there is more in the logs */
	bool held;		 /* a mark is held back by a writer, or a log is locked */
	bool broken;	 /* something is wrong with a log */
	int left_out;	 /* logs, for one reason or the other */
	Bitmapset *rest; /* logs that were looked at and have more, are held back, or left out */
	TimestampTz due; /* of the earliest timer that the batch has set; DT_NOEND: none */
} Tally;

/* Begins with nothing done; what is known from reading is noted. */
extern void tally_begin(Tally *tally, const Batch *batch);

/* The batch has got past an item. */
extern void tally_add(Tally *tally, const BatchItem *item, bool handled);

/* Moves the cursors to where the batch has got, and notes what is left in the logs. */
extern void tally_advance(Tally *tally, const Batch *batch);

#endif /* PM_TALLY_H */
