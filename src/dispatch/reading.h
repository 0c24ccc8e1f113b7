/*
 * reading.h
 *		Reads events from a log, and keeps them for the next batches.
 */
#ifndef PM_READING_H
#define PM_READING_H

#include "dispatch/lane_share.h"
#include "log/log.h"
#include "log/log_read.h"
#include "log/log_trouble.h"

/* A reading is for every unit that follows the log, or for one unit alone. */
typedef struct ReadingKey
{
	Oid relid;
	int manager; /* 0: every unit */
	int lane;
	uint64 attached; /* AttachedLog.number: several logs can share a table; else 0 */
} ReadingKey;

typedef struct ReadingEvent
{
	int64 position;
	TimestampTz time; /* recorded_at */
	Datum event;	  /* a pm.event */
	int64 too_large;  /* its size, if a stub stands for it; else 0 */
} ReadingEvent;

/* All wanted events with after < position <= up_to. */
typedef struct Reading
{
	ReadingKey key; /* of the hash table */
	MemoryContext context;
	Size bytes;		/* in it */
	uint64 version; /* of the registration that said which events are wanted; 0: all are */
	TimestampTz read_at;
	int64 after;
	int64 up_to;
	int64 last_position;   /* of the last event, wanted or not */
	TimestampTz last_time; /* the recorded_at of that event */
	int looked_at;		   /* events, wanted or not */
	int count;
	int room;
	ReadingEvent *events;
} Reading;

/* Which events are wanted: those that pass both tests. */
typedef struct ReadingFilter
{
	const LogTypes *types;	/* of one of these types; NULL: of any type */
	const LaneShare *share; /* in a stream that belongs to this share; NULL: in any stream */
} ReadingFilter;

typedef struct ReadingRequest
{
	ReadingKey key;
	uint64 version;
	int64 after;
	int64 up_to; /* not above the mark */
	int limit;	 /* the maximum number of events that are wanted */
	int rows;	 /* the maximum number of events, wanted or not */
	ReadingFilter filter;
	bool wait; /* wait for partitions that are locked */
} ReadingRequest;

/* Begins a batch: frees the readings that only the batch before used. */
extern void reading_begin(void);

/*
 * Returns a kept reading that has an event after a position, and its number in
 * *next; NULL if there is none.
 */
extern Reading *reading_find(const ReadingKey *key, uint64 version, int64 after, int *next);

/*
 * Reads, and keeps the result.  NULL if that is not possible; then *trouble is set.
 */
extern Reading *reading_read(PmLog *log, const ReadingRequest *request, LogTrouble *trouble);

/* Frees everything.  Must not be called during a batch. */
extern void reading_forget(void);

#endif /* PM_READING_H */
