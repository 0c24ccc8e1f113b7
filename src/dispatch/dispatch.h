/*
 * dispatch.h
 *		Runs one batch of one unit: computes the marks, reads, handles, moves the cursors.
 */
#ifndef PM_DISPATCH_H
#define PM_DISPATCH_H

#include "nodes/bitmapset.h"

#include "dispatch/batch_task.h"
#include "dispatch/progress.h"
#include "log/highwater.h"
#include "manager/registry.h"

typedef enum DispatchOutcome
{
	DISPATCH_IDLE,		/* nothing to handle */
	DISPATCH_DONE,		/* everything that was there has been handled */
	DISPATCH_MORE,		/* something was handled, and there is more */
	DISPATCH_DELIVERED, /* the next batch finds more: what was sent, or an event to be parked */
	DISPATCH_NOTED,		/* the next item is noted; nothing was handled (careful.c) */
	DISPATCH_AWAITS,	/* nothing may be handled before a standby follows, or before its turn */
	DISPATCH_BUSY,		/* another session has locked the unit or a log */
	DISPATCH_STALE,		/* the registration has changed: load it again */
	DISPATCH_STOPPED	/* paused, halted, or not yet to be retried */
} DispatchOutcome;

typedef struct DispatchResult
{
	DispatchOutcome outcome;
	int done;			/* events and timers that were handled, parked, or not for this unit */
	int handled;		/* of these, by the handler */
	int failed;			/* items that failed and were parked, while the others went well */
	bool left;			/* the next item must run in a batch of its own */
	bool parked;		/* they were parked ones */
	bool others_alone;	/* other lanes have conflicted: this one must run alone, too */
	bool held;			/* a mark is held back by a writer, or a log is locked */
	bool left_out;		/* a log has a problem */
	bool careful;		/* the unit went carefully */
	bool parked_awaits; /* DISPATCH_AWAITS is about a parked event, and the logs need not wait */
	bool forgot;		/* the note has been removed */
	bool passed;		/* the unit had nothing in hand at the promotion; that is not written */
	bool all;			/* all logs have been read, not only some */
	bool sending;		/* a transaction is open that has sent something */
	Bitmapset *rest;	/* logs that were read and have more, are held back, or were left out */
	TimestampTz due; /* when there will be something to do without a new event; DT_NOEND: never */
	TimestampTz due_before; /* when there was something to do, before the batch */
	bool earlier;			/* "due" is earlier than that */
	bool next_known;		/* in a walk: the time of the next event is known */
	TimestampTz next;		/* that time; DT_NOEND: there is no next event */
} DispatchResult;

typedef struct DispatchRequest
{
	ProcessManager *pm;
	int lane;
	int64 max_events;		 /* at most this many, and one at a time if 1 */
	int max_parked;			 /* the same for parked ones */
	bool leave_parked;		 /* leave the parked events out this time */
	bool alone;				 /* run only while no other lane of the process manager does so; */
	TimestampTz alone_until; /* until this time, wait for one that does; 0: do not wait */
	HighwaterView view;
	int separate;			  /* about this many items share a subtransaction; 0: none */
	bool wait;				  /* wait for the unit's lock; and no later batch will wait for a log */
	bool wait_for_logs;		  /* wait for logs that are locked */
	TimestampTz now;		  /* handle what is due at this time; 0: by the clock */
	bool raise;				  /* errors go to the caller: only what is deferred is set aside */
	TimestampTz parked_since; /* leave alone what was parked before this time; 0: nothing */
	const BatchWalk *walk;	  /* the time moves, from "now" on; NULL: it does not */
	BatchWatch *watch;		  /* is told of each item; NULL: nobody */
	int careful;			  /* go carefully after a promotion, for this many items; 0: do not */
	CarefulNote *note;		  /* if "careful": what is noted; a batch that notes writes it */
	bool passed;			  /* the unit had nothing in hand at the promotion */
	bool sent;				  /* look for what was sent to instances */
	bool some;				  /* only some of the logs have to be read */
	Bitmapset *logs; /* these logs, by their numbers in pm->logs, if nothing but events is due */
} DispatchRequest;

/*
 * Runs one batch of a unit in the current (sub)transaction, which must be READ
 * COMMITTED, and must not use a snapshot that is older than the marks.  After an
 * error, *progress, which the caller has set to zeros, says how far the batch had
 * come.
 */
extern DispatchResult dispatch_batch(const DispatchRequest *request, Progress *progress);

#endif /* PM_DISPATCH_H */
