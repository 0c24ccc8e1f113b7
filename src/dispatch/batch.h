/*
 * batch.h
 *		What a batch of a unit handles, and in which order.
 */
#ifndef PM_BATCH_H
#define PM_BATCH_H

#include "base/key.h"
#include "dispatch/dispatch.h"
#include "dispatch/reading.h"
#include "log/log_trouble.h"
#include "manager/cursor.h"
#include "manager/lane.h"
#include "shmem/handling.h"

/* This many logs a batch keeps locked; of more, each only while it is looked at. */
#define BATCH_LOCKS 64

/* One followed log in a batch. */
typedef struct BatchLog
{
	Cursor *cursor;
	PmLog *log;
	ReadingKey key;
	Reading *reading; /* what has been read of it, NULL: nothing */
	int next;		  /* event of that */
	bool marked;	  /* the mark has been computed, which is */
	Highwater mark;
	bool unknown;		/* what comes after what was read cannot be found out now */
	LogTrouble trouble; /* why it cannot be read now */
	int looked_at;		/* events, in this batch */
	int taken;			/* events, into the batch */
	int done;			/* of these, got past */
	int handled;		/* of these, by the handler */
	int64 position;		/* of the last one got past */
	List *repartitions; /* those that say something of what is to come */
	bool others; /* there are events that are not this lane's, or handled by one of the past */
} BatchLog;

/* One event or timer. */
typedef struct BatchItem
{
	HandlingSource source;
	BatchLog *log; /* of an event of a log */
	int64 position;
	int64 id;				  /* of a timer's or a parked event's row */
	const char *log_name;	  /* NULL for a timer */
	TimestampTz time;		  /* recorded or due at */
	Datum event;			  /* a pm.event */
	int64 too_large;		  /* 0, or its size: a stub stands for it */
	Key *key;				  /* NULL: not asked for yet, or not for us */
	struct BatchItem *set_by; /* of a timer that this batch has set: by what, in the end */
	bool passed;			  /* not for us */
} BatchItem;

typedef struct Batch
{
	DispatchRequest *request;
	ProcessManager *pm;
	int lane;
	LaneState state;
	TimestampTz now; /* what timers and retries go by */
	int limit;
	Size bytes; /* of events that were read */

	bool many; /* too many logs to keep them all locked */
	bool some; /* not all of the logs are looked at: no timer is fired */
	int nlogs;
	BatchLog *logs;
	int count; /* events, in the order to handle */
	BatchItem **events;
	int next;	  /* of these */
	bool cut;	  /* what comes after the last is not known */
	int left_out; /* logs */

	bool has_timers;	/* the handler is one that sets them */
	bool timers_unread; /* some are due, none has been read */
	bool timers_more;	/* there may be more due after those that have been read */
	List *timers;		/* of BatchItem, by due and id */
	int next_timer;
	int64 first_set; /* the first timer that this batch has set, 0: none */
	BatchItem *first_set_by;

	Keys keys;
	int done;	 /* events and timers got past */
	int handled; /* of these, by the handler */
	bool again;	 /* look again at once: timers have fired, events been parked */
	bool halted;
	TimestampTz due; /* of the earliest timer set */
} Batch;

extern void batch_name(const BatchItem *item, Handling *what);
extern void batch_mark(const Batch *batch, const BatchItem *item);
extern void batch_open(Batch *batch, List *cursors);
extern bool batch_is_ours(Batch *batch, BatchItem *item, Datum key);
extern bool batch_read(Batch *batch, DispatchResult *result);
extern BatchItem *batch_next(Batch *batch);
extern void batch_put_back(Batch *batch, BatchItem *item);
extern void batch_timer_read(Batch *batch);
extern void batch_timer_set(Batch *batch, int64 id, BatchItem *by);
extern void batch_log_begin(Batch *batch, BatchLog *b);
extern bool batch_log_owns(Batch *batch, BatchLog *b, uint32 hash, int64 position);
extern bool batch_log_has_read(BatchLog *b);
extern int64 batch_log_read_to(BatchLog *b);
extern void batch_log_look(Batch *batch, BatchLog *b, DispatchResult *result);
extern bool batch_log_left_out(BatchLog *b);
extern void batch_done(Batch *batch, BatchItem *item, bool handled);
extern bool batch_advance(Batch *batch, DispatchResult *result);

#endif /* PM_BATCH_H */
