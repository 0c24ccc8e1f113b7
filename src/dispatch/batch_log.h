/*
 * batch_log.h
 *		Reads the followed logs of a batch.
 */
#ifndef PM_BATCH_LOG_H
#define PM_BATCH_LOG_H

#include "dispatch/batch_task.h"
#include "dispatch/lane_share.h"
#include "dispatch/reading.h"
#include "log/log_trouble.h"
#include "manager/cursor.h"

/*
 * A batch keeps up to this many logs locked; if there are more, each is locked only
 * while it is read.
 */
#define BATCH_LOG_LOCKS 64

typedef struct BatchLog
{
	Cursor *cursor;
	PmLog *log;
	ReadingKey key;
	LaneShare share;
	Reading *reading; /* NULL: nothing has been read */
	int next;		  /* number of the next event in it */
	bool marked;	  /* the mark has been computed */
	Highwater mark;
	bool unknown;		/* what comes after the reading cannot be found out now */
	LogTrouble trouble; /* why the log cannot be read now */
	int looked_at;		/* events, by this batch */
} BatchLog;

typedef struct BatchLogs
{
	int count;
	BatchLog *logs;
	bool many;	/* more than BATCH_LOG_LOCKS */
	bool held;	/* a writer holds a mark back */
	Size bytes; /* read by this batch */
} BatchLogs;

/* Opens the logs of the cursors, and finds the readings that are kept of them. */
extern void batch_log_begin(const BatchTask *task, BatchLogs *logs, List *cursors);

/*
 * Makes sure that a log's next event is known, or that there is none, unless
 * that cannot be found out now.
 */
extern void batch_log_look(const BatchTask *task, BatchLogs *logs, BatchLog *b);

/* The next event, as far as it is known; NULL: there is none. */
extern ReadingEvent *batch_log_next(BatchLog *b);

/* How far the log has been read: every event of this unit up to there is in the reading. */
extern int64 batch_log_read_to(const BatchLog *b);

/* Is the log left out of the batch? */
extern bool batch_log_left_out(const BatchLog *b);

/* Are there events in one of the logs that do not belong to this lane? */
extern bool batch_log_any_shared(const BatchLogs *logs);

#endif /* PM_BATCH_LOG_H */
