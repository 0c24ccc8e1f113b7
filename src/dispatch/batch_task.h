/*
 * batch_task.h
 *		What a batch must do.
 */
#ifndef PM_BATCH_TASK_H
#define PM_BATCH_TASK_H

#include "dispatch/careful_note.h"
#include "log/highwater.h"
#include "manager/lane.h"
#include "manager/lease.h"
#include "manager/registry.h"

/*
 * How pm.catch_up(as_of) lets the time move: each item is handled at its own time, up to
 * a limit, which is BatchTask.now.
 */
typedef struct BatchWalk
{
	TimestampTz until; /* that limit, at most */
	TimestampTz last;  /* what was recorded after this time counts as recorded then */
	bool look;		   /* handle nothing, only find out when the next item is */
} BatchWalk;

struct BatchItem;

/*
 * Functions that are told what a batch does with each item (rehearse.c).
 */
typedef struct BatchWatch
{
	/* The handler is about to be called for a key of an item, and has been called. */
	void (*before)(struct BatchWatch *watch, const struct BatchItem *item);
	void (*after)(struct BatchWatch *watch, const struct BatchItem *item);
	/* The item is done with, after this number of calls. */
	void (*done)(struct BatchWatch *watch, const struct BatchItem *item, int calls);
} BatchWatch;

/* Decided before the batch reads, and not changed after that. */
typedef struct BatchTask
{
	ProcessManager *pm;
	int lane;
	LaneState *state; /* of the unit, when the batch began */
	TimestampTz now;  /* timers and retries up to this time are due */
	int limit;		  /* at most this many events and timers */
	HighwaterView view;
	bool some;			/* not all logs are read, so that no timer may fire */
	bool wait_for_logs; /* wait for logs that are locked */
	bool last_look;		/* no later batch will wait for a log with a problem: leave it out now */
	Lease *again;		/* read only what was fetched under this lease; NULL: all */
	bool raise;			/* errors go to the caller: only what is deferred is set aside */
	TimestampTz parked_since; /* leave alone what was parked before this time; 0: nothing */
	const BatchWalk *walk;	  /* NULL: the time does not move with the items */
	BatchWatch *watch;		  /* NULL: none */
	bool careful;			  /* one item, which must have been noted (careful.c) */
	CarefulNote *note;		  /* in a careful batch: what is noted */
	bool separate;			  /* items are handled in subtransactions */
	int group;				  /* about this many items share a subtransaction */
} BatchTask;

#endif /* PM_BATCH_TASK_H */
