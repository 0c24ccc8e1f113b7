/*
 * tally.h
 *		Counts what a batch has done, and moves the cursors.
 */
#ifndef PM_TALLY_H
#define PM_TALLY_H

#include "nodes/bitmapset.h"

#include "dispatch/batch.h"

/* The counts of one of the batch's logs. */
typedef struct TallyLog
{
	int done;		/* events that the batch has got past */
	int handled;	/* of these, by the handler */
	int64 position; /* of the last event that was handled, parked or skipped */
} TallyLog;

typedef struct Tally
{
	int done;	 /* events and timers that were handled, parked, or not for this unit */
	int handled; /* of these, by the handler */
	TallyLog *logs;
	bool left;		  /* the next item must run in a batch of its own */
	int failed;		  /* items that have failed and been parked, while others went well */
	bool again;		  /* run the unit again at once: timers have fired, or events were parked */
	bool halted;	  /* the unit has been halted */
	bool noted;		  /* the next item was noted, and is handled by the next batch (careful.c) */
	bool awaits;	  /* a standby must follow this server first, or it is not our turn */
	bool busy;		  /* some log cannot be read now, and the unit waits for it */
	bool more;		  /* there is more in the logs */
	bool held;		  /* a mark is held back by a writer, or a log is locked */
	bool broken;	  /* a log has a problem */
	int left_out;	  /* how many logs were left out, for either reason */
	Bitmapset *rest;  /* logs that were read and have more, are held back, or were left out */
	TimestampTz due;  /* of the earliest timer that the batch has set; DT_NOEND: none */
	bool next_known;  /* in a walk: the time of the next event is known */
	TimestampTz next; /* that time */
} Tally;

/* Begins with nothing done, and records what is known from reading. */
extern void tally_begin(Tally *tally, const Batch *batch);

/*
 * Counts an item that the batch has handled, parked or skipped.  "handled" is how often
 * the handler was called for it: once for each key.
 */
extern void tally_add(Tally *tally, const BatchItem *item, int handled);

/* How far the batch has come in one of its logs; *more says whether there is more in it. */
extern int64 tally_reached(const Tally *tally, const Batch *batch, int log, bool *more);

/* Moves the cursors to where the batch has come, and records what is left in the logs. */
extern void tally_advance(Tally *tally, const Batch *batch);

#endif /* PM_TALLY_H */
